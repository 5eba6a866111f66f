"""Which of many texts are the decimal text of a whole number, and of which: whole arrays at once."""

from __future__ import annotations

from typing import Any

import numpy as np

DIGITS_SURE = 18
"""So many decimal digits are a number of 64 bits, whichever they are."""
_WORD = 8
_WORDS = 3
"""Which hold DIGITS_SURE digits."""


def numbers_among(data: bytes, lengths: Any) -> tuple[Any, Any, Any]:
    """The places of numbers, these numbers as int64, and the places of texts that may be one too: longer, or with a sign.

    `data` has the texts, one after the other, in ASCII; `lengths` their lengths, none of which is 0.
    """
    padded = np.frombuffer(bytes(_WORD * _WORDS) + data, dtype=np.uint8)
    text = padded[_WORD * _WORDS :]
    starts = np.cumsum(lengths) - lengths
    first = text[starts]
    signed, zero = first == ord("-"), first == ord("0")
    begins = np.flatnonzero(_is_digit(first) & ((lengths == 1) | ~zero) | signed)
    if not len(begins):
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing, nothing
    strange = np.zeros(len(begins), dtype=np.int64)
    if not (digits := _is_digit(text)).all():
        strange = np.add.reduceat(~digits, starts, dtype=np.int64)[begins]
    sure = (strange == 0) & (lengths[begins] <= DIGITS_SURE)
    unsure = begins[~sure & ((strange == 0) | signed[begins] & (strange == 1))]
    places = begins[sure]
    sizes = lengths[places]
    ends = starts[places] + sizes + _WORD * _WORDS
    words = np.ndarray((len(padded) - _WORD + 1,), np.dtype("<u8"), padded, strides=(1,))
    numbers = np.zeros(len(places), dtype=np.uint64)
    for word in range(_WORDS):
        more = np.flatnonzero(sizes > _WORD * word)
        if not len(more):
            break
        read = words[ends[more] - _WORD * (word + 1)].astype(np.uint64, copy=False)
        # What stands before a number is in the lowest bytes.
        strange_bits = (8 * np.maximum(_WORD * (word + 1) - sizes[more], 0)).astype(np.uint64)
        numbers[more] += _number_of_8(read >> strange_bits << strange_bits) * np.uint64(10 ** (_WORD * word))
    return places, numbers.view(np.int64), unsure


def _is_digit(letters: Any) -> Any:
    return (letters - np.uint8(ord("0"))) < 10


def _number_of_8(words: Any) -> Any:
    """Of eight digits each, the first one in the lowest byte; a byte of zero is none."""
    pairs = (words & np.uint64(0x0F0F0F0F0F0F0F0F)) * np.uint64(10 << 8 | 1) >> np.uint64(8)
    fours = (pairs & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(100 << 16 | 1) >> np.uint64(16)
    return (fours & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(10_000 << 32 | 1) >> np.uint64(32)
