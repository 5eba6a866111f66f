"""Whole arrays of keys are hashed as xxhash hashes each."""

from __future__ import annotations

import random

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.experiments.hashing import BLOCK, UnitKeys

SEEDS = st.sampled_from([0, 1, 2**32 - 1, 2**64 - 1]) | st.integers(0, 2**64 - 1)


def keys_of(texts: list[bytes]) -> UnitKeys:
    return UnitKeys(b"".join(texts), np.array(list(map(len, texts)), dtype=np.int64))


@pytest.mark.parametrize("seed", [0, 1, 0xCBCF937E4542CA16, 2**64 - 1])
def test_keys_of_every_length_are_hashed_as_xxhash_does_it(seed: int) -> None:
    """Those of 65 bytes and more, of which other parts of the secret are read, were wrong while a byte of it was lost."""
    drawn = random.Random(7)
    texts = [drawn.randbytes(length) for length in [*range(1, 300), *range(300, 0, -1)]]
    assert keys_of(texts).hashes(seed).tolist() == [xxhash.xxh3_64_intdigest(text, seed) for text in texts]


@given(SEEDS, st.lists(st.binary(min_size=1, max_size=140)))
def test_any_keys_are_hashed_as_xxhash_does_it(seed: int, texts: list[bytes]) -> None:
    assert keys_of(texts).hashes(seed).tolist() == [xxhash.xxh3_64_intdigest(text, seed) for text in texts]


def test_more_than_a_block_of_each_length() -> None:
    texts = [f"{number:0{4 + 17 * (number % 3)}}".encode() for number in range(3 * BLOCK + 5)]
    assert keys_of(texts).hashes(3).tolist() == [xxhash.xxh3_64_intdigest(text, 3) for text in texts]


@given(SEEDS, st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_numbers_are_hashed_as_their_8_bytes(seed: int, numbers: list[int]) -> None:
    hashes = UnitKeys.of_numbers(np.array(numbers, dtype=np.int64)).hashes(seed)
    assert hashes.tolist() == [
        xxhash.xxh3_64_intdigest(number.to_bytes(8, "little", signed=True), seed) for number in numbers
    ]


def test_numbers_among_texts_stand_where_they_are() -> None:
    keys = UnitKeys(b"ann7bob", np.array([3, 1, 3]), (np.array([1]), np.array([7])))
    expected = [b"ann", (7).to_bytes(8, "little"), b"bob"]
    assert keys.hashes(5).tolist() == [xxhash.xxh3_64_intdigest(each, 5) for each in expected]
