"""Who sees what: the same everywhere, uniform, independent between experiments, and never back."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.experiments.assignment import arm_at, arms_at, exposed_stretches, place_of, places_of, salt_of

NUMBERS = st.integers(-(2**63), 2**63 - 1)
SALTS = st.integers(0, 2**64 - 1)
MILLION = np.arange(1_000_000)


@given(SALTS, st.lists(NUMBERS, max_size=20))
def test_whole_arrays_are_hashed_as_xxhash_does_it(salt: int, units: list[int]) -> None:
    expected = [
        (xxhash.xxh3_64_intdigest(unit.to_bytes(8, "little", signed=True), salt) >> 11) / 2**53 for unit in units
    ]
    assert places_of(salt, np.array(units, dtype=np.int64)).tolist() == expected
    assert places_of(salt, units).tolist() == expected
    assert [place_of(salt, unit) for unit in units] == expected


TEXTS = st.text(min_size=1) | st.text("0123456789-", min_size=1, max_size=20) | NUMBERS.map(str) | st.just("\ud800")


@given(SALTS, st.lists(TEXTS, max_size=20) | st.lists(st.integers(0, 10**19).map(str)) | st.lists(TEXTS | NUMBERS))
def test_many_at_once_are_hashed_as_each(salt: int, units: list[int | str]) -> None:
    assert places_of(salt, units).tolist() == [place_of(salt, unit) for unit in units]


def test_texts_are_hashed_as_their_utf8() -> None:
    assert places_of(1, ["zoë"]).tolist() == [(xxhash.xxh3_64_intdigest("zoë".encode(), 1) >> 11) / 2**53]


def test_arrays_of_texts_are_lists_of_them() -> None:
    for units in (["7", "12"], ["ann", "7"], ["007", "0"]):
        assert places_of(1, np.array(units)).tolist() == [place_of(1, unit) for unit in units]


@pytest.mark.parametrize("frame", [list, tuple, pd.Series, pl.Series, pa.array, partial(np.array, dtype=object)])
def test_texts_keep_the_nuls_at_their_ends(frame: Callable[[list[str]], Any]) -> None:
    """Which numpy's own arrays of texts lose."""
    units = ["ann", "ann\0", "\0", "bob\0\0"]
    assert places_of(1, frame(units)).tolist() == [place_of(1, unit) for unit in units]


def test_a_place_is_for_ever() -> None:
    """Golden: who was in an arm yesterday is in it tomorrow, with another release too."""
    assert salt_of("ranker-2") == 0xCBCF937E4542CA16
    assert {unit: place_of(7, unit) for unit in (0, 1, -1, 2**63 - 1, "ann", "zoë")} == {
        0: 0.2782924503170122,
        1: 0.6512094882628526,
        -1: 0.24476955158052638,
        2**63 - 1: 0.7111599723113471,
        "ann": 0.6790094545265907,
        "zoë": 0.731674227095059,
    }


@given(NUMBERS, SALTS)
def test_a_number_and_its_text_are_one_unit(number: int, salt: int) -> None:
    assert place_of(salt, number) == place_of(salt, str(number))


@pytest.mark.parametrize("text", ["007", "-0", "+1", "1.0", "1e3", " 1", "٣", "9223372036854775808", "--1", "-"])
def test_other_texts_are_texts(text: str) -> None:
    assert place_of(1, text) == (xxhash.xxh3_64_intdigest(text.encode(), 1) >> 11) / 2**53


@pytest.mark.parametrize("unit", ["", 2**63, -(2**63) - 1, True, 1.5, None, b"x"])
def test_what_is_no_unit_is_refused(unit: object) -> None:
    with pytest.raises(InvalidRequest, match="no unit"):
        place_of(1, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "units", [np.array([2**63], dtype=np.uint64), [1, 2**63], [True, 2], ["a", ""], ["1", ""], [1.5, 2], [None, "a"]]
)
def test_what_is_no_unit_is_refused_among_many(units: object) -> None:
    """True beside a number was the unit 1."""
    with pytest.raises(InvalidRequest, match="no unit"):
        places_of(1, units)


def test_a_million_units_lie_evenly() -> None:
    counts = np.histogram(places_of(salt_of("uniform"), MILLION), bins=1_000, range=(0, 1))[0]
    chi = float(((counts - 1_000) ** 2 / 1_000).sum())
    # 999 degrees of freedom: mean 999, deviation 44.7; six of them away would not be chance.
    assert abs(chi - 999) < 6 * math.sqrt(2 * 999)


def test_two_experiments_know_nothing_of_each_other() -> None:
    places = [places_of(salt_of(f"experiment-{number}"), MILLION) for number in range(6)]
    for one in range(6):
        for other in range(one):
            assert abs(float(np.corrcoef(places[one], places[other])[0, 1])) < 0.006
            both = np.histogram2d(places[one], places[other], bins=10, range=((0, 1), (0, 1)))[0]
            chi = float(((both - 10_000) ** 2 / 10_000).sum())
            assert abs(chi - 99) < 6 * math.sqrt(2 * 99)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_ramp_moves_nobody_back(weights: list[int], steps: list[float]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    places = places_of(3, np.arange(2_000))
    before, after = (arms_at(places, exposed_stretches(shares, exposed)) for exposed in sorted(steps))
    assert bool(np.all((before == -1) | (before == after)))
    assert arms_at(places, exposed_stretches(shares, 0.0)).max() == -1
    assert arms_at(places, exposed_stretches(shares, 1.0)).min() == 0
    one_by_one = [arm_at(float(place), exposed_stretches(shares, max(steps))) for place in places]
    assert [-1 if arm is None else arm for arm in one_by_one] == after.tolist()


def test_a_ramp_of_a_million_is_as_wide_as_it_says() -> None:
    places = places_of(salt_of("ramp"), MILLION)
    seen = -np.ones(len(MILLION), dtype=np.int64)
    for exposed in (0.01, 0.1, 0.5, 1.0):
        arms = arms_at(places, exposed_stretches([0.5, 0.3, 0.2], exposed))
        assert bool(np.all((seen == -1) | (seen == arms)))
        seen = arms
        for arm, share in enumerate((0.5, 0.3, 0.2)):
            expected = 1_000_000 * share * exposed
            assert abs(int((arms == arm).sum()) - expected) < 6 * math.sqrt(expected)


def test_another_process_sees_the_same() -> None:
    code = "from ambry.ml.experiments.assignment import place_of; print([place_of(7, u) for u in (0, 1, 'ann')])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str([place_of(7, unit) for unit in (0, 1, "ann")])
