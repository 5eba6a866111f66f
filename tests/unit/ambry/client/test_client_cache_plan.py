"""What goes when the room is needed, and how a bound is written."""

from __future__ import annotations

import random

import pytest

from ambry import BlobId, InvalidRequest, TooLarge
from ambry.client.cache_plan import CachedBlob, check_fits, parse_size, to_evict
from ambry.ids import IdKind, uuid7
from tests.support.clusters import seed_of

SOURCE = random.Random(7)


def held(size: int, used_ns: int) -> CachedBlob:
    raw = uuid7(1_700_000_000_000, SOURCE)
    blob = BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=raw)
    return CachedBlob(id=blob, size=size, used_ns=used_ns)


A, B, C = held(10, 3), held(20, 1), held(30, 2)


@pytest.mark.parametrize(
    ("arriving", "max_bytes", "gone"),
    [
        (0, 60, []),
        (0, 59, [B]),
        (0, 40, [B]),
        (0, 39, [B, C]),
        (40, 60, [B, C]),
        (1, 60, [B]),
        (60, 60, [B, C, A]),
        (100, 60, [B, C, A]),
        (0, 0, [B, C, A]),
    ],
)
def test_the_least_recently_used_go_first_and_no_more_than_must(
    arriving: int, max_bytes: int, gone: list[CachedBlob]
) -> None:
    assert to_evict([A, B, C], arriving=arriving, max_bytes=max_bytes) == gone


def test_one_is_never_let_go() -> None:
    assert to_evict([A, B, C], arriving=0, max_bytes=0, keep=B.id) == [C, A]
    assert to_evict([A, B, C], arriving=0, max_bytes=45, keep=B.id) == [C]


def test_what_stays_fits_whatever_is_there() -> None:
    source = random.Random(seed_of("cache_plan"))
    for _ in range(300):
        there = [held(source.randrange(100), source.randrange(5)) for _ in range(source.randrange(12))]
        arriving, bound = source.randrange(120), source.randrange(400)
        gone = to_evict(there, arriving=arriving, max_bytes=bound)
        stay = [each for each in there if each not in gone]
        assert sum(each.size for each in stay) + arriving <= bound or not stay
        assert all(one.used_ns <= other.used_ns for one in gone for other in stay)
        if gone:  # the last of them had to go too
            assert sum(each.size for each in stay) + gone[-1].size + arriving > bound


def test_a_blob_that_could_never_be_kept_is_refused() -> None:
    check_fits(A.id, 60, 60)
    with pytest.raises(TooLarge, match=r"61 bytes, and the cache may hold 60.*AMBRY_CACHE_MAX"):
        check_fits(A.id, 61, 60)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("512K", 512 << 10),
        ("8m", 8 << 20),
        (" 1.5 GiB ", 3 << 29),
        ("2TB", 2 << 40),
        ("10G", 10 << 30),
    ],
)
def test_sizes_are_written_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "1X", "1.G", "1,5G", "ten", "1.2345G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a size"):
        parse_size(text)
