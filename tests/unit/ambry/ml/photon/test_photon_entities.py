"""The index of entities: each is found, nobody else is, and what is no index is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import DataCorrupt
from ambry.ml.photon import entities
from ambry.ml.photon.entities import EntityIndex, EntityPlaces, intact


def built(parts: list[list[str]]) -> EntityIndex:
    places = EntityPlaces()
    for number, ids in enumerate(parts):
        found = [(place * 10, 10) for place in range(len(ids))]
        places.add(f"part-{number}", ids, found, [id.encode() for id in ids])
    with tempfile.NamedTemporaryFile() as file:
        file.write(places.build())
        file.flush()
        return EntityIndex(Path(file.name))


@given(st.lists(st.text(max_size=8), unique=True, max_size=40), st.integers(1, 7), st.text(max_size=8))
def test_each_entity_is_found_where_it_was_put(ids: list[str], size: int, other: str) -> None:
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]
    index = built(parts)
    assert len(index) == len(ids)
    for number, part in enumerate(parts):
        for place, id in enumerate(part):
            [found] = index.places(id)
            assert (found.part, found.offset, found.size) == (f"part-{number}", place * 10, 10)
            assert intact(id.encode(), found.check)
            assert not intact(id.encode() + b"x", found.check)
    if other not in ids:
        assert list(index.places(other)) == []


def test_two_entities_of_one_hash_are_both_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entities, "hash_of", lambda id: 2**64 - 1 if id in "ab" else 5)
    index = built([["a", "c", "b"]])
    assert sorted(found.offset for found in index.places("a")) == [0, 20]
    assert [found.offset for found in index.places("c")] == [10]


@pytest.mark.parametrize("data", [b"", b"ARROW1\0\0", b"x" * 500])
def test_what_is_no_index_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "index.arrow"
    path.write_bytes(data)
    with pytest.raises(DataCorrupt, match="index of entities"):
        EntityIndex(path)


def test_an_index_that_is_not_in_order_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = EntityPlaces()
    places.add("part", ["a", "b", "c"], [(0, 1)] * 3, [b""] * 3)
    monkeypatch.setattr(entities, "sorted", lambda rows: sorted(rows, reverse=True), raising=False)
    path = tmp_path / "index.arrow"
    path.write_bytes(places.build())
    with pytest.raises(DataCorrupt, match="not in order"):
        EntityIndex(path)
