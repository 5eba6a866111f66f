"""Conditional requests, by the tables of RFC 9110 section 13."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.http.conditions import Condition, etag_of, evaluate, http_date, range_applies

ETAG = '"00112233445566778899aabbccddeeff"'
MODIFIED_MS = 784_111_777_456
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
GO_ON, NOT_MODIFIED, FAILED = Condition.GO_ON, Condition.NOT_MODIFIED, Condition.FAILED


def outcome(**headers: str) -> Condition:
    return evaluate(
        {name.replace("_", "-"): value for name, value in headers.items()}, etag=ETAG, modified_ms=MODIFIED_MS
    )


def test_the_tag_is_the_digest_and_the_date_has_seconds() -> None:
    assert etag_of(bytes.fromhex("00112233445566778899aabbccddeeff")) == ETAG
    assert http_date(MODIFIED_MS) == DATE


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, GO_ON),
        ({"If_Match": ETAG}, GO_ON),
        ({"If_Match": "*"}, GO_ON),
        ({"If_Match": f'"a", {ETAG},"b"'}, GO_ON),
        ({"If_Match": '"a"'}, FAILED),
        ({"If_Match": ""}, FAILED),
        ({"If_Match": f"W/{ETAG}"}, FAILED),
        ({"If_Match": ETAG.strip('"')}, FAILED),
        ({"If_Match": ETAG.upper()}, FAILED),
        ({"If_None_Match": ETAG}, NOT_MODIFIED),
        ({"If_None_Match": f"W/{ETAG}"}, NOT_MODIFIED),
        ({"If_None_Match": "*"}, NOT_MODIFIED),
        ({"If_None_Match": f'"a" , W/{ETAG}'}, NOT_MODIFIED),
        ({"If_None_Match": '"a"'}, GO_ON),
        ({"If_None_Match": ETAG.strip('"')}, GO_ON),
        ({"If_Modified_Since": DATE}, NOT_MODIFIED),
        ({"If_Modified_Since": AFTER}, NOT_MODIFIED),
        ({"If_Modified_Since": BEFORE}, GO_ON),
        ({"If_Modified_Since": "yesterday"}, GO_ON),
        ({"If_Modified_Since": ""}, GO_ON),
        ({"If_Unmodified_Since": DATE}, GO_ON),
        ({"If_Unmodified_Since": AFTER}, GO_ON),
        ({"If_Unmodified_Since": BEFORE}, FAILED),
        ({"If_Unmodified_Since": "yesterday"}, GO_ON),
        # 13.2.2: If-Match goes before If-Unmodified-Since, If-None-Match before If-Modified-Since; the dates are ignored then.
        ({"If_Match": ETAG, "If_Unmodified_Since": BEFORE}, GO_ON),
        ({"If_Match": '"a"', "If_Unmodified_Since": AFTER}, FAILED),
        ({"If_None_Match": '"a"', "If_Modified_Since": AFTER}, GO_ON),
        ({"If_None_Match": ETAG, "If_Modified_Since": BEFORE}, NOT_MODIFIED),
        ({"If_Match": '"a"', "If_None_Match": ETAG}, FAILED),
        ({"If_Match": ETAG, "If_None_Match": ETAG}, NOT_MODIFIED),
        ({"If_Unmodified_Since": BEFORE, "If_None_Match": ETAG}, FAILED),
        ({"If_Unmodified_Since": AFTER, "If_Modified_Since": AFTER}, NOT_MODIFIED),
    ],
)
def test_the_order_and_the_outcome_of_rfc_9110_section_13_2_2(headers: dict[str, str], expected: Condition) -> None:
    assert outcome(**headers) is expected


OPAQUE = st.text(st.sampled_from("0123456789abcdef!#$()xyz-_"), max_size=12).filter(lambda tag: f'"{tag}"' != ETAG)
TAG = st.tuples(st.booleans(), OPAQUE)


@given(st.lists(TAG, max_size=8), st.sampled_from([None, "strong", "weak"]), st.data())
def test_a_list_matches_exactly_when_it_holds_the_tag(
    others: list[tuple[bool, str]], own: str | None, data: st.DataObject
) -> None:
    tags = [f'W/"{tag}"' if weak else f'"{tag}"' for weak, tag in others]
    if own is not None:
        tags.insert(data.draw(st.integers(0, len(tags))), ETAG if own == "strong" else f"W/{ETAG}")
    gaps = data.draw(st.lists(st.sampled_from([",", ", ", " ,", "\t,  "]), min_size=len(tags), max_size=len(tags)))
    value = "".join(tag + gap for tag, gap in zip(tags, [*gaps[: len(tags) - 1], ""], strict=False))
    assert outcome(If_None_Match=value) is (NOT_MODIFIED if own else GO_ON)
    assert outcome(If_Match=value) is (GO_ON if own == "strong" else FAILED)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        (ETAG, True),
        (f" {ETAG} ", True),
        ('"other"', False),
        (f"W/{ETAG}", False),
        (DATE, True),
        (BEFORE, False),
        (AFTER, False),
        ("rubbish", False),
        ("", False),
    ],
)
def test_if_range_counts_only_for_this_very_content(value: str | None, expected: bool) -> None:
    assert range_applies(value, etag=ETAG, modified_ms=MODIFIED_MS) is expected


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/New_York"])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("form", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_all_three_forms_of_a_date_are_gmt_wherever_the_server_stands(form: str, time_zone: str) -> None:
    """RFC 9110 section 5.6.7. The last form, which names no zone, once meant the server's own."""
    assert range_applies(form, etag=ETAG, modified_ms=MODIFIED_MS)
    assert outcome(If_Modified_Since=form) is NOT_MODIFIED
    assert outcome(If_Unmodified_Since=form) is GO_ON
    assert http_date(MODIFIED_MS) == DATE


@given(st.text(max_size=40))
def test_no_text_breaks_a_condition(value: str) -> None:
    for name in ("If_Match", "If_None_Match", "If_Modified_Since", "If_Unmodified_Since"):
        outcome(**{name: value})
    range_applies(value, etag=ETAG, modified_ms=MODIFIED_MS)
