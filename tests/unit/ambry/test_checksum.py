from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.checksum import (
    BLOCK_SIZE,
    CHECK_SIZE,
    block_checks,
    blocks_intact,
    digest,
    new_digester,
    xxh64,
)


def test_the_checksums_are_those_of_xxh3() -> None:
    # Test vectors of https://github.com/Cyan4973/xxHash: XXH3 of the empty input, and of "xxhash".
    assert xxh64(b"") == 0x2D06800538D394C2
    assert digest(b"").hex() == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, 0), (1, 1), (BLOCK_SIZE - 1, 1), (BLOCK_SIZE, 1), (BLOCK_SIZE + 1, 2), (3 * BLOCK_SIZE, 3)],
)
def test_a_payload_has_a_check_for_each_block(size: int, count: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    checks = block_checks(data)
    assert len(checks) == count * CHECK_SIZE
    assert checks == b"".join(
        xxh64(data[start : start + BLOCK_SIZE]).to_bytes(8, "big") for start in range(0, size, BLOCK_SIZE)
    )
    assert blocks_intact(data, checks)
    assert blocks_intact(memoryview(data), memoryview(checks))
    assert blocks_intact(bytearray(data), checks)


@pytest.mark.parametrize("size", [1, BLOCK_SIZE, BLOCK_SIZE + 1])
def test_blocks_are_not_intact_with_too_few_or_too_many_checks(size: int) -> None:
    data = b"x" * size
    checks = block_checks(data)
    assert not blocks_intact(data, checks[:-8])
    assert not blocks_intact(data, checks + bytes(8))
    assert not blocks_intact(data[:-1], checks)
    assert not blocks_intact(b"", checks)


@given(st.binary(min_size=1, max_size=200), st.integers(0), st.integers(0, 7))
@settings(derandomize=True)
def test_a_flipped_bit_is_noticed(data: bytes, place: int, bit: int) -> None:
    checks = block_checks(data)
    flipped = bytearray(data)
    flipped[place % len(data)] ^= 1 << bit
    assert not blocks_intact(flipped, checks)


@given(st.lists(st.binary(max_size=50), max_size=5))
@settings(derandomize=True)
def test_a_running_digest_equals_the_whole(parts: list[bytes]) -> None:
    running = new_digester()
    for part in parts:
        running.update(part)
    assert running.digest() == digest(b"".join(parts))
