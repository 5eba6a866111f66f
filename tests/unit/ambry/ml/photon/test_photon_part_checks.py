"""Records of a part against its index, in whatever pieces the part is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.photon.entities import EntityIndex, EntityPlaces
from ambry.ml.photon.part_checks import PartCheck

RECORDS = [b"one", b"of three", b"x" * 40]
PART = b"head" + RECORDS[0] + b"--" + RECORDS[1] + b"marker" + RECORDS[2] + b"end"
PLACES = [(4, 3), (9, 8), (23, 40)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> EntityIndex:
    places = EntityPlaces()
    places.add("part", ["a", "b", "c"], PLACES, RECORDS)
    places.add("other", ["e"], [(0, 3)], [b"one"])
    return opened(tmp_path_factory.mktemp("index") / "index.arrow", places)


def opened(path: Path, places: EntityPlaces) -> EntityIndex:
    path.write_bytes(places.build())
    return EntityIndex(path)


def told(index: EntityIndex, data: bytes, ends: list[int]) -> bool:
    check = PartCheck(index, "part")
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        check.update(data[start:end])
    return check.intact


@given(st.lists(st.integers(0, len(PART))).map(sorted))
def test_pieces_of_any_size_are_the_same_part(index: EntityIndex, ends: list[int]) -> None:
    assert told(index, PART, ends)


@given(st.integers(0, len(PART) - 1), st.lists(st.integers(0, len(PART))).map(sorted))
def test_a_byte_of_a_record_that_is_another_is_seen(index: EntityIndex, at: int, ends: list[int]) -> None:
    within = any(offset <= at < offset + size for offset, size in PLACES)
    assert told(index, PART[:at] + bytes([PART[at] ^ 1]) + PART[at + 1 :], ends) is not within


@given(st.integers(0, len(PART)))
def test_a_part_that_ends_before_its_last_record_does_is_seen(index: EntityIndex, end: int) -> None:
    assert told(index, PART[:end], []) is (end >= 63)


def test_records_that_lie_within_each_other_are_none(tmp_path: Path) -> None:
    places = EntityPlaces()
    places.add("part", ["a", "b"], [(0, 4), (2, 4)], [b"abcd", b"cdef"])
    assert not told(opened(tmp_path / "index.arrow", places), b"abcdef", [])
