"""What a version is called: a dataset, and a number, an alias or a digest behind an @."""

from __future__ import annotations

import pytest

from ambry import InvalidRequest, VersionRef
from ambry.ml.places import in_dataset, shown_version, version_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("fraud", VersionRef("fraud", "LATEST")),
        ("fraud@1.2.0", VersionRef("fraud", "1.2.0")),
        ("fraud@17", VersionRef("fraud", "17")),
        ("fraud@LATEST", VersionRef("fraud", "LATEST")),
        ("fraud@champion", VersionRef("fraud", "@champion")),
        (f"fraud@sha256:{'0F' * 32}", VersionRef("fraud", f"sha256:{'0f' * 32}")),
        (f"ambry://team/models/fraud@sha256:{'0' * 64}", VersionRef("fraud", f"sha256:{'0' * 64}", "team", "models")),
        ("ambry://team/models/fraud", VersionRef("fraud", "LATEST", "team", "models")),
        ("ambry://team/models/fraud@champion", VersionRef("fraud", "@champion", "team", "models")),
        ("ambry://te%40m/models/fraud@1.0.0", VersionRef("fraud", "1.0.0", "te@m", "models")),
    ],
)
def test_a_version_is_read_from_text(text: str, place: VersionRef) -> None:
    assert version_of(text) == place
    assert version_of(place) is place
    assert version_of(shown_version(place)) == place


@pytest.mark.parametrize(
    "text",
    ["", "@champion", "fraud@", "fraud@sha256:", f"fraud@sha256:{'0' * 63}", "ambry://team", "ambry://team/models/"],
)
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        version_of(text)


def test_a_dataset_may_be_said_with_its_container() -> None:
    assert in_dataset("ambry://team/models/fraud", "@x") == VersionRef("fraud", "@x", "team", "models")
