"""A model with a feature that is not online is refused when it is loaded, wherever it would serve."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import models
from ambry.ml.experiments import Arm, Experiment
from ambry.ml.features.availability import WrongSource
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.places import version_of
from ambry.ml.serving.service import ScoringService
from ambry.ml.snapshots.writing import write_snapshot

TEXT = """\
age: {valType: INT, availability: BOTH, default: -1}
clicks: {valType: LONG, availability: ONLINE, default: 0}
income: {valType: DOUBLE, availability: OFFLINE}
"""
AGE, CLICKS, INCOME = (f"urn:li:(n,{name},1,0)" for name in ("age", "clicks", "income"))
_numbers = count()


def scorer(model: models.StoredModel) -> Any:
    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        raise AssertionError("nobody asks it")

    return predict


SCORER = f"{__name__}:scorer"


def defined(text: str = TEXT) -> FeatureMetadata:
    return FeatureMetadata.of([parse_definitions(text, "n")])


@pytest.fixture
def name(client: AmbryClient) -> str:
    made = f"online-{next(_numbers)}"
    publish(client, f"{made}-definitions", defined())
    models.publish(client, made, {"x": b"1"}, features=[AGE, CLICKS], definitions=f"{made}-definitions")
    models.promote(client, f"{made}@1.0.0")
    return made


def test_it_is_refused_when_it_is_loaded(client: AmbryClient, name: str) -> None:
    models.publish(client, name, {"x": b"2"}, features=[AGE, INCOME], definitions=f"{name}-definitions")
    models.promote(client, f"{name}@1.1.0", "challenger")
    with pytest.raises(WrongSource) as caught:
        ScoringService(client, name, alias="challenger", function=SCORER)
    assert caught.value.message == (
        f"{INCOME} (by {name}-definitions@1.0.0) is OFFLINE, and serving {name}@1.1.0, which takes it, is ONLINE; train a "
        "model without it, or publish definitions in which it is BOTH, and the model with these (its parts are not stored "
        "again)"
    )
    with pytest.raises(WrongSource):
        ScoringService(client, name, challenger="challenger", function=SCORER)
    arms = (Arm("a", 0.5), Arm("b", 0.5, f"{name}@1.1.0"))
    with pytest.raises(WrongSource):
        ScoringService(client, name, experiment=Experiment(name="e", arms=arms), function=SCORER)


def test_a_move_to_it_is_not_followed(client: AmbryClient, name: str) -> None:
    models.publish(client, name, {"x": b"2"}, features=[INCOME], definitions=f"{name}-definitions")
    with ScoringService(client, name, function=SCORER, poll_s=60) as service:
        models.promote(client, f"{name}@1.1.0")
        with pytest.raises(WrongSource):
            service.champion.look()
        assert service.serving()["champion"].version == "1.0.0"
    publish(client, f"{name}-definitions", defined(TEXT.replace("OFFLINE", "BOTH")))
    models.publish(client, name, {"x": b"2"}, features=[INCOME], definitions=f"{name}-definitions")
    models.promote(client, f"{name}@1.2.0")
    with ScoringService(client, name, function=SCORER, poll_s=60) as service:
        assert service.serving()["champion"].version == "1.2.0"


@pytest.mark.parametrize("definitions", ["", "wheel:feed-features==1.0.0"])
def test_a_snapshot_says_it_where_definitions_do_not(client: AmbryClient, name: str, definitions: str) -> None:
    rows = {"member": [1], "age": [2], "income": [0.5]}
    write_snapshot(
        client,
        f"{name}-s",
        rows,
        [AGE, INCOME],
        metadata=defined(),
        entity="member",
        as_of=datetime(2026, 1, 1, tzinfo=UTC),
    )
    said: dict[str, Any] = {"definitions": definitions, "snapshot": f"{name}-s"}
    models.publish(client, f"{name}-m", {"x": b"1"}, features=[INCOME], **said)
    models.publish(client, f"{name}-m", {"x": b"1"}, features=[AGE], **said)
    models.promote(client, f"{name}-m@1.0.0")
    with pytest.raises(WrongSource, match=rf"{name}-s@1767225600000\) is OFFLINE"):
        ScoringService(client, f"{name}-m", function=SCORER)
    models.promote(client, f"{name}-m@1.1.0")
    ScoringService(client, f"{name}-m", function=SCORER).close()


def test_what_nobody_knows_serves_and_is_logged(
    client: AmbryClient, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.delete(version_of(f"{name}-definitions@1.0.0"))
    with caplog.at_level(logging.WARNING, "ambry.ml"):
        ScoringService(client, name, function=SCORER).close()
    [told] = [each for each in caplog.records if each.message == "not known whether its features are online"]
    assert told.__dict__["model"] == f"{name}@1.0.0"
