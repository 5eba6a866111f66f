"""The parts beside a dataset: which versions use them, and those that nobody does go where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest, VersionRef
from ambry.ml import models
from ambry.ml.models.publishing import prepare_model, publish_manifest, publish_once

SOON = timedelta(hours=-1)
DAYS = timedelta(days=7)
Aged = Callable[[], None]


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> Aged:
    """From each call on, a delete takes what was there until then for eight days old, and what comes later for new."""

    def then(client: AmbryClient) -> datetime:
        return moments[-1] + DAYS if moments else real(client)

    real = AmbryClient.store_time
    moments: list[datetime] = []
    monkeypatch.setattr(AmbryClient, "store_time", then)

    def call() -> None:
        time.sleep(0.005)  # Times of the store are whole milliseconds.
        moments.append(datetime.now(UTC))
        time.sleep(0.005)

    return call


def _stored(client: AmbryClient, name: str) -> dict[bytes, tuple[str, ...]]:
    return {client.get_bytes(part.id): part.users for part in models.list_parts(client, name)}


def test_parts_say_which_versions_use_them(client: AmbryClient, name: str) -> None:
    made = models.publish(client, name, {"both.txt": b"both", "first.txt": b"1"})
    models.publish(client, name, {"both.txt": b"both", "second.txt": b"2"})
    prepare_model(client, name, {"never.txt": b"never"})
    assert _stored(client, name) == {b"both": ("1.0.0", "1.1.0"), b"1": ("1.0.0",), b"2": ("1.1.0",), b"never": ()}
    listed = {part.sha256: (part.id, part.size) for part in models.list_parts(client, name)}
    assert all(listed[part.sha256] == (part.id, part.size) for part in made.manifest.parts)
    with pytest.raises(BlobNotFound):
        list(models.list_parts(client, f"{name}-nowhere"))


def test_unused_parts_go_and_no_others(client: AmbryClient, name: str) -> None:
    models.publish(client, name, {"x.txt": b"used"})
    prepare_model(client, name, {"x.txt": b"unused"})
    assert models.delete_unused(client, name, timedelta(hours=1)) == []
    assert set(_stored(client, name)) == {b"used", b"unused"}
    assert [part.size for part in models.delete_unused(client, name, SOON)] == [len(b"unused")]
    assert set(_stored(client, name)) == {b"used"}
    assert models.open(client, name).path().read_bytes() == b"used"
    assert models.publish(client, name, {"x.txt": b"unused"}).version == "1.1.0"
    assert set(_stored(client, name)) == {b"used", b"unused"}


def test_a_part_that_is_taken_up_meanwhile_is_brought_back(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.publish(client, name, {"x.txt": b"used"})
    manifest = prepare_model(client, name, {"x.txt": b"taken up"})
    rename = AmbryClient.rename

    def and_publishes(self: AmbryClient, *names: Any, **options: Any) -> Any:
        monkeypatch.setattr(AmbryClient, "rename", rename)
        publish_manifest(client, name, manifest)
        return rename(self, *names, **options)

    monkeypatch.setattr(AmbryClient, "rename", and_publishes)
    assert models.delete_unused(client, name, SOON) == []
    assert models.open(client, f"{name}@1.1.0").path().read_bytes() == b"taken up"
    assert len(list(client.list(f"{name}.parts/sha256/"))) == 2


def test_what_is_handed_in_again_is_as_young_as_what_is_stored(client: AmbryClient, name: str, aged: Aged) -> None:
    """A version lacked its part: the delete went by when the content was stored first."""
    models.publish(client, name, {"x.txt": b"used"})
    model = {"x.txt": b"of a job that was killed"}
    prepare_model(client, name, model)
    aged()
    manifest = prepare_model(client, name, model)
    assert models.delete_unused(client, name, DAYS) == []
    publish_once(client, name, manifest)
    assert models.open(client, name).path().read_bytes() == b"of a job that was killed"


def test_what_is_handed_in_while_it_is_deleted_is_there_for_the_version(
    client: AmbryClient, name: str, aged: Aged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two requests of the delete, also of one that is killed there; the version comes after all of it."""
    calls = ("list", "rename", "delete_many")
    models.publish(client, name, {"x.txt": b"used"})
    for number, (call, after, killed) in enumerate(product(calls, (False, True), (False, True))):
        model = {"x.txt": f"handed in again {number}".encode()}
        prepare_model(client, name, model)
        aged()
        made: list[Any] = []
        real = getattr(AmbryClient, call)

        def meanwhile(
            self: AmbryClient,
            *said: Any,
            _call: str = call,
            _real: Any = real,
            _model: Any = model,
            _after: bool = after,
            _killed: bool = killed,
            _made: list[Any] = made,
            **options: Any,
        ) -> Any:
            monkeypatch.setattr(AmbryClient, _call, _real)
            answer: Any = _real(self, *said, **options) if _after else None
            if _after and _call == "list":
                answer = list(answer)
            _made.append(prepare_model(client, name, _model))
            if _killed:
                raise KeyboardInterrupt
            return answer if _after else _real(self, *said, **options)

        monkeypatch.setattr(AmbryClient, call, meanwhile)
        with suppress(KeyboardInterrupt):
            models.delete_unused(client, name, DAYS)
        monkeypatch.setattr(AmbryClient, call, real)
        models.delete_unused(client, name, DAYS)
        (manifest,) = made
        version = publish_once(client, name, manifest).place
        assert models.open(client, version).path().read_bytes() == model["x.txt"], (call, after, killed)
        models.delete_unused(client, name, SOON)
        assert models.open(client, version).path().read_bytes() == model["x.txt"]


def test_what_a_killed_delete_set_aside_is_listed_and_goes_with_the_next(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.publish(client, name, {"x.txt": b"used"})
    prepare_model(client, name, {"x.txt": b"unused"})
    with monkeypatch.context() as patched:
        patched.setattr(AmbryClient, "delete_many", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            models.delete_unused(client, name, SOON)
    assert _stored(client, name) == {b"used": ("1.0.0",), b"unused": ()}
    assert [part.size for part in models.delete_unused(client, name, DAYS)] == [len(b"unused")]
    assert _stored(client, name) == {b"used": ("1.0.0",)}
    assert [entry.name for entry in client.list(f"{name}.parts/unused/")] == []


def test_a_model_of_a_later_release_keeps_all_parts(client: AmbryClient, name: str) -> None:
    """It was taken for no model, and its parts for unused."""
    made = models.publish(client, name, {"x.txt": b"used"})
    newer = made.manifest.encode().replace(b'"format":1', b'"format":99')
    assert newer != made.manifest.encode()
    client.put_version(name, newer, "2.0.0", metadata={"model-kind": "files"})
    client.put_version(name, b"no model", "2.1.0")
    prepare_model(client, name, {"x.txt": b"of the newer one"})
    looks: tuple[Callable[[], object], ...] = (
        lambda: list(models.list_parts(client, name)),
        lambda: models.delete_unused(client, name, SOON),
    )
    for look in looks:
        with pytest.raises(InvalidRequest, match=rf"{name}@2\.0\.0 is a model that this release cannot read.*upgrade"):
            look()
    client.delete(VersionRef(name, "2.0.0"))
    assert [part.size for part in models.delete_unused(client, name, SOON)] == [len(b"of the newer one")]


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt
