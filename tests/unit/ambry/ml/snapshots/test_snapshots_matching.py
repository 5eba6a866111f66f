"""Which column is which feature: nothing is guessed, and nothing left over in silence."""

from __future__ import annotations

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.matching import match_columns

METADATA = FeatureMetadata.of(
    parse_definitions(text, namespace)
    for namespace, text in (
        ("feed", 'clicks: {valType: INT}\nviews: {valType: INT}\nviews: {version: "2.0", valType: FLOAT}'),
        ("jobs", "applied: {valType: INT}\nclicks: {valType: INT}"),
        ("other", "never: {valType: INT}"),
    )
)
CLICKS, FIRST, SECOND, APPLIED, JOBS = (
    f"urn:li:({urn})"
    for urn in ("feed,clicks,1,0", "feed,views,1,0", "feed,views,2,0", "jobs,applied,1,0", "jobs,clicks,1,0")
)


def test_what_is_left_over_is_said_of_the_namespaces_that_are_written() -> None:
    found = match_columns(METADATA, ["id", "applied", "town"], "id", [], {})
    assert {name: str(kind.urn) for name, kind in found.kinds.items()} == {"applied": APPLIED}
    assert (list(map(str, found.missing)), found.unused) == ([JOBS], ("town",))
    with pytest.raises(InvalidRequest, match=r"no column for .*jobs,clicks.*--allow-missing"):
        found.check_whole()


def test_of_a_feature_that_is_written_the_other_versions_are_not_missed() -> None:
    found = match_columns(METADATA, ["id", "views", "c"], "id", [], {SECOND: "views", CLICKS: "c"})
    assert {name: str(kind.urn) for name, kind in found.kinds.items()} == {"c": CLICKS, "views": SECOND}
    assert (found.missing, found.unused) == ((), ())
    found.check_whole()
    found = match_columns(METADATA, ["id", "views-1-0", "views-2-0"], "id", [], {CLICKS: "id"})
    assert sorted(found.kinds) == ["views-1-0", "views-2-0"]


@pytest.mark.parametrize(
    ("there", "wanted", "said", "words"),
    [
        (["id", "views", "applied"], [], {}, f"the column 'views' may be {FIRST} or {SECOND}; say which"),
        (["id", "clicks", "applied"], [], {}, f"the column 'clicks' may be {CLICKS} or {JOBS}; say which"),
        (["id", "x"], ["clicks"], {}, f"several features are called 'clicks': {CLICKS}, {JOBS}"),
        (
            ["id", "x"],
            ["urn:li:(feed,click,1,0)"],
            {},
            f"--feature: urn:li:(feed,click,1,0) is not defined; did you mean {CLICKS}",
        ),
        (["id", "x"], [], {"views-2-0": "y"}, "no column is called 'y', as --column says; there are id, x"),
        (["id", "x"], [], {}, "no feature of the definitions has a column here; there are id, x"),
        (["x"], [], {}, "no column is called 'id', as --entity says; there are x"),
    ],
)
def test_what_is_not_clear_is_refused(there: list[str], wanted: list[str], said: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        match_columns(METADATA, there, "id", wanted, said)
    assert words in caught.value.message
