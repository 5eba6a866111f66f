"""Descriptions and tags beside a dataset: they change, and of changes at once none is lost."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from ambry import AmbryClient, DataCorrupt, InvalidRequest
from ambry.ml.tracking.notes import TAGS_MAX, ModelNotes, change_notes, drop_notes, notes_of


def tagged(key: str, notes: ModelNotes) -> ModelNotes:
    return replace(notes, tags={**notes.tags, key: "ja, größer"})


def test_notes_of_a_model_and_of_its_versions_are_kept_apart(client: AmbryClient, name: str) -> None:
    assert notes_of(client, name) == ModelNotes()
    change_notes(client, name, lambda before: replace(before, description="frauds", created_ms=5))
    change_notes(client, name, lambda before: tagged("stage", before), "1.2.0")
    assert notes_of(client, name) == ModelNotes(description="frauds", created_ms=5)
    assert notes_of(client, name, "1.2.0") == ModelNotes(tags={"stage": "ja, größer"})
    drop_notes(client, name)
    drop_notes(client, name)
    assert notes_of(client, name) == ModelNotes()
    assert notes_of(client, name, "1.2.0").tags == {"stage": "ja, größer"}


def test_of_changes_at_once_none_is_lost(client: AmbryClient, url: str, name: str) -> None:
    start = threading.Barrier(6)

    def change(key: str) -> None:
        with AmbryClient([url]) as own:
            start.wait()
            change_notes(own, name, lambda before: tagged(key, before))

    threads = [threading.Thread(target=change, args=(f"tag {number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(notes_of(client, name).tags) == [f"tag {number}" for number in range(6)]


def test_what_is_no_notes_or_too_many_is_refused(client: AmbryClient, name: str) -> None:
    with pytest.raises(InvalidRequest, match="at most 1000 tags"):
        change_notes(client, name, lambda _: ModelNotes(tags={str(number): "" for number in range(TAGS_MAX + 1)}))
    with pytest.raises(InvalidRequest, match="are kept"):
        change_notes(client, name, lambda _: ModelNotes(description="x" * (5 << 20)))
    client.put(b"[]", name=f"{name}.notes/model.json")
    with pytest.raises(DataCorrupt, match="no notes"):
        notes_of(client, name)
