"""Versions are refused where they are said, before anything is stored for one; which are: tests/unit/ambry/rest."""

from __future__ import annotations

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.datasets import check_version_for


def test_a_version_that_the_store_would_refuse_is_told_with_what_may_stand_there() -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_version_for("SEMANTIC", "1.2")
    assert refused.value.message == (
        "'1.2' is no version of a dataset of the schema SEMANTIC: it is 3 numbers from 0 to 999, as in 1.2.3, "
        "or LATEST, MAJOR, MINOR, PATCH"
    )
    check_version_for("SEMANTIC", "minor")


def test_of_a_schema_of_a_later_release_the_store_says_what_its_versions_are() -> None:
    check_version_for("CALENDAR", "2026-11")
