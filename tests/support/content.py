"""Content that nobody needs to keep: every byte follows from a seed and a place.

Made in blocks, so that any range can be had without what is before it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator

from ambry.checksum import new_digester

BLOCK = 1 << 18


def _block(seed: int, number: int, size: int) -> bytes:
    return random.Random(seed << 32 | number).randbytes(BLOCK)[:size]


def blocks(seed: int, size: int) -> Iterator[bytes]:
    """The content in pieces of 256 KiB."""
    for number in range((size + BLOCK - 1) // BLOCK):
        yield _block(seed, number, min(BLOCK, size - number * BLOCK))


def content(seed: int, size: int) -> bytes:
    """The whole content."""
    return b"".join(blocks(seed, size))


def content_range(seed: int, first: int, end: int) -> bytes:
    """Bytes `first` to `end` (exclusive) of a content at least that long."""
    if end <= first:
        return b""
    numbers = range(first // BLOCK, (end - 1) // BLOCK + 1)
    joined = b"".join(_block(seed, number, BLOCK) for number in numbers)
    return joined[first - numbers[0] * BLOCK : end - numbers[0] * BLOCK]


@functools.cache
def content_digest(seed: int, size: int) -> str:
    """xxh3-128 of the content, hexadecimal."""
    running = new_digester()
    for piece in blocks(seed, size):
        running.update(piece)
    return running.hexdigest()
