"""What messages say to a job; what says nothing to it is a sentence, whatever it is."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.streams.told import is_file, part_of
from ambry.streams.windows import TIMES_MAX, is_days
from tests.support.strange_messages import (
    BLOB,
    CHANGES,
    FOLDER,
    NO_CHANGES,
    NO_PARTS,
    PARTS,
    SUMS,
    change,
    days_after,
    part,
)


def parsed(texts: list[str]) -> list[Any]:
    """Of those that are JSON: what is none Quix refuses."""
    found = []
    for text in texts:
        with contextlib.suppress(ValueError):
            found.append(json.loads(text))
    return found


@pytest.mark.parametrize("message", parsed(CHANGES))
def test_a_change_is_taken_or_passed_over(message: Any) -> None:
    assert is_file(message, FOLDER) == (message["type"] == "name.put" and message["name"] == f"{FOLDER}1")


@pytest.mark.parametrize("message", parsed(NO_CHANGES))
def test_what_is_no_change_is_told(message: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"a message is no change: .*; is it another topic\?") as refused:
        is_file(message, FOLDER)
    assert len(str(refused.value)) < 150


@pytest.mark.parametrize("message", parsed(PARTS))
def test_what_a_file_adds_is_taken(message: Any) -> None:
    assert part_of(message) == (message["member"], BLOB, message["days"])


@pytest.mark.parametrize("message", parsed(NO_PARTS))
def test_what_adds_to_no_member_is_told(message: Any) -> None:
    with pytest.raises(InvalidRequest, match="a message is not what a file adds to a member: "):
        part_of(message)


def test_whatever_is_taken_is_added_up_to_days_that_may_be_read_again() -> None:
    after = dict(days_after(SUMS))
    assert all(map(is_days, after.values()))
    assert after[0] == {"0001-01-01": {"Click": 1, "View": 1}}
    assert after[3] == {"0002-02-05": {"Click": 1, "View": 1}}, "400 days later"
    assert after[2] == {"0001-01-01": {"Click": 2}, "0002-02-04": {"Click": 1, "View": 1}}
    assert after[6] == {"2026-11-27": {"Click": TIMES_MAX, "View": 1}, "2026-11-26": {"View": 1}}


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(BLOB)
NAMES = st.sampled_from(["type", "name", "id", "member", "file", "days", "2026-11-27", "Click"]) | st.text(max_size=4)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
SOUND = json.loads(change()) | json.loads(part())


@given(message=JSON | st.dictionaries(st.sampled_from(sorted(SOUND)), JSON, max_size=3).map(lambda some: SOUND | some))
def test_any_json_is_taken_or_told(message: Any) -> None:
    with contextlib.suppress(InvalidRequest):
        is_file(message, FOLDER)
    with contextlib.suppress(InvalidRequest):
        part_of(message)
