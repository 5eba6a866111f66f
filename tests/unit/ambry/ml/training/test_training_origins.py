"""What made checkpoints: each once, oldest first, and what was submitted last at the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.training.origins import ORIGINS_MAX, is_other_code, told_origin, with_own

MADE: dict[str, Any] = {
    "job": "digits",
    "script": "train.py",
    "arguments": ["--epochs", "3"],
    "workers": 2,
    "sources": "a" * 48,
    "environment": "b" * 48,
    "commit": "",
    "snapshot": "",
    "sources_sha256": "0" * 64,
    "environment_sha256": "1" * 64,
}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_each_has_a_part_once_and_the_newest_is_the_last(submitted: list[int]) -> None:
    found: tuple[Any, ...] = ()
    for workers in submitted:
        found = with_own(found, {**MADE, "workers": workers})
    told = [each["workers"] for each in found]
    assert sorted(told) == sorted(set(submitted)) and told[-1] == submitted[-1]
    assert told == sorted(told, key=lambda each: len(submitted) - submitted[::-1].index(each))


@pytest.mark.parametrize(
    ("change", "told", "other"),
    [
        ({"sources_sha256": "2" * 64}, "other sources,", True),
        ({"script": "b.py", "arguments": []}, "other script and arguments,", True),
        (
            {"environment_sha256": "2" * 64, "snapshot": "a@1", "workers": 1},
            "environment, snapshot and workers,",
            False,
        ),
    ],
)
def test_what_differs_is_told_and_sources_are_code(change: dict[str, Any], told: str, other: bool) -> None:
    assert told in told_origin(MADE, {**MADE, **change}) and "by the job digits" in told_origin(
        MADE, {**MADE, **change}
    )
    assert is_other_code((MADE,), {**MADE, **change}) is other
    assert len(with_own((MADE,), {**MADE, **change})) == 2


def test_the_same_sources_that_were_stored_anew_are_the_same() -> None:
    """Whoever removed them sends them again, and they have another id."""
    anew = {**MADE, "sources": "c" * 48, "environment": "d" * 48, "commit": "abc", "job": "other"}
    assert with_own((MADE,), anew) == (anew,) and not is_other_code((MADE,), anew) and not is_other_code((), anew)


def test_more_than_can_be_written_down_are_refused() -> None:
    made = tuple({**MADE, "workers": each} for each in range(ORIGINS_MAX))
    assert with_own(made, made[3])[-1] == made[3]
    with pytest.raises(InvalidRequest, match="begin at step 0 with --fresh"):
        with_own(made, {**MADE, "workers": ORIGINS_MAX})
    assert with_own(made, MADE | {"workers": ORIGINS_MAX}, fresh=True)[:-1] == made
