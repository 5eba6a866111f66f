"""What a service keeps of its requests is a table beside those that models are trained on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry import AmbryClient, DataCorrupt, InvalidRequest
from ambry.client.refs import NameRef
from ambry.ml import models
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.health import PromotionHeld, compare, parse_thresholds, promote_checked, summarise
from ambry.ml.line_log import LineLog
from ambry.ml.places import version_of
from ambry.ml.scored import _parsed, scored_folder, scored_place
from ambry.ml.serving.feature_log import FeatureLog
from ambry.ml.serving.inference import InferenceRequest
from ambry.ml.snapshots.writing import write_snapshot
from ambry.ml.tables import open_table

TEXT = """\
age: {valType: DOUBLE}
visits: {valType: INT, default: 0}
shares: {valType: FLOAT, dims: [kinds-1-0]}
city: {valType: STRING}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
AGE, VISITS, SHARES, CITY = (f"urn:li:(n,{name},1,0)" for name in ("age", "visits", "shares", "city"))
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
NEXT = NOON + timedelta(days=1)


def drawn(seed: int, rows: int = 400, *, age: float = 40.0, strange: float = 0.0) -> dict[str, Any]:
    chance = np.random.default_rng(seed)
    shares = chance.dirichlet([1, 1], rows) * (1 - strange)
    return {
        "member": np.arange(rows),
        "age": chance.normal(age, 5, rows),
        "visits": chance.poisson(3, rows),
        "shares": list(np.column_stack([np.full(rows, strange), shares]).astype(np.float32)),
    }


def stored(client: AmbryClient, model: str, at: datetime, found: dict[str, Any], *, matrix: bool = False) -> None:
    """As the log of a service has it, request by request."""
    with LineLog(client, scored_folder(version_of(model.rpartition("@")[0]))) as log:
        for row in range(0, len(found["member"]), 4):
            cut = slice(row, row + 4)
            parts = {
                "visits": found["visits"][cut].tolist(),
                AGE: found["age"][cut].tolist(),
                "shares": [each.tolist() for each in found["shares"][cut]],
            }
            if matrix:
                rows = zip(parts[AGE], parts["visits"], parts["shares"], strict=True)
                parts = {"x": [[age, visits, *shares] for age, visits, shares in rows]}
            log.take({"model": model, "rows": 4, "inputs": parts, "outputs": {"predict": [1, 0, 1, 0]}}, at=at)


@pytest.fixture
def trained(client: AmbryClient, name: str) -> str:
    features = [AGE, VISITS, SHARES]
    publish(client, f"{name}-d", METADATA)
    told: dict[str, Any] = {"metadata": METADATA, "entity": "member", "as_of": NOON}
    write_snapshot(client, f"{name}-s", drawn(1), features, **told)
    models.publish(client, name, {"x": b"1"}, features=features, snapshot=f"{name}-s", definitions=f"{name}-d")
    return name


@pytest.mark.parametrize("matrix", [False, True])
def test_serving_is_compared_with_training_and_day_with_day(client: AmbryClient, trained: str, matrix: bool) -> None:
    """`health compare members fraud.scored` said that it is no snapshot and no file."""
    stored(client, f"{trained}@1.0.0", NOON, drawn(2), matrix=matrix)
    stored(client, f"{trained}@1.0.0", NEXT, drawn(3, age=60, strange=0.5), matrix=matrix)
    training = summarise(open_table(client, f"{trained}-s"))
    monday, tuesday = (summarise(open_table(client, f"{trained}.scored/2026-11-{day}")) for day in (27, 28))
    assert monday.rows == 400 and monday.known >= {AGE, VISITS, SHARES, "output.predict"}
    for now in (tuesday, summarise(open_table(client, f"{trained}.scored@1.0.0/2026-11-28"))):
        for before in (training, monday):
            found = compare(before, now)
            moved = {each.name for each in found.comparisons if each.faults}
            assert {"age", "shares"} <= moved <= {"age", "shares", *(f"shares[{place}]" for place in range(3))}
            shares = next(each for each in found.comparisons if each.urn == SHARES)
            assert shares.reference_out_of_vocabulary_rate == 0
            assert shares.out_of_vocabulary_rate == pytest.approx(1 / 3)
    assert compare(training, monday).healthy
    wide = parse_thresholds(f'[columns."{AGE}"]\nignored = true\n[columns."{SHARES}"]\nignored = true')
    assert compare(training, tuesday, wide).healthy


def test_a_promotion_is_held_back_by_what_was_served(client: AmbryClient, trained: str) -> None:
    stored(client, f"{trained}@1.0.0", NOON, drawn(2))
    stored(client, f"{trained}@1.0.0", NEXT, drawn(3, age=60))
    made = promote_checked(client, f"{trained}@1.0.0", f"{trained}.scored/2026-11-27")
    assert [each.urn for each in made.report.comparisons if not each.is_cell] == [AGE, VISITS, SHARES]
    with pytest.raises(
        PromotionHeld, match=rf"{trained}.scored/2026-11-28 is not {trained}-s@.*: age: its distribution"
    ):
        promote_checked(client, f"{trained}@1.0.0", f"{trained}.scored/2026-11-28")


