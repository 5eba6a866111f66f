"""xxh3_64 of many short keys at once, with a seed: each key as xxhash does it, without a call for each.

Keys are sorted into groups by how xxh3 reads them, once; then a seed costs some operations on whole arrays for each group:

    bytes        what is read of a key
    1 to 3       the first, the middle and the last byte
    4 to 8       the first 4 bytes and the last 4; a number of 64 bits is such a key
    9 to 16      the first 8 bytes and the last 8
    17 to 128    16 bytes at a time, of both ends towards the middle
    more         left to xxhash, one by one

https://github.com/Cyan4973/xxHash/blob/v0.8.2/xxhash.h (XXH3_len_1to3_64b, 4to8, 9to16, XXH3_len_17to128_64b)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
import xxhash

_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a"
    "51e04bcdb45931c89f7ec9d9787364"
)
"""Its first 128 bytes; more are not read for keys of at most 128."""
_MASK64 = (1 << 64) - 1
_LOW32 = np.uint64(0xFFFFFFFF)
_PRIME64_1, _PRIME64_2, _PRIME64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_PRIME_MX1, _PRIME_MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
_PAST_END = 16
"""Bytes of padding, which are read with the last keys, and never hashed."""
BLOCK = 16_384
"""So many keys at once: what stands between two operations stays in the cache of a core."""

Hash = Callable[[int, slice], Any]
"""The hashes of these keys of a group, with a seed."""


class UnitKeys:
    """Keys of 1 byte and more; hashed by any seed as often as one likes. Usable by threads."""

    def __init__(self, data: bytes, lengths: Any, numbers: tuple[Any, Any] | None = None) -> None:
        """`data` has the keys one after the other, `lengths` how many bytes each has.

        `numbers` has places, in their order, and int64: these keys are the 8 bytes of a number, and not what stands in `data`.
        """
        self.count = len(lengths)
        self._groups: list[tuple[Any, int, Hash]] = []
        starts = np.cumsum(lengths) - lengths
        if numbers is not None:
            places, values = numbers
            self._group(places, len(places), _hash_of_numbers(values))
            if len(places) == self.count:
                return
            lengths = lengths.copy()
            lengths[places] = 0
        padded = np.frombuffer(data + bytes(_PAST_END), dtype=np.uint8)
        kinds = np.searchsorted([1, 4, 9, 17, 129], lengths, side="right")
        makers = {1: _hash_of_3, 2: _hash_of_8, 3: _hash_of_16, 4: _hash_of_128}
        for kind in sorted(set(np.unique(kinds).tolist()) - {0}):
            places = np.flatnonzero(kinds == kind)
            begins, sizes = starts[places], lengths[places]
            if kind in makers:
                self._group(places, len(places), makers[kind](padded, begins, sizes))
            else:
                keys = [data[begin : begin + size] for begin, size in zip(begins.tolist(), sizes.tolist(), strict=True)]
                self._group(places, len(places), _hash_one_by_one(keys))

    @classmethod
    def of_numbers(cls, numbers: Any) -> UnitKeys:
        """The 8 bytes (little-endian) of each of an array of int64."""
        return cls(b"", np.full(len(numbers), 8), (np.arange(len(numbers)), numbers))

    def hashes(self, seed: int) -> Any:
        """xxh3_64 of each key, as an array of uint64."""
        found = np.empty(self.count, dtype=np.uint64)
        for places, count, hashed in self._groups:
            for begin in range(0, count, BLOCK):
                some = slice(begin, min(begin + BLOCK, count))
                found[some if places is None else places[some]] = hashed(seed, some)
        return found

    def _group(self, places: Any, count: int, hashed: Hash) -> None:
        # Places come in order, so all of them are each key once.
        self._groups.append((None if count == self.count else places, count, hashed))


# --- by length ---


def _hash_of_3(padded: Any, begins: Any, lengths: Any) -> Hash:
    first, middle, last = (padded[begins + offset].astype(np.uint64) for offset in (0, lengths >> 1, lengths - 1))
    words = (first << np.uint64(16)) | (middle << np.uint64(24)) | last | (lengths.astype(np.uint64) << np.uint64(8))

    def hashed(seed: int, some: slice) -> Any:
        mixed = words[some] ^ np.uint64(((_secret32(0) ^ _secret32(4)) + seed) & _MASK64)
        mixed ^= mixed >> np.uint64(33)
        mixed *= np.uint64(_PRIME64_2)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(_PRIME64_3)
        return mixed ^ (mixed >> np.uint64(32))

    return hashed


def _hash_of_8(padded: Any, begins: Any, lengths: Any) -> Hash:
    words = _words(padded, begins, np.uint32).astype(np.uint64) << np.uint64(32)
    words |= _words(padded, begins + lengths - 4, np.uint32)
    return _hash_of_words(words, lengths.astype(np.uint64))


def _hash_of_numbers(numbers: Any) -> Hash:
    words = np.ascontiguousarray(numbers, dtype=np.int64).view(np.uint64)
    return _hash_of_words((words << np.uint64(32)) | (words >> np.uint64(32)), None)


def _hash_of_words(words: Any, lengths: Any) -> Hash:
    """Of 4 to 8 bytes: 8, where `lengths` is None. A word has the first 4 above the last 4."""

    def hashed(seed: int, some: slice) -> Any:
        low = (seed & 0xFFFFFFFF).to_bytes(4, "little")
        flip = ((_secret(8) ^ _secret(16)) - (seed ^ (int.from_bytes(low, "big") << 32))) & _MASK64
        mixed = words[some] ^ np.uint64(flip)
        mixed ^= _rotated(mixed, 49) ^ _rotated(mixed, 24)
        mixed *= np.uint64(_PRIME_MX2)
        mixed ^= (mixed >> np.uint64(35)) + (np.uint64(8) if lengths is None else lengths[some])
        mixed *= np.uint64(_PRIME_MX2)
        return mixed ^ (mixed >> np.uint64(28))

    return hashed


def _hash_of_16(padded: Any, begins: Any, lengths: Any) -> Hash:
    firsts, lasts = _words(padded, begins, np.uint64), _words(padded, begins + lengths - 8, np.uint64)
    sizes = lengths.astype(np.uint64)

    def hashed(seed: int, some: slice) -> Any:
        low = firsts[some] ^ np.uint64(((_secret(24) ^ _secret(32)) + seed) & _MASK64)
        high = lasts[some] ^ np.uint64(((_secret(40) ^ _secret(48)) - seed) & _MASK64)
        return _avalanche(sizes[some] + low.byteswap() + high + _folded(low, high))

    return hashed


def _hash_of_128(padded: Any, begins: Any, lengths: Any) -> Hash:
    """A step has 16 bytes of each end, and is of the keys that are long enough for it."""
    ends = begins + lengths
    steps: list[tuple[Any, list[Any]]] = []
    for step in range(4):
        deep = np.flatnonzero(lengths > 32 * step)
        if len(deep):
            read = [begins[deep] + 16 * step, begins[deep] + 16 * step + 8]
            read += [ends[deep] - 16 * (step + 1), ends[deep] - 16 * (step + 1) + 8]
            steps.append((deep, [_words(padded, each, np.uint64) for each in read]))
    sizes = lengths.astype(np.uint64) * np.uint64(_PRIME64_1)

    def hashed(seed: int, some: slice) -> Any:
        found = sizes[some].copy()
        for step, (deep, words) in enumerate(steps):
            inside = slice(*np.searchsorted(deep, (some.start, some.stop)))
            for end in (0, 1):
                at = 32 * step + 16 * end
                low = words[2 * end][inside] ^ np.uint64((_secret(at) + seed) & _MASK64)
                high = words[2 * end + 1][inside] ^ np.uint64((_secret(at + 8) - seed) & _MASK64)
                found[deep[inside] - some.start] += _folded(low, high)
        return _avalanche(found)

    return hashed


def _hash_one_by_one(keys: list[bytes]) -> Hash:
    def hashed(seed: int, some: slice) -> Any:
        found = map(xxhash.xxh3_64_intdigest, keys[some], repeat(seed))
        return np.fromiter(found, dtype=np.uint64, count=some.stop - some.start)

    return hashed


# --- words ---


def _secret(offset: int) -> int:
    return int(struct.unpack_from("<Q", _SECRET, offset)[0])


def _secret32(offset: int) -> int:
    return int(struct.unpack_from("<I", _SECRET, offset)[0])


def _words(padded: Any, offsets: Any, kind: Any) -> Any:
    """What stands at these places, little-endian, wherever it begins."""
    size = np.dtype(kind).itemsize
    every = np.ndarray((len(padded) - size + 1,), np.dtype(kind).newbyteorder("<"), padded, strides=(1,))
    return every[offsets].astype(kind, copy=False)


def _rotated(words: Any, bits: int) -> Any:
    return (words << np.uint64(bits)) | (words >> np.uint64(64 - bits))


def _avalanche(words: Any) -> Any:
    words ^= words >> np.uint64(37)
    words *= np.uint64(_PRIME_MX1)
    return words ^ (words >> np.uint64(32))


def _folded(one: Any, other: Any) -> Any:
    """The two halves of the products of 128 bits, one against the other."""
    half = np.uint64(32)
    one_low, one_high, other_low, other_high = one & _LOW32, one >> half, other & _LOW32, other >> half
    low = one_low * other_low
    middle = one_high * other_low + (low >> half)
    cross = one_low * other_high + (middle & _LOW32)
    return (one_high * other_high + (middle >> half) + (cross >> half)) ^ ((cross << half) | (low & _LOW32))
