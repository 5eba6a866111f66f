"""Experiments started, ramped and stopped, by several at the same time, against a frontend."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ambry import AlreadyExists, AmbryClient, BlobNotFound, DataCorrupt, InvalidRequest, UpdateConflict
from ambry.client.refs import VersionRef
from ambry.ml import models
from ambry.ml.experiments import store
from ambry.ml.experiments.document import Arm, Experiment, Holdout, LayerRange
from ambry.ml.experiments.layers import StretchTaken, stretches_of
from ambry.ml.experiments.store import (
    layer_shares,
    list_experiments,
    load_experiment,
    lonely_references,
    ramp_experiment,
    start_experiment,
    stop_experiment,
)

ARMS = (Arm("control", 0.5), Arm("treatment", 0.5))


def experiment(name: str, **fields: Any) -> Experiment:
    return Experiment(**{"name": name, "arms": ARMS, "exposed": 0.1, **fields})


def in_layer(name: str, layer: str, begin: float, end: float, **fields: Any) -> Experiment:
    return experiment(name, layer=LayerRange(layer, begin, end), **fields)


def test_an_experiment_is_started_ramped_and_stopped(client: AmbryClient, name: str) -> None:
    started = start_experiment(client, experiment(name))
    assert (started.version, str(started), started.is_running) == ("1", f"{name}@1", True)
    assert ramp_experiment(client, name, 0.5).version == "2"
    wider = replace(load_experiment(client, name).experiment, exposed=0.7, note="wider")
    assert ramp_experiment(client, name, wider).experiment.note == "wider"
    assert ramp_experiment(client, name, 0.7).version == "3"
    stopped = stop_experiment(client, name)
    assert (stopped.version, stopped.is_running, stop_experiment(client, name)) == ("4", False, stopped)
    assert [load_experiment(client, f"{name}@{number}").experiment.exposed for number in (1, 2, 3, 4)] == [
        0.1,
        0.5,
        0.7,
        0.0,
    ]
    with pytest.raises(InvalidRequest, match="has ended"):
        ramp_experiment(client, name, 0.9)


def test_what_would_move_somebody_back_is_not_stored(client: AmbryClient, name: str) -> None:
    start_experiment(client, experiment(name, exposed=0.5))
    with pytest.raises(InvalidRequest, match=r"not fall to 0\.2"):
        ramp_experiment(client, name, 0.2)
    with pytest.raises(InvalidRequest, match="keeps the arms"):
        ramp_experiment(client, name, experiment(name, arms=(Arm("control", 0.4), Arm("treatment", 0.6)), exposed=0.5))
    assert load_experiment(client, name).version == "1"
    assert ramp_experiment(client, name, 0).is_running is False


def test_an_experiment_is_started_once(client: AmbryClient, name: str) -> None:
    start_experiment(client, experiment(name))
    with pytest.raises(AlreadyExists, match="started before"):
        start_experiment(client, experiment(name, exposed=0.9))
    with pytest.raises(InvalidRequest, match="exposed to nobody"):
        start_experiment(client, experiment(f"{name}-b", exposed=0))
    client.create_dataset(f"{name}-c", "MONOTONIC")
    with pytest.raises(InvalidRequest, match="another dataset"):
        start_experiment(client, experiment(f"{name}-c"))
    with pytest.raises(BlobNotFound):
        load_experiment(client, f"{name}-b")


def test_a_model_that_is_not_there_is_told_before_the_name_is_spent(client: AmbryClient, name: str) -> None:
    """`ranker@2.0.O` was started: nobody could be served, and an experiment of that name could not be started again."""
    models.publish(client, f"{name}-model", {"x.txt": b"1"})
    client.create_dataset(f"{name}-data")
    client.put_version(f"{name}-data", b"rows", "1.0.0")

    def asked(model: str) -> Experiment:
        return in_layer(name, name, 0.0, 1.0, arms=(Arm("a", 0.5, f"{name}-model@1.0.0"), Arm("b", 0.5, model)))

    for model, error, words in (
        (f"{name}-model@1.0.1", BlobNotFound, f"the arm 'b', model '{name}-model@1.0.1': "),
        (f"{name}-model@champion", BlobNotFound, "has no alias 'champion'"),
        (f"{name}-modle@1.0.0", BlobNotFound, f"there is no dataset '{name}-modle'"),
        (f"{name}-data@1.0.0", InvalidRequest, "the arm 'b'"),
        ("@", InvalidRequest, "names no version"),
    ):
        with pytest.raises(error) as caught:
            start_experiment(client, asked(model))
        assert words in str(caught.value)
    with pytest.raises(BlobNotFound):
        client.dataset(name)
    assert stretches_of(client, VersionRef(name, "1"), name) == {}
    started = start_experiment(client, asked(f"{name}-model@1.0.0"))
    with pytest.raises(BlobNotFound, match="the arm 'b'"):
        ramp_experiment(client, name, asked(f"{name}-model@1.0.1"))
    assert load_experiment(client, name) == started


def test_layers_and_holdouts_that_nobody_else_names_are_told(client: AmbryClient, name: str) -> None:
    """One that is misspelt excludes nobody, and nothing said so."""
    first = in_layer(f"{name}-a", f"{name}-feed", 0.0, 0.5, holdout=Holdout(f"{name}-2026", 0.05))
    start_experiment(client, first)
    assert lonely_references(client, first) == []
    same = replace(first, name=f"{name}-b", salt="", layer=LayerRange(f"{name}-feed", 0.5, 1.0))
    assert lonely_references(client, same) == []
    other = in_layer(f"{name}-c", f"{name}-fede", 0.0, 0.5, holdout=Holdout(f"{name}-2062", 0.05))
    layer, holdout = lonely_references(client, other)
    assert f"no other running experiment names the layer '{name}-fede'; did you mean '{name}-feed'?" in layer
    assert f"no other running experiment names the holdout '{name}-2062'; did you mean '{name}-2026'?" in holdout
    wider = replace(first, name=f"{name}-d", salt="", layer=None, holdout=Holdout(f"{name}-2026", 0.1))
    assert lonely_references(client, wider) == [
        f"the holdout '{name}-2026' has the share 0.1 here and 0.05 in {name}-a@1; they are to hold out the same units"
    ]


def test_of_two_who_ramp_at_once_one_is_told(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start_experiment(client, experiment(name))
    put = store._put

    def after_another(*arguments: Any) -> Any:
        monkeypatch.setattr(store, "_put", put)
        ramp_experiment(client, name, 0.8)
        return put(*arguments)

    monkeypatch.setattr(store, "_put", after_another)
    with pytest.raises(UpdateConflict, match="@2 is there, and a version is never written over: somebody else changed"):
        ramp_experiment(client, name, 0.5)
    assert load_experiment(client, name).experiment.exposed == 0.8


def test_of_two_who_start_at_once_one_is_told(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put = store._put

    def after_another(*arguments: Any) -> Any:
        monkeypatch.setattr(store, "_put", put)
        start_experiment(client, experiment(name, exposed=0.2))
        return put(*arguments)

    monkeypatch.setattr(store, "_put", after_another)
    with pytest.raises(AlreadyExists, match=r"@1 is there, .*: somebody else started it in this moment"):
        start_experiment(client, experiment(name, exposed=0.9))
    assert load_experiment(client, name).experiment.exposed == 0.2


def test_a_part_of_a_layer_is_of_one_running_experiment(client: AmbryClient, name: str) -> None:
    first, second, third = (f"{name}-{each}" for each in "abc")
    start_experiment(client, in_layer(first, name, 0.0, 0.5))
    with pytest.raises(UpdateConflict, match=f"{first} has the layer '{name}' from 0 to 0.5.*stop {first}"):
        start_experiment(client, in_layer(second, name, 0.4, 0.8))
    start_experiment(client, in_layer(second, name, 0.5, 0.8))
    start_experiment(client, in_layer(f"{name}-other", f"{name}-other", 0.0, 1.0))
    with pytest.raises(UpdateConflict, match=second):
        ramp_experiment(client, first, in_layer(first, name, 0.0, 0.6))
    stop_experiment(client, second)
    assert ramp_experiment(client, first, in_layer(first, name, 0.0, 0.6)).version == "2"
    with pytest.raises(UpdateConflict, match=first):
        start_experiment(client, in_layer(third, name, 0.5, 1.0))
    assert start_experiment(client, in_layer(third, name, 0.6, 1.0)).is_running


def test_the_layer_of_one_that_ended_is_free_though_nobody_let_it_go(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_experiment(client, in_layer(f"{name}-a", name, 0.0, 1.0))
    with monkeypatch.context() as killed:
        killed.setattr(store, "let_go", lambda *arguments: None)
        stop_experiment(client, f"{name}-a")
    assert start_experiment(client, in_layer(f"{name}-b", name, 0.0, 1.0)).is_running


def test_the_layer_of_one_that_was_killed_as_it_started_is_free_after_a_time(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had no version, so nobody could stop it, and its part of the layer was nobody's for ever."""

    def killed(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(AmbryClient, "put_version", killed)
        with pytest.raises(KeyboardInterrupt):
            start_experiment(client, in_layer(f"{name}-a", name, 0.0, 0.5))
    # A clock of this machine that is ahead frees nothing.
    times: dict[str, Any] = {"now": classmethod(lambda cls, zone=None: real.now(zone) + timedelta(days=8))}
    real = datetime
    monkeypatch.setattr(store, "datetime", type("datetime", (datetime,), times), raising=False)
    with pytest.raises(StretchTaken, match=rf"{name}-a has a part .* and no version.*try again at \d\d:\d\d:\d\d UTC"):
        start_experiment(client, in_layer(f"{name}-b", name, 0.0, 0.5))
    monkeypatch.setattr(store, "STARTING_MAX", timedelta(0))
    assert start_experiment(client, in_layer(f"{name}-b", name, 0.0, 0.5)).is_running
    assert stretches_of(client, VersionRef(name), name) == {f"{name}-b": (0.0, 0.5)}


def test_one_that_starts_after_its_part_was_given_away_ends(
    client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = AmbryClient.put_version

    def slowly(self: AmbryClient, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(AmbryClient, "put_version", put)
        start_experiment(client, in_layer(f"{name}-b", name, 0.0, 0.5))
        return put(self, *arguments, **options)

    monkeypatch.setattr(store, "STARTING_MAX", timedelta(0))
    monkeypatch.setattr(AmbryClient, "put_version", slowly)
    with pytest.raises(StretchTaken, match=f"{name}-a took longer .* has ended again: {name}-b has the layer"):
        start_experiment(client, in_layer(f"{name}-a", name, 0.4, 0.9))
    assert [load_experiment(client, f"{name}-{which}").is_running for which in "ab"] == [False, True]
    assert [str(one) for one, others in layer_shares(client, name)] == [f"{name}-b@1"]


def test_experiments_are_listed(client: AmbryClient, name: str) -> None:
    client.create_dataset(f"{name}-model")
    client.create_dataset(f"{name}-empty", "MONOTONIC", tags={"kind": "experiment"})
    start_experiment(client, experiment(f"{name}-a"))
    start_experiment(client, experiment(f"{name}-b"), f"{name}-d")
    ramp_experiment(client, f"{name}-a", 0.4)
    assert [str(each) for each in list_experiments(client) if name in str(each)] == [
        f"{name}-a@2",
        f"{name}-d@1",
    ]


def test_what_is_no_experiment_is_told(client: AmbryClient, name: str) -> None:
    client.create_dataset(name, "MONOTONIC")
    client.put_version(name, b"weights")
    with pytest.raises(InvalidRequest, match=f"{name}@1: this is no experiment"):
        load_experiment(client, name)
    client.put(b'{"stretches": {}}'.ljust((1 << 20) + 1), name=f"layers/{name}.json")
    with pytest.raises(DataCorrupt, match="says nothing of a layer: it has 1048577 bytes"):
        start_experiment(client, in_layer(f"{name}-b", name, 0.0, 1.0))
    client.put(b"nonsense", name=f"layers/{name}.json", if_absent=False)
    with pytest.raises(DataCorrupt, match="says nothing of a layer"):
        start_experiment(client, in_layer(f"{name}-b", name, 0.0, 1.0))


def test_experiments_that_two_datacenters_gave_one_part_are_told(client: AmbryClient, name: str) -> None:
    """The layer's document of one datacenter was replaced by the other's, as replication does with two of one time."""
    one, other, third = (
        in_layer(f"{name}-{which}", name, *ends)
        for which, ends in zip("abc", ((0, 0.5), (0.4, 0.8), (0.8, 1)), strict=True)
    )
    start_experiment(client, one)
    client.put(b'{"stretches": {}}', name=f"layers/{name}.json")
    for each in (other, third):
        start_experiment(client, each)
    found = [(str(one), list(map(str, others))) for one, others in layer_shares(client, name)]
    assert found == [(f"{name}-a@1", [f"{name}-b@1"]), (f"{name}-b@1", [f"{name}-a@1"]), (f"{name}-c@1", [])]
    with pytest.raises(UpdateConflict, match=f"{name}-b has the layer"):
        ramp_experiment(client, one.name, 0.5)
    stop_experiment(client, one.name)
    assert [others for _, others in layer_shares(client, name)] == [[], []] and layer_shares(client, f"{name}x") == []
