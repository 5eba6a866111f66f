"""What digests of ranges are made of: sums, windows of expiry, records, and where a range is cut."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import DataCorrupt
from datanode.store.entry import IndexEntry
from datanode.store.ranges import (
    BEHIND_ALL,
    DELETED,
    FIRST_KEY,
    FOREVER,
    NOTHING,
    SIZE_MAX,
    Sum,
    Windows,
    add,
    compared,
    decode,
    encode,
    merged,
    place_to_cut,
    read_coverage,
    size_of,
    sum_of,
    total,
    window_of,
)
from tests.support.samples import ALIVE, blob_id

DAY_MS = 86_400_000


def entry(number: int, state: BlobState = ALIVE, *, lsn: int = 1, present: bool = True) -> IndexEntry:
    return IndexEntry(blob_id(number), lsn, int(present), lsn, 200, 100, state, lsn)


def test_a_sum_knows_no_order_and_no_place() -> None:
    entries = [entry(number, lsn=number) for number in range(50)]
    moved = [entry(number, lsn=1000 - number) for number in range(50)]
    random.Random(1).shuffle(moved)
    one: Windows = {}
    other: Windows = {}
    for item in entries:
        add(one, item)
    for item in moved:
        add(other, item)
    assert one == other
    assert one[FOREVER].blobs == 50


@pytest.mark.parametrize(
    "changed",
    [
        entry(1, BlobState(1, False, NEVER_MS)),
        entry(1, BlobState(0, False, 5 * DAY_MS)),
        entry(1, present=False),
        entry(2),
    ],
    ids=["life version", "expiry", "without its bytes", "another blob"],
)
def test_whatever_differs_gives_another_sum(changed: IndexEntry) -> None:
    assert sum_of(changed).digest != sum_of(entry(1)).digest


def test_a_tombstone_counts_for_the_size_of_a_range_alone() -> None:
    windows: Windows = {}
    add(windows, entry(1, BlobState(0, True, NEVER_MS)))
    assert (size_of(windows), total(windows, 0), list(windows)) == (1, NOTHING, [DELETED])


@given(st.integers(1, 1 << 47), st.integers(0, 1 << 40))
def test_a_window_is_left_out_as_soon_as_something_in_it_may_be_gone(created_ms: int, time_to_live_ms: int) -> None:
    expires_ms = created_ms + time_to_live_ms
    window = window_of(entry(created_ms, BlobState(0, False, expires_ms)))
    assert not compared(window, expires_ms), "it may have been dropped by now"
    width_ms = max(2 << 24, 2 * time_to_live_ms // 32)
    assert compared(window, expires_ms - width_ms) or expires_ms <= width_ms, "and not long before"


def test_a_state_that_came_before_its_bytes_and_its_expiry_is_not_compared() -> None:
    assert not compared(window_of(entry(1, BlobState(1, False, 0))), 0)


def test_the_record_of_a_range_is_what_it_says() -> None:
    windows = {FOREVER: Sum(5, 2), DELETED: Sum(0, 1)}
    record = encode(FIRST_KEY, windows)
    assert record[4:] == bytes(8) + bytes(16) + bytes([0, 0, 0, 1]) + b"\xff" + bytes(7) + bytes(15) + b"\x05" + bytes(
        [0, 0, 0, 2]
    )
    assert decode(FIRST_KEY, record) == windows
    assert decode(FIRST_KEY, None) == {}


@pytest.mark.parametrize("bit", range(0, 8 * 32, 7))
def test_no_flipped_bit_of_a_record_is_believed(bit: int) -> None:
    record = bytearray(encode(FIRST_KEY, {FOREVER: Sum(5, 2)}))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DataCorrupt):
        decode(FIRST_KEY, bytes(record))


def test_the_record_of_another_range_is_not_believed() -> None:
    with pytest.raises(DataCorrupt):
        decode(blob_id(1)[16:32], encode(FIRST_KEY, {FOREVER: Sum(5, 2)}))


def test_windows_that_nothing_is_left_in_go() -> None:
    assert merged({FOREVER: Sum(5, 2)}, {FOREVER: NOTHING.minus(Sum(5, 2))}) == {}


@pytest.mark.parametrize("bits", [12, 20, 64, 128])
@pytest.mark.parametrize("seed", range(5))
def test_a_cut_leaves_something_on_both_sides_and_not_too_much_on_the_first(bits: int, seed: int) -> None:
    source = random.Random(seed)
    offset = source.getrandbits(128) >> bits << bits
    numbers = sorted({offset | source.getrandbits(bits) for _ in range(2 * SIZE_MAX)})
    numbers += range(numbers[-1] + 1, numbers[-1] + 1 + SIZE_MAX)
    keys = [number.to_bytes(16, "big") for number in numbers[: SIZE_MAX + 1]]
    place = place_to_cut(FIRST_KEY, BEHIND_ALL, keys)
    assert keys[0] < place <= keys[SIZE_MAX]


def test_two_replicas_that_got_the_same_blobs_in_another_order_cut_alike() -> None:
    keys = [blob_id(1_000_000 + 7 * number)[16:32] for number in range(3 * SIZE_MAX)]
    place = place_to_cut(FIRST_KEY, BEHIND_ALL, keys)
    assert place_to_cut(FIRST_KEY, BEHIND_ALL, keys[: SIZE_MAX + 1]) == place
    assert int.from_bytes(place, "big") % (1 << 80) == 0, "at a time, not at somebody's key"


@pytest.mark.parametrize("raw", [b"\xc1", b"\x93\x01", b"\x82\xa7version\x03\xa6before\xc4\x01\xff"])
def test_a_coverage_that_is_not_understood_begins_anew(raw: bytes) -> None:
    assert read_coverage(raw, empty=False).before == b""


def test_an_index_of_before_digests_has_them_counted_and_an_empty_one_needs_none() -> None:
    assert read_coverage(None, empty=False).before == b""
    assert read_coverage(None, empty=True).before == BEHIND_ALL
