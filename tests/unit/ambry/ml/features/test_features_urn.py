"""Names of features: both forms are read, the article's is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.urn import URN_CHARACTERS_MAX, FeatureUrn, FeatureVersion, Reference

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
