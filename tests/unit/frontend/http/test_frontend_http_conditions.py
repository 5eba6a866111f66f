"""Conditional requests, by the tables of RFC 9110 section 13."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest, PreconditionFailed
from frontend.http.conditions import Condition, Selected, evaluate, range_applies
from frontend.http.fields import http_date

ETAG = '"00112233445566778899aabbccddeeff"'
MODIFIED_MS = 784_111_777_456
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"
GO_ON, NOT_MODIFIED, FAILED = Condition.GO_ON, Condition.NOT_MODIFIED, None


SELECTED = Selected(etag=ETAG, modified_ms=MODIFIED_MS, headers={})
PAGE = Selected(etag=None, modified_ms=None, headers={})


def outcome(method: str = "GET", selected: Selected | None = SELECTED, /, **headers: str) -> Condition | None:
    """None where a condition does not hold."""
    try:
        return evaluate({name.replace("_", "-").lower(): value for name, value in headers.items()}, method, selected)
    except PreconditionFailed:
        return FAILED


def test_a_date_has_seconds() -> None:
    assert http_date(MODIFIED_MS // 1000) == DATE


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, GO_ON),
        ({"If_Match": ETAG}, GO_ON),
        ({"If_Match": "*"}, GO_ON),
        ({"If_Match": f'"a", {ETAG},"b"'}, GO_ON),
        ({"If_Match": '"a"'}, FAILED),
        ({"If_Match": f"W/{ETAG}"}, FAILED),
        ({"If_Match": ETAG.upper()}, FAILED),
        ({"If_None_Match": ETAG}, NOT_MODIFIED),
        ({"If_None_Match": f"W/{ETAG}"}, NOT_MODIFIED),
        ({"If_None_Match": "*"}, NOT_MODIFIED),
        ({"If_None_Match": f'"a" , W/{ETAG}'}, NOT_MODIFIED),
        ({"If_None_Match": '"a"'}, GO_ON),
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
def test_the_order_and_the_outcome_of_rfc_9110_section_13_2_2(
    headers: dict[str, str], expected: Condition | None
) -> None:
    assert outcome(**headers) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"If_Match": ETAG}, GO_ON),
        ({"If_Match": "*"}, GO_ON),
        ({"If_Match": '"a"'}, FAILED),
        ({"If_Match": f"W/{ETAG}"}, FAILED),
        ({"If_None_Match": ETAG}, FAILED),
        ({"If_None_Match": f"W/{ETAG}"}, FAILED),
        ({"If_None_Match": "*"}, FAILED),
        ({"If_None_Match": '"a"'}, GO_ON),
        ({"If_Unmodified_Since": BEFORE}, FAILED),
        ({"If_Unmodified_Since": DATE}, GO_ON),
        # 13.1.3: If-Modified-Since is for GET and HEAD.
        ({"If_Modified_Since": DATE}, GO_ON),
        ({"If_Modified_Since": "yesterday"}, GO_ON),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_change_is_done_or_fails_and_is_never_answered_304(
    method: str, headers: dict[str, str], expected: Condition | None
) -> None:
    assert outcome(method, **headers) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"If_Match": ETAG}, FAILED),
        ({"If_Match": "*"}, FAILED),
        ({"If_None_Match": "*"}, GO_ON),
        ({"If_None_Match": ETAG}, GO_ON),
        ({"If_Unmodified_Since": BEFORE}, GO_ON),
    ],
)
def test_where_nothing_is_there_is_nothing_to_match(headers: dict[str, str], expected: Condition | None) -> None:
    assert outcome("PUT", None, **headers) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"If_Match": "*"}, GO_ON),
        ({"If_Match": ETAG}, FAILED),
        ({"If_None_Match": "*"}, NOT_MODIFIED),
        ({"If_None_Match": ETAG}, GO_ON),
        ({"If_Modified_Since": AFTER}, GO_ON),
        ({"If_Unmodified_Since": BEFORE}, GO_ON),
    ],
)
def test_a_page_without_tag_and_date_matches_the_star_alone(
    headers: dict[str, str], expected: Condition | None
) -> None:
    assert outcome("GET", PAGE, **headers) is expected


@pytest.mark.parametrize(
    "value", ["", ETAG.strip('"'), '"', '"a" "b"', '"a""b"', "*, *", '"a", *', f"w/{ETAG}", '"a b"', "a"]
)
def test_a_tag_that_is_none_is_refused_whatever_the_method(value: str) -> None:
    """It once counted as a tag that does not match: a mistyped If-None-Match let everything through."""
    for name in ("If_Match", "If_None_Match"):
        for method in ("GET", "DELETE"):
            with pytest.raises(InvalidRequest):
                outcome(method, **{name: value})


@pytest.mark.parametrize("value", ["rubbish", "", '"a', "W/", "Sun, 32 Nov 1994 08:49:37 GMT", '"a", "b"'])
def test_an_if_range_that_is_neither_tag_nor_date_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        range_applies(value, etag=ETAG, modified_ms=MODIFIED_MS)


NO_DATES = [
    "yesterday", "", "784111777", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 +0000",
    "Sun, 06 Nov 1994 25:49:37 GMT", "Sun, 30 Feb 1994 08:49:37 GMT", "06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 0000 08:49:37 GMT",
    f"Sun, 06 Nov {'9' * 5000} 08:49:37 GMT",
]  # fmt: skip


@pytest.mark.parametrize("value", NO_DATES)
def test_a_date_that_is_none_is_ignored_by_reads_and_refused_where_something_would_be_changed(value: str) -> None:
    """RFC 9110 sections 13.1.3 and 13.1.4."""
    assert outcome("GET", If_Modified_Since=value) is GO_ON
    assert outcome("HEAD", If_Unmodified_Since=value) is GO_ON
    with pytest.raises(InvalidRequest):
        outcome("DELETE", If_Unmodified_Since=value)


@pytest.mark.parametrize(
    ("value", "later"),
    [
        ("Sunday, 06-Nov-94 08:49:36 GMT", False),
        ("Sunday, 06-Nov-94 08:49:38 GMT", True),
        ("Sun Nov  6 08:49:38 1994", True),
        ("Wednesday, 06-Nov-69 08:49:37 GMT", True),
        ("Friday, 06-Nov-70 08:49:37 GMT", False),
        ("Sat, 31 Dec 2016 23:59:60 GMT", True),
        ("Fri, 31 Dec 9999 23:59:59 GMT", True),
        ("Mon, 01 Jan 0001 00:00:00 GMT", False),
    ],
)
def test_dates_of_every_form_and_century(value: str, later: bool) -> None:
    assert outcome("DELETE", If_Unmodified_Since=value) is (GO_ON if later else FAILED)


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
    if not tags:
        return
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
    assert http_date(MODIFIED_MS // 1000) == DATE


@given(st.text(max_size=40), st.sampled_from(["GET", "PUT"]))
def test_no_text_breaks_a_condition(value: str, method: str) -> None:
    for name in ("If_Match", "If_None_Match", "If_Modified_Since", "If_Unmodified_Since"):
        with contextlib.suppress(InvalidRequest):
            outcome(method, **{name: value})
    with contextlib.suppress(InvalidRequest):
        range_applies(value, etag=ETAG, modified_ms=MODIFIED_MS)


@pytest.mark.parametrize(
    ("method", "headers", "said"),
    [
        ("GET", {"if-match": '"a"'}, f"If-Match does not hold: what stands there has the entity tag {ETAG}"),
        ("GET", {"if-unmodified-since": BEFORE}, "If-Unmodified-Since does not hold: what stands there is younger"),
        (
            "DELETE",
            {"if-none-match": "*"},
            "If-None-Match does not hold: what stands there has an entity tag; nothing was changed",
        ),
        (
            "PUT",
            {"if-none-match": ETAG},
            "If-None-Match does not hold: what stands there has that entity tag; nothing was changed",
        ),
        (
            "PUT",
            {"if-match": '"a"'},
            "If-Match does not hold: what stands there has another entity tag; nothing was changed",
        ),
    ],
)
def test_a_refusal_names_the_condition_and_speaks_of_change_only_where_there_is_one(
    method: str, headers: dict[str, str], said: str
) -> None:
    """It once said "nothing was changed" of a GET, and of no request which of its conditions it was."""
    with pytest.raises(PreconditionFailed) as refused:
        evaluate(headers, method, SELECTED)
    assert refused.value.message == said


def test_a_refusal_says_that_nothing_is_there_to_match() -> None:
    with pytest.raises(PreconditionFailed, match="nothing stands there yet; nothing was changed"):
        evaluate({"if-match": "*"}, "POST", None)
