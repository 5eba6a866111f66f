"""The two checksums of this project, both of the xxh3 family (https://github.com/Cyan4973/xxHash).

xxh3-64 guards every header, every index entry and every 64 KiB block of a payload; xxh3-128 is the end-to-end digest of a
chunk and of a whole blob. Neither resists an adversary: they find accidents.

Blocks: a payload of n bytes has ceil(n / BLOCK_SIZE) blocks, all full but the last. Its checks are the blocks' xxh3-64,
8 bytes each, big-endian, joined.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

import xxhash

BLOCK_SIZE = 64 * 1024
CHECK_SIZE = 8
DIGEST_SIZE = 16

Buffer = bytes | bytearray | memoryview

xxh64 = xxhash.xxh3_64_intdigest
digest: Callable[[Buffer], bytes] = xxhash.xxh3_128_digest
"""xxh3-128, 16 bytes big-endian."""


class Digester(Protocol):
    """A running xxh3-128."""

    def update(self, data: Buffer, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


def new_digester() -> Digester:
    """A fresh running xxh3-128."""
    return xxhash.xxh3_128()


def block_checks(data: Buffer) -> bytes:
    """The checks of a payload: 8 bytes for each of its blocks, empty for an empty payload."""
    size = len(data)
    if size <= BLOCK_SIZE:
        return xxh64(data).to_bytes(CHECK_SIZE, "big") if size else b""
    view = memoryview(data)
    sums = [xxh64(view[start : start + BLOCK_SIZE]) for start in range(0, size, BLOCK_SIZE)]
    return struct.pack(f">{len(sums)}Q", *sums)


def blocks_intact(data: Buffer, checks: Buffer) -> bool:
    """Whether every block of `data` matches its check and there are exactly as many checks as blocks."""
    size = len(data)
    if 0 < size <= BLOCK_SIZE:
        return xxh64(data).to_bytes(CHECK_SIZE, "big") == checks
    return block_checks(data) == checks
