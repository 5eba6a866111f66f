"""What inputs were in training is written down with a model that says its snapshot and its features."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient
from ambry.ml import models
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.models import inputs as module
from ambry.ml.models.inputs import counted, summary_of
from ambry.ml.snapshots.writing import write_snapshot

TEXT = """\
age: {valType: DOUBLE}
visits: {valType: INT, default: 7}
isMember: {valType: BOOLEAN}
shares: {valType: FLOAT, dims: [kinds-1-0]}
city: {valType: STRING}
seen: {valType: FLOAT, dims: [words-1-0]}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
words: {type: hashed : {buckets: 100000}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
AGE, VISITS, MEMBER, SHARES, CITY, SEEN = (
    f"urn:li:(n,{name},1,0)" for name in ("age", "visits", "isMember", "shares", "city", "seen")
)
ROWS = 300


@pytest.fixture
def trained(client: AmbryClient, name: str) -> str:
    chance = np.random.default_rng(4)
    rows: dict[str, Any] = {
        "member": np.arange(ROWS),
        "age": [None if place % 10 == 0 else float(place) for place in range(ROWS)],
        "visits": [None if place % 3 == 0 else 1 for place in range(ROWS)],
        "isMember": [None if place == 1 else place % 2 == 0 for place in range(ROWS)],
        "shares": [None if place == 0 else chance.dirichlet([1, 1, 2]).astype(np.float32) for place in range(ROWS)],
        "city": ["Graz"] * ROWS,
        "seen": [[("a", 1.0)]] * ROWS,
    }
    publish(client, f"{name}-d", METADATA)
    urns = [AGE, VISITS, MEMBER, SHARES, CITY, SEEN]
    told: dict[str, Any] = {"metadata": METADATA, "entity": "member", "as_of": datetime(2026, 1, 1, tzinfo=UTC)}
    write_snapshot(client, f"{name}-s", rows, urns, rows_per_batch=64, **told)
    return name


def made(client: AmbryClient, name: str, features: list[str], **said: Any) -> Any:
    told: dict[str, Any] = {"snapshot": f"{name}-s", "definitions": f"{name}-d", **said}
    return models.publish(client, name, {"x": b"1"}, features=features, **told).manifest.params.get("inputs")


def test_a_snapshot_says_what_inputs_were(client: AmbryClient, trained: str) -> None:
    """It had to be said by hand: params={"inputs": summary_of(rows)}."""
    found = made(client, trained, [VISITS, SHARES, AGE, MEMBER])
    assert found["rows"] == ROWS and len(found["mean"]) == 6
    # What has no value has the default, as who serves gives it; what has no default is missing.
    assert found["mean"][0] == pytest.approx((100 * 7 + 200) / 300) and found["missing"][0] == 0
    assert found["missing"][4:] == [0.1, pytest.approx(1 / 300, rel=1e-5)]
    assert found["missing"][1:4] == [pytest.approx(1 / 300, rel=1e-5)] * 3
    ages = np.array([place for place in range(ROWS) if place % 10], float)
    assert found["mean"][4] == pytest.approx(ages.mean()) and found["std"][4] == pytest.approx(ages.std(ddof=1))
    assert found["counts"][4] == counted(found["edges"][4], ages).tolist() and sum(found["counts"][4]) == 270
    assert len(found["edges"][4]) == 49 and max(found["counts"][4]) <= 7
    assert (found["edges"][0], found["counts"][0]) == ([1.0, 7.0], [0, 200, 100])
    [unknown] = found["unknown"]
    assert (unknown["feature"], unknown["from"], unknown["to"], unknown["at"]) == (SHARES, 1, 4, [1])
    assert unknown["part"] == pytest.approx(1 / 3)
    assert made(client, trained, [VISITS, SHARES, AGE, MEMBER]) == found


def test_rows_are_taken_at_equal_distances(client: AmbryClient, trained: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 100)
    found = made(client, trained, [AGE])
    assert found["rows"] == 100 and found["mean"] == [pytest.approx(np.mean([x for x in range(0, 300, 3) if x % 10]))]


def test_what_is_said_by_hand_counts_and_what_is_no_number_says_nothing(client: AmbryClient, trained: str) -> None:
    assert made(client, trained, [AGE], params={"inputs": None}) is None
    assert made(client, trained, [AGE], params={"inputs": summary_of([[1.0]])})["mean"] == [1.0]
    assert made(client, trained, [AGE, CITY]) is None
    assert made(client, trained, [AGE, SEEN]) is None
    assert made(client, trained, []) is None
    assert made(client, trained, [AGE], snapshot="") is None
    assert made(client, trained, [AGE], snapshot=f"{trained}@1.0.0") is None
