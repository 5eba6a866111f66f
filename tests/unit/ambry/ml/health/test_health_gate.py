"""A promotion is held back where what is served is not what the model was trained on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.ml import models
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.health.gate import PromotionHeld, check_model, promote_checked
from ambry.ml.health.thresholds import parse_thresholds
from ambry.ml.snapshots.writing import write_snapshot

METADATA = FeatureMetadata.of([parse_definitions("age: {valType: DOUBLE}\npay: {valType: DOUBLE}", "n")])
AGE, PAY = "urn:li:(n,age,1,0)", "urn:li:(n,pay,1,0)"
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def write(client: AmbryClient, name: str, day: int, *, age: float = 40, pay: float = 10) -> str:
    chance = np.random.default_rng(day)
    frame = {"member": np.arange(500), "age": chance.normal(age, 5, 500), "pay": chance.normal(pay, 1, 500)}
    time = NOON + timedelta(days=day)
    return write_snapshot(client, name, frame, [AGE, PAY], metadata=METADATA, entity="member", as_of=time).version


@pytest.fixture
def trained(client: AmbryClient, name: str) -> str:
    """A model of the age alone, 1.0.0, trained on the first snapshot; the second is of the same, the third moved."""
    write(client, f"{name}-members", 0)
    models.publish(client, name, {"x.txt": b"1"}, snapshot=f"{name}-members", features=[AGE])
    write(client, f"{name}-members", 1, pay=20)
    return name


def test_a_healthy_model_is_promoted(client: AmbryClient, trained: str) -> None:
    made = promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", who="ann", why="as planned")
    assert (made.moved.version, made.moved.who) == ("1.0.0", "ann")
    assert made.moved.why == f"as planned; healthy by {made.page.name}"
    assert made.page.name.startswith(f"{trained}.health/")
    assert b"All 1 columns are within" in client.get_bytes(made.page)
    assert [each.name for each in made.report.comparisons] == ["age"]


def test_nothing_is_promoted_that_nobody_chose(client: AmbryClient, trained: str) -> None:
    """Whatever was newest was checked, and served."""
    with pytest.raises(InvalidRequest, match=f"write {trained}@1.2.0, or say newest=True"):
        promote_checked(client, trained, f"{trained}-members")
    assert promote_checked(client, trained, f"{trained}-members", newest=True).moved.version == "1.0.0"


def test_a_model_is_held_back_where_its_features_moved(client: AmbryClient, trained: str) -> None:
    number = write(client, f"{trained}-members", 2, age=50)
    with pytest.raises(PromotionHeld, match=r"held back, .*age: its distribution moved") as held:
        promote_checked(client, f"{trained}@1.0.0", f"{trained}-members")
    assert client.aliases(trained) == []
    assert f"{trained}-members@{number}".encode() in client.get_bytes(held.value.page)
    assert held.value.page.name in str(held.value)
    made = promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", force="the winter is known")
    assert f"forced: the winter is known; {len(made.report.faults)} faults by" in made.moved.why
    wide = parse_thresholds("[columns.age]\ndistance_max = 1\npsi_max = inf")
    assert promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", thresholds=wide).report.healthy


def test_a_model_without_features_is_compared_by_all_columns(client: AmbryClient, trained: str) -> None:
    models.publish(client, trained, {"x.txt": b"2"}, snapshot=f"{trained}-members@{_first(client, trained)}")
    found = check_model(client, trained, f"{trained}-members")
    assert {each.name for each in found.comparisons if each.faults} == {"pay"}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"expected": "9.9.9"}, UpdateConflict, ""),
        ({"why": "x" * 501}, InvalidRequest, "at most 500"),
    ],
)
def test_what_cannot_be_promoted_is_told(
    client: AmbryClient, trained: str, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", **arguments)
    models.publish(client, f"{trained}-b", {"x.txt": b"2"})
    with pytest.raises(InvalidRequest, match="does not say what it was trained on"):
        promote_checked(client, f"{trained}-b@1.0.0", f"{trained}-members")


def _first(client: AmbryClient, trained: str) -> str:
    return min((entry.version for entry in client.versions(f"{trained}-members")), key=int)


@pytest.mark.parametrize(
    ("thresholds", "rows", "words"),
    [
        ("[columns.age]\nignored = true", 500, "there was no column to compare"),
        ("values_min = 0", 0, "has no rows"),
        ("values_min = 0", 1, "1 values beside 500; 2 are the least to compare"),
    ],
)
def test_a_check_of_nothing_holds_back(
    client: AmbryClient, trained: str, thresholds: str, rows: int, words: str
) -> None:
    """No column, or no row: nothing was found, and the alias moved."""
    as_of = NOON + timedelta(days=9)
    frame = {"member": np.arange(rows), "age": np.full(rows, 40.0), "pay": np.full(rows, 10.0)}
    asked: dict[str, Any] = {"metadata": METADATA, "entity": "member", "as_of": as_of, "allow_empty": True}
    write_snapshot(client, f"{trained}-members", frame, [AGE, PAY], **asked)
    with pytest.raises(PromotionHeld, match=words):
        promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", thresholds=parse_thresholds(thresholds))
    assert client.aliases(trained) == []


def test_a_check_that_cannot_be_made_holds_back(client: AmbryClient, trained: str) -> None:
    misspelt = parse_thresholds("[columns.aeg]\ndistance_max = 0.01")
    with pytest.raises(InvalidRequest, match=r"no table has the column 'aeg'.*did you mean 'age'"):
        promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", thresholds=misspelt)
    for gone in ("nowhere", f"{trained}-members@1"):
        with pytest.raises(BlobNotFound):
            promote_checked(client, f"{trained}@1.0.0", gone)
        with pytest.raises(BlobNotFound):
            promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", reference=gone)
    assert client.aliases(trained) == []
    # Those of a column that the model does not take stand in the same file.
    other = parse_thresholds("[columns.pay]\ndistance_max = 0.01")
    assert promote_checked(client, f"{trained}@1.0.0", f"{trained}-members", thresholds=other).report.healthy
