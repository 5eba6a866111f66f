"""Features of a snapshot are what their names say, as the fields of Avro are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.photon.named_columns import named_columns
from ambry.ml.photon.snapshots import examples_in, examples_of_snapshot
from ambry.ml.snapshots.reading import Snapshot, open_snapshot
from ambry.ml.snapshots.writing import write_snapshot

TEXT = """\
label: {valType: BOOLEAN}
age: {valType: INT}
job: {valType: STRING}
weight: {valType: FLOAT}
offset: {valType: FLOAT, dims: [days-1-0]}
days: {type: discrete : {size: 2}}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
URNS = {urn.name: urn for urn in METADATA.urns}
ROWS = 40


@pytest.fixture
def snapshot(client: AmbryClient, name: str) -> Iterator[Snapshot]:
    columns: dict[str, Any] = {
        "member": list(range(ROWS)),
        "label": [key % 3 == 0 for key in range(ROWS)],
        "age": [None if key % 9 == 0 else key for key in range(ROWS)],
        "job": [f"j{key % 4}" for key in range(ROWS)],
        "weight": [1.0 + key % 2 for key in range(ROWS)],
        "offset": [[0.5, float(key)] for key in range(ROWS)],
    }
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    write_snapshot(client, name, columns, METADATA.urns, metadata=METADATA, entity="member", as_of=noon)
    with open_snapshot(client, name, metadata=METADATA) as made:
        yield made


def test_what_is_not_said_is_as_it_is_called(snapshot: Snapshot) -> None:
    found = examples_in(snapshot, named_columns(snapshot, ids=["member", "job"]))
    # An offset of two numbers is a feature.
    expected = examples_of_snapshot(
        snapshot,
        [URNS["age"], URNS["offset"]],
        URNS["label"],
        weight=URNS["weight"],
        ids={"member": None, "job": URNS["job"]},
    )
    assert found.shard("features").index.features == expected.shard("features").index.features
    assert (found.shard("features").matrix != expected.shard("features").matrix).nnz == 0
    assert np.array_equal(found.response, expected.response) and np.array_equal(found.weight, expected.weight)
    assert found.weight.tolist() == [1.0 + key % 2 for key in range(ROWS)] and not found.offset.any()
    assert list(found.ids["member"]) == [str(key) for key in range(ROWS)]
    assert list(found.ids["job"])[:5] == ["j0", "j1", "j2", "j3", "j0"]


def test_what_is_said_is_taken(snapshot: Snapshot) -> None:
    bags = {"mine": ["age", str(URNS["job"])], "nothing": ["weight"]}
    found = examples_in(snapshot, named_columns(snapshot, bags=bags, response="age", labelled=False))
    assert found.shard("mine").index.features == (("age", ""), *(("job", f"j{each}") for each in range(4)))
    assert np.isnan(found.response).all() and set(found.shards) == {"mine", "nothing"}


def test_what_is_called_weight_is_a_feature_where_somebody_says_so(snapshot: Snapshot) -> None:
    """A weight of a body was what rows weigh, also where it was in a bag, and nothing turned that off."""
    bagged = named_columns(snapshot, bags={"features": ["weight", "age"]})
    assert bagged.weight is None and len(bagged.shards["features"]) == 2
    off = named_columns(snapshot, weight="", offset="")
    assert off.weight is None and snapshot.column(URNS["weight"]) in off.shards["features"]
    named = named_columns(snapshot, weight="age", offset="weight", bags={"features": ["age"]})
    assert (named.weight, named.offset) == (snapshot.column(URNS["age"]), snapshot.column(URNS["weight"]))
    with pytest.raises(InvalidRequest, match="no feature is called 'wieght'"):
        named_columns(snapshot, weight="wieght")
    with pytest.raises(InvalidRequest, match="is no single number"):
        named_columns(snapshot, offset="job")


def test_what_is_not_there_is_a_sentence(snapshot: Snapshot) -> None:
    with pytest.raises(
        InvalidRequest,
        match=r"^the snapshot .* has no id 'song': its entities are 'member', and no feature is called 'song'",
    ):
        named_columns(snapshot, ids=["song"])
    with pytest.raises(InvalidRequest, match="no feature is called 'ages'; did you mean"):
        named_columns(snapshot, bags={"features": ["ages"]})
    with pytest.raises(InvalidRequest, match="is no single number, and so no response"):
        named_columns(snapshot, response="job")


def test_a_snapshot_without_a_response_is_to_be_scored(client: AmbryClient, name: str) -> None:
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    rows: dict[str, Any] = {"member": [1, 2], "age": [3, 4]}
    write_snapshot(client, name, rows, [URNS["age"]], metadata=METADATA, entity="member", as_of=noon)
    with open_snapshot(client, name, metadata=METADATA) as made:
        with pytest.raises(
            InvalidRequest,
            match=r"^the snapshot [^<]* has neither a feature response nor one called label; say .*--response",
        ):
            named_columns(made)
        assert np.isnan(examples_in(made, named_columns(made, labelled=False)).response).all()
