"""The parts beside a dataset: which versions use them, and those that nobody does go where that is asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ambry import AmbryClient, BlobNotFound
from ambry.ml import models
from ambry.ml.models.publishing import prepare_model, publish_manifest

SOON = timedelta(hours=-1)


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
    delete_many = AmbryClient.delete_many

    def and_publishes(self: AmbryClient, refs: Any, **options: Any) -> Any:
        publish_manifest(client, name, manifest)
        return delete_many(self, refs, **options)

    monkeypatch.setattr(AmbryClient, "delete_many", and_publishes)
    assert models.delete_unused(client, name, SOON) == []
    assert models.open(client, f"{name}@1.1.0").path().read_bytes() == b"taken up"
