"""Names of features: both forms are read, the article's is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.urn import URN_CHARACTERS_MAX, FeatureUrn, FeatureVersion, Reference, find_urn, parse_urn

ARTICLE = "urn:li:(flagship,historicalActionsInFeed,1,0)"
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
VERSIONS = st.builds(FeatureVersion, st.integers(0, 999), st.integers(0, 999))


@pytest.mark.parametrize("text", [ARTICLE, ARTICLE.replace("li:(", "li:mlFeature:("), ARTICLE.replace(",", ", ")])
def test_both_forms_are_read_and_one_is_written(text: str) -> None:
    urn = FeatureUrn.parse(text)
    assert urn == FeatureUrn("flagship", "historicalActionsInFeed", FeatureVersion(1, 0))
    assert str(urn) == ARTICLE


@given(NAMES, NAMES, VERSIONS)
def test_any_name_survives(namespace: str, name: str, version: FeatureVersion) -> None:
    urn = FeatureUrn(namespace, name, version)
    assert FeatureUrn.parse(str(urn)) == urn
    assert str(urn).count(",") == 3
    reference = Reference(name, version, namespace)
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flagship.historicalActionsInFeed",
        "urn:li:(flagship,historicalActionsInFeed)",
        "urn:li:(flagship,historicalActionsInFeed,1)",
        "urn:li:(flagship,historicalActionsInFeed,1,x)",
        "urn:li:(flagship,historicalActionsInFeed,1,-1)",
        "urn:li:(flagship,historicalActionsInFeed,1,1000)",
        "urn:li:(flagship,,1,0)",
        "urn:li:(,a,1,0)",
        "urn:li:(a,b%,1,0)",
        "urn:li:(a,b%ff,1,0)",
        "urn:li:(a,b%0a,1,0)",
        "urn:li:(a,b/c,1,0)",
        "urn:li:(a,b,1,0) ",
        "urn:li:((a,b,1,0))",
        "urn:li:(a,b,١,0)",
    ],
)
def test_what_is_no_urn_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        FeatureUrn.parse(text)


def test_a_urn_has_at_most_255_characters() -> None:
    longest = "é" * 20
    assert len(str(FeatureUrn("n", "x" * 128, FeatureVersion(1, 0)))) < URN_CHARACTERS_MAX
    FeatureUrn(longest, longest, FeatureVersion(1, 0))
    with pytest.raises(InvalidRequest, match="255 characters"):
        FeatureUrn("(" * 90, "x", FeatureVersion(1, 0))


@pytest.mark.parametrize(
    "text", ["feedActions", "feedActions-1", "-1-0", "feedActions-1-0000", "a/b/c-1-0", "feedActions-1-x"]
)
def test_a_reference_names_a_version(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Reference.parse(text)


def test_a_name_may_end_as_a_version_does() -> None:
    assert Reference.parse("a-1-0-2-3") == Reference("a-1-0", FeatureVersion(2, 3))


KNOWN = [FeatureUrn.parse(f"urn:li:({urn})") for urn in ("n,age,1,0", "n,views,1,0", "n,views,2,0", "m,share,1,0")]


@pytest.mark.parametrize("text", ["age", "age-1-0", "n/age-1-0", "urn:li:(n,age,1,0)", "urn:li:mlFeature:(n, age,1,0)"])
def test_a_name_that_one_feature_has_is_that_feature(text: str) -> None:
    assert find_urn(text, KNOWN) == KNOWN[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("views", "several features are called 'views': urn:li:(n,views,1,0), urn:li:(n,views,2,0); write which one"),
        ("aeg", "no feature is called 'aeg'; did you mean urn:li:(n,age,1,0)?"),
        ("income", "no feature is called 'income'; write its name, or urn:li:(namespace,name,major,minor)"),
        ("m/age-1-0", "no feature is called 'm/age-1-0'; did you mean urn:li:(n,age,1,0)?"),
        ("urn:li:(n,age)", "is not the URN of a feature"),
    ],
)
def test_what_is_no_feature_names_the_one_that_is_meant(text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        find_urn(text, KNOWN)
    assert words in caught.value.message


def test_where_urns_are_asked_for_a_name_is_answered_with_its_urn() -> None:
    """Code that stays says which version it means, so a name is not taken there."""
    assert parse_urn("urn:li:(x,y,1,0)", KNOWN) == FeatureUrn("x", "y", FeatureVersion(1, 0))
    for text, words in (
        ("share", "; did you mean urn:li:(m,share,1,0)?"),
        ("views", "; did you mean urn:li:(n,views,1,0) or urn:li:(n,views,2,0)?"),
    ):
        with pytest.raises(InvalidRequest, match="is not the URN of a feature") as caught:
            parse_urn(text, KNOWN)
        assert caught.value.message.endswith(words)
