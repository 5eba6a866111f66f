"""Rows of a model out of typed snapshots."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.photon.snapshots import examples_of_snapshot
from ambry.ml.snapshots.reading import Snapshot, open_snapshot
from ambry.ml.snapshots.writing import write_snapshot

TEXT = """\
clicked: {valType: BOOLEAN}
age: {valType: INT}
job: {valType: STRING}
since: {valType: DOUBLE}
actions: {valType: INT, dims: [kinds-1-0]}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
CLICKED, AGE, JOB, SINCE, ACTIONS = (f"urn:li:(n,{name},1,0)" for name in ("clicked", "age", "job", "since", "actions"))
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
ROWS = pd.DataFrame(
    {
        "member": [1, 2, 3],
        "clicked": [True, False, None],
        "age": [31, None, 50],
        "job": ["a", "b", "a"],
        "since": [0.5, 1.5, None],
        "actions": [np.array(row, dtype=np.int32) for row in ([0, 0, 4], [0, 0, 0], [0, 1, 2])],
    }
)


@pytest.fixture
def snapshot(client: AmbryClient, name: str) -> Snapshot:
    write_snapshot(
        client,
        name,
        ROWS,
        [CLICKED, AGE, JOB, SINCE, ACTIONS],
        metadata=METADATA,
        entity="member",
        as_of=NOON,
        rows_per_batch=2,
    )
    return open_snapshot(client, name, metadata=METADATA)


def test_rows_of_a_snapshot_are_rows_of_a_model(snapshot: Snapshot) -> None:
    rows = examples_of_snapshot(snapshot, [AGE, ACTIONS], None, weight=SINCE, ids={"member": None, "job": JOB})
    shard = rows.shard("features")
    assert shard.index.features == (("actions", "Click"), ("actions", "Comment"), ("age", ""))
    assert shard.matrix.toarray().tolist() == [[4, 0, 31], [0, 0, 0], [2, 1, 50]]
    assert np.isnan(rows.response).all()
    assert rows.weight.tolist() == [0.5, 1.5, 1.0]
    assert rows.ids["member"].tolist() == ["1", "2", "3"]
    assert rows.ids["job"].tolist() == ["a", "b", "a"]


def test_shards_are_features_of_their_own(snapshot: Snapshot) -> None:
    found = examples_of_snapshot(snapshot, {"one": [AGE], "two": [JOB]}, None)
    assert found.shard("one").matrix.toarray().tolist() == [[31], [0], [50]]
    assert found.shard("two").index.features == (("job", "a"), ("job", "b"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"response": CLICKED}, "row 2 of .* has no response"),
        ({"response": JOB}, "is no single number"),
        ({"response": ACTIONS}, "is no single number"),
        ({"response": None, "ids": {"x": ACTIONS}}, "is no single value, and so no id 'x'"),
        ({"response": None, "ids": {"x": SINCE}}, "row 2 of .* has no id 'x'"),
    ],
)
def test_what_a_feature_is_not_is_told(snapshot: Snapshot, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        examples_of_snapshot(snapshot, [AGE], **options)
