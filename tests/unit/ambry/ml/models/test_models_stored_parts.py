"""The parts beside a dataset: which versions use them, and those that nobody does go where that is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ambry import AccessDenied, AmbryClient, BlobNotFound, Grant, InvalidRequest, VersionRef
from ambry.clock import SystemClock
from ambry.ml import models
from ambry.ml.models.publishing import prepare_model, publish_manifest, publish_once
from ambry.rest.access import key_text
from tests.support.access import access_with, fresh_key
from tests.support.named_frontend import named_frontend

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


def test_a_part_that_gets_its_name_back_as_it_is_deleted_is_not_among_those_that_are_gone(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was: who deletes a name that is gone is told that it is, and this one had another name by then."""
    models.publish(client, name, {"x.txt": b"used"})
    model = {"x.txt": b"taken up", "y.txt": b"unused"}
    prepare_model(client, name, model)
    delete_many = AmbryClient.delete_many

    def and_takes_up(self: AmbryClient, *said: Any, **options: Any) -> Any:
        monkeypatch.setattr(AmbryClient, "delete_many", delete_many)
        prepare_model(client, name, {"x.txt": b"taken up"})
        return delete_many(self, *said, **options)

    monkeypatch.setattr(AmbryClient, "delete_many", and_takes_up)
    assert [part.size for part in models.delete_unused(client, name, SOON)] == [len(b"unused")]
    assert set(_stored(client, name)) == {b"used", b"taken up"}


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
    """It was taken for no model, and its parts for unused; then nobody could list any of them."""
    made = models.publish(client, name, {"x.txt": b"used"})
    newer = made.manifest.encode().replace(b'"format":1', b'"format":99')
    assert newer != made.manifest.encode()
    client.put_version(name, newer, "2.0.0", metadata={"model-kind": "files"})
    client.put_version(name, b"no model", "2.1.0")
    prepare_model(client, name, {"x.txt": b"of the newer one"})
    listed = {part.users: part.unread for part in models.list_parts(client, name)}
    assert listed == {("1.0.0",): (), (): ("2.0.0",)}
    with pytest.raises(InvalidRequest, match=rf"{name}@2\.0\.0 is a model that this release cannot read.*upgrade"):
        models.delete_unused(client, name, SOON)
    client.delete(VersionRef(name, "2.0.0"))
    assert [part.size for part in models.delete_unused(client, name, SOON)] == [len(b"of the newer one")]


def test_what_a_killed_delete_set_aside_is_the_same_part_when_it_is_handed_in_again(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It got another id, so that the same model became another version."""
    models.publish(client, name, {"x.txt": b"used"})
    manifest = prepare_model(client, name, {"x.txt": b"unused"})
    with monkeypatch.context() as patched:
        patched.setattr(AmbryClient, "delete_many", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            models.delete_unused(client, name, SOON)
    assert [entry.name for entry in client.list(f"{name}.parts/unused/")] != []
    assert prepare_model(client, name, {"x.txt": b"unused"}) == manifest
    assert [entry.name for entry in client.list(f"{name}.parts/unused/")] == []
    assert models.delete_unused(client, name, timedelta(hours=1)) == []


def test_deletes_at_once_pass_each_other_over(url: str, client: AmbryClient, name: str) -> None:
    """One ended with UpdateConflict."""
    models.publish(client, name, {"x.txt": b"used"})
    prepare_model(client, name, {f"{number}.txt": f"unused {number}".encode() for number in range(25)})

    def delete() -> int:
        with AmbryClient(url) as one:
            start.wait(30)
            return len(models.delete_unused(one, name, SOON))

    start = threading.Barrier(3)
    with ThreadPoolExecutor(3) as threads:
        went = [each.result(60) for each in [threads.submit(delete) for _ in range(3)]]
    assert sum(went) + len(models.delete_unused(client, name, SOON)) >= 25
    assert _stored(client, name) == {b"used": ("1.0.0",)}


def test_names_of_another_shape_are_passed_over(client: AmbryClient, name: str) -> None:
    """Whoever put one ended each list with a traceback."""
    models.publish(client, name, {"x.txt": b"used"})
    digits = "0" * 64
    strays = [
        *(
            "unused/stray",
            "unused/x/y",
            f"unused/x/{digits}",
            f"unused/a/b/{digits}",
            "sha256/stray",
            f"sha256/a/{digits}",
        ),
        *("reused/stray", "reused/a/b/c"),
    ]
    for stray in strays:
        client.put(b"stray", name=f"{name}.parts/{stray}")
    assert _stored(client, name) == {b"used": ("1.0.0",)}
    assert models.delete_unused(client, name, SOON) == []
    assert prepare_model(client, name, {"x.txt": b"used"}).parts == models.open(client, name).manifest.parts
    assert all(client.exists(f"{name}.parts/{stray}") for stray in strays)


def test_a_content_has_one_note_however_often_it_is_handed_in(client: AmbryClient, name: str) -> None:
    """50 parts an hour were 438,000 names in a year, which each delete lists twice."""
    for _ in range(5):
        prepare_model(client, name, {"x.txt": b"often", "y.txt": b"often"})
    assert len(list(client.list(f"{name}.parts/reused/"))) == 1


def test_a_content_of_a_locked_container_can_be_handed_in_again(client: AmbryClient, name: str) -> None:
    """Nothing is overwritten there, a note neither."""
    client.create_container("default", f"locked-{name}", retention_lock_until=round(time.time() + 86_400) * 1_000)
    place = f"ambry://default/locked-{name}/{name}"
    made = [prepare_model(client, place, {"x.txt": b"kept"}) for _ in range(3)]
    assert made[0] == made[1] == made[2]


def test_who_may_not_delete_sets_nothing_aside(tmp_path: Path) -> None:
    """A key with `name` and without `delete` renamed everything, and was refused then; nobody found it by its content."""
    root = fresh_key()
    with (
        named_frontend(tmp_path / "m", access=access_with(root, SystemClock())) as url,
        AmbryClient(url, key=key_text(root)) as owner,
    ):
        owner.create_account("pub")
        owner.create_container("pub", "models")
        place = "ambry://pub/models/fraud"
        models.publish(owner, place, {"x.txt": b"used"})
        prepare_model(owner, place, {"x.txt": b"unused"})
        made = owner.keys.create("namer", Grant(roles=("read", "write", "name"), account="pub"))
        with AmbryClient(url, key=made.text) as namer, pytest.raises(AccessDenied, match="delete"):
            models.delete_unused(namer, place, SOON)
        assert [part.set_aside for part in models.list_parts(owner, place)] == [None, None]
        assert len(models.delete_unused(owner, place, SOON)) == 1


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt
