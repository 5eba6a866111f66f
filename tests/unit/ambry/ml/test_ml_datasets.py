"""Versions are refused where they are said, before anything is stored for one; which are: tests/unit/ambry/rest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ml import models, snapshots
from ambry.ml.datasets import KIND_TAG, KINDS, check_plain, check_version_for, dataset_for, dataset_there
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions


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


METADATA = FeatureMetadata.of([parse_definitions("age: {valType: INT}", "n")])


def written(client: AmbryClient, dataset: str, kind: str) -> None:
    match kind:
        case "model":
            models.publish(client, dataset, {"weights": np.arange(3.0)})
        case "snapshot":
            rows: dict[str, Any] = {"member": [1], "age": [2]}
            said: dict[str, Any] = {"metadata": METADATA, "entity": "member"}
            snapshots.write(
                client, dataset, rows, ["urn:li:(n,age,1,0)"], as_of=datetime(2026, 11, 29, tzinfo=UTC), **said
            )
        case "features":
            publishing.publish(client, dataset, METADATA)


@pytest.mark.parametrize("schema", ["SEMANTIC", "MONOTONIC", "TIMESTAMP"])
@pytest.mark.parametrize("kind", ["model", "snapshot", "features"])
def test_nothing_becomes_the_newest_version_among_those_of_another_kind(
    client: AmbryClient, name: str, kind: str, schema: str
) -> None:
    """A frame became the newest version of a model, which nobody could open by its name then."""
    for other in KINDS - {kind}:
        dataset = f"{name}-{other}"
        dataset_for(client, dataset, schema, other)
        with pytest.raises(InvalidRequest, match=f"are of the kind {other}, and this one would be of the kind {kind}"):
            written(client, dataset, kind)
        with pytest.raises(InvalidRequest, match=f"are of the kind {other}, and a file"):
            check_plain(client, dataset)
        assert list(client.versions(dataset)) == []
        with pytest.raises(BlobNotFound):
            client.head(f"{dataset}.parts")


def test_versions_of_one_kind_follow_each_other(client: AmbryClient, name: str) -> None:
    for kind in ("model", "snapshot", "features"):
        written(client, f"{name}-{kind}", kind)
        written(client, f"{name}-{kind}", kind)
        found = dataset_there(client, f"{name}-{kind}", kind)
        assert found is not None and found.tags[KIND_TAG] == kind
    check_plain(client, f"{name}-none")


def test_a_tag_of_somebody_else_stands_in_nobody_s_way(client: AmbryClient, name: str) -> None:
    client.create_dataset(name, "SEMANTIC", tags={KIND_TAG: "weekly"})
    check_plain(client, name)
    written(client, name, "model")