def test_columns_are_matched_by_their_urns(client: AmbryClient, trained: str) -> None:
    """A snapshot may call them otherwise."""
    stored(client, f"{trained}@1.0.0", NOON, drawn(2))
    rows = drawn(1)
    rows["years"] = rows.pop("age")
    told: dict[str, Any] = {"metadata": METADATA, "entity": "member", "as_of": NOON, "columns": {AGE: "years"}}
    write_snapshot(client, f"{trained}-other", rows, [AGE, VISITS], **told)
    training = summarise(open_table(client, f"{trained}-other"))
    found = compare(training, summarise(open_table(client, f"{trained}.scored")))
    assert [(each.name, each.urn) for each in found.comparisons] == [
        ("years", AGE),
        ("visits", VISITS),
    ] and found.healthy


def test_the_log_of_a_service_is_read(client: AmbryClient, name: str) -> None:
    """Also of a model that says nothing of its inputs, with texts, and numbers that are not finite."""
    models.publish(client, name, {"x": b"1"})
    with FeatureLog(client, name, 1.0) as log:
        request = InferenceRequest(
            {"x": np.array([[1.0, np.nan], [3.0, 4.0]]), "city": np.array(["Graz", "Linz"], object)}
        )
        for _ in range(3):
            log.record(f"{name}@1.0.0", "", request, {"predict": np.array([0, 1]), "p": np.array([[0.25, 0.75]] * 2)})
    table = open_table(client, f"{name}.scored")
    assert table.schema.names == ["x[0]", "x[1]", "city", "output.predict", "output.p[0]", "output.p[1]"]
    [batch] = table.batches
    assert batch.num_rows == 6 and batch.to_pylist()[0] == {
        "x[0]": 1.0,
        "x[1]": None,
        "city": "Graz",
        "output.predict": 0.0,
        "output.p[0]": 0.25,
        "output.p[1]": 0.75,
    }


def test_lines_of_models_with_other_features_are_not_mixed(client: AmbryClient, trained: str) -> None:
    models.publish(client, trained, {"x": b"2"}, features=[AGE], snapshot=f"{trained}-s")
    models.promote(client, f"{trained}@1.1.0")
    stored(client, f"{trained}@1.0.0", NOON, drawn(2))
    with LineLog(client, scored_folder(version_of(trained))) as log:
        told = {"model": f"{trained}@1.1.0", "rows": 1, "inputs": {"age": [7.0]}, "outputs": {"predict": [1]}}
        for _ in range(3):
            log.take(told, at=NEXT)
    with pytest.raises(InvalidRequest, match=rf"say whose are meant, as {trained}.scored@1.[01].0$"):
        summarise(open_table(client, f"{trained}.scored"))
    found = summarise(open_table(client, f"{trained}.scored@champion"))
    assert (found.rows, [each.urn for each in found.columns]) == (3, [AGE, ""])


def test_what_is_not_there_or_is_none_is_told(client: AmbryClient, trained: str) -> None:
    with pytest.raises(InvalidRequest, match=f"there is nothing in {trained}.scored/2026-11-27; `ambry serve"):
        open_table(client, f"{trained}.scored/2026-11-27")
    folder = scored_folder(version_of(trained)).name
    good = {"model": f"{trained}@1.0.0", "inputs": {"x": [[1, 2, 0, 0.5, 0.5]]}, "outputs": {}}
    wide = {**good, "inputs": {"x": [[1, 2]]}}
    texts = {**good, "inputs": {"x": [["a", 2, 0, 0.5, 0.5]]}}
    for number, (bad, words) in enumerate(
        [
            (b"[" * 100_000, "line 2 is nothing that was scored: RecursionError"),
            (json.dumps({**good, "inputs": {"x": 1}}).encode(), "line 2 is nothing that was scored"),
            (json.dumps(wide).encode(), "has rows of 2 cells, and not of 5"),
            (json.dumps(texts).encode(), "age is not double: 'a' is no number"),
        ]
    ):
        client.put(json.dumps(good).encode() + b"\n" + bad + b"\n", name=NameRef(f"{folder}{number}/a.jsonl"))
        with pytest.raises(DataCorrupt, match=words):
            summarise(open_table(client, f"{trained}.scored/{number}"))


def test_places_are_what_they_say() -> None:
    for text in (
        "fraud.scored",
        "fraud.scored/2026-11-27",
        "fraud.scored@1.2.0/2026-11-27",
        "a.scored.scored@champion",
    ):
        assert str(scored_place(text)) == text
    assert str(scored_place("ambry://team/models/fraud.scored/2026")) == "ambry://team/models/fraud.scored/2026"
    for text in ("fraud", "fraud@1.0.0", "fraud.scoreds", ".scored"):
        assert scored_place(text) is None


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(LEAVES, lambda some: st.lists(some) | st.dictionaries(st.text(), some))
LINES = st.dictionaries(st.sampled_from(["model", "inputs", "outputs"]), JSON)


@given(st.binary() | st.builds(lambda said: json.dumps(said).encode(), LINES))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        found = _parsed(line, "x", 1)
    except DataCorrupt as error:
        assert "line 1 is nothing" in error.message
    else:
        assert found.inputs
