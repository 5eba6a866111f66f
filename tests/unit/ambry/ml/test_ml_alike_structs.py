"""What matches the shape of a struct is read in the same steps, and ends at the same place."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest

from ambry.ml import alike_structs
from ambry.ml.alike_structs import SHAPES_MAX, AlikeStructs
from ambry.ml.compact_thrift import CompactThrift


def number(value: int) -> bytes:
    """Zigzag, of what is not negative."""
    value, found = value << 1, bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def struct(kind: int, text: bytes, values: list[int], end: bytes = b"ab", *, flag: bool = True) -> bytes:
    """1: i32, 2: binary, 3: list of i64, 4: a struct of 1: binary and 2: bool, 20: double."""
    listed = bytes([len(values) << 4 | 6]) + b"".join(map(number, values))
    inner = b"\x18" + bytes([len(end)]) + end + (b"\x11" if flag else b"\x12") + b"\x00"
    return (
        b"\x15" + number(kind) + b"\x18" + bytes([len(text)]) + text + b"\x19" + listed
        + b"\x1c" + inner + b"\x07" + number(20) + bytes(8) + b"\x00"
    )  # fmt: skip


COMPARED = {(1,), (4, 1)}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike_structs, "OFTEN", 1)


def known(data: bytes) -> AlikeStructs:
    found = AlikeStructs(COMPARED)
    found.looked_through(b"before" + data, len(b"before"))
    return found


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (struct(5, b"", [0, 1 << 60], b"cd"), True),
        (struct(5, b"x" * 63, [300, 7]), True),
        (struct(5, b"x" * 64, [300, 7]), False),  # Longer than what is matched.
        (struct(6, b"abc", [1, 2]), False),
        (struct(5, b"abc", [1, 2], b"abc"), False),
        (struct(5, b"abc", [1, 2], flag=False), False),
        (struct(5, b"abc", [1]), False),
        (struct(5, b"abc", [1, 2])[:-1], False),
    ],
)
def test_only_what_was_not_compared_may_differ(other: bytes, alike: bool) -> None:
    end = known(struct(5, b"abc", [1, 2])).end(b"some" + other + b"more", 4)
    assert end == (4 + len(other) if alike else None)


def test_a_number_of_more_than_64_bits_is_not_alike() -> None:
    one = b"\x16%b\x00"
    found = AlikeStructs(set())
    found.looked_through(one % b"\x01", 0)
    assert found.end(one % (b"\xff" * 9 + b"\x01"), 0) == 12 and found.end(one % (b"\xff" * 10 + b"\x01"), 0) is None


@pytest.mark.parametrize("seed", range(20))
def test_what_is_alike_is_read_to_the_same_end(seed: int) -> None:
    """Bytes that are changed by chance: a match is never where reading fails, or ends elsewhere."""
    draw = random.Random(seed)
    shapes = known(struct(5, b"abc", [1, 2]))
    for _ in range(500):
        data = bytearray(struct(5, draw.randbytes(draw.randrange(6)), [draw.randrange(1 << 50), 3]) + bytes(20))
        for _ in range(draw.randrange(3)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        end = shapes.end(bytes(data), 0)
        if end is not None:
            reader: Any = CompactThrift(bytes(data))
            told = reader.struct({1: 5, 4: {1: 8}})
            assert (reader.place, told[1], len(told[4][1])) == (end, 5, 2)


def test_of_many_shapes_a_few_are_tried() -> None:
    found = AlikeStructs(set())
    kinds = [struct(5, b"", [0] * count) for count in range(SHAPES_MAX + 2)]
    for data in kinds:
        found.looked_through(data, 0)
    assert [found.end(data, 0) is not None for data in kinds] == [True] * SHAPES_MAX + [False] * 2


def test_what_no_expression_matches_is_read_each_time() -> None:
    """A map, and a list that is long."""
    for data in (b"\x1b\x00\x00", b"\x19\xf6\x41" + bytes(65) + b"\x00"):
        CompactThrift(data).struct({})
        found = AlikeStructs(set())
        found.looked_through(data, 0)
        assert found.end(data, 0) is None


def test_no_expression_is_made_of_lists_within_lists_without_end() -> None:
    """Of a struct of 800 KB it took 12 s and 400 MB."""
    row = b"\xf9\x40" + (b"\xf6\x40" + b"\x02" * 64) * 64
    data = b"\x19\xf9\x20" + row * 32 + b"\x00"
    assert known(data).end(b"before" + data, len(b"before")) is None
    small = b"\x19\x29" + (b"\x26\x02\x02") * 2 + b"\x00"
    assert known(small).end(b"before" + small, len(b"before")) == len(b"before" + small)


def test_lists_within_lists_cost_no_more_than_the_longest_expression() -> None:
    """It was measured when all of it had been made: 100 times the bytes of a footer."""

    def lists(depth: int) -> bytes:
        return b"\xe6" + number(1) * 14 if not depth else b"\xe9" + lists(depth - 1) * 14

    data = b"\x29" + lists(3) + b"\x00"
    tracemalloc.start()
    try:
        assert known(data).end(b"before" + data, len(b"before")) is None
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < 2 << 20, peak
    finally:
        tracemalloc.stop()
