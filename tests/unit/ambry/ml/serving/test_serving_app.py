"""The scoring service over HTTP, with models in a store: it follows its alias, shadows, assigns, and refuses in a sentence."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from sklearn.linear_model import LogisticRegression

from ambry import AmbryClient, BlobNotFound, InvalidRequest, Unavailable
from ambry.ml import experiments, models
from ambry.ml.experiments import Arm, Experiment, ExposureLog, read_exposures
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.models.inputs import summary_of
from ambry.ml.serving.app import make_app
from ambry.ml.serving.drift import InputDrift
from ambry.ml.serving.feature_log import FeatureLog
from ambry.ml.serving.inference import HEADER_SIZE, InferenceRequest
from ambry.ml.serving.limits import ServingLimits
from ambry.ml.serving.served import FollowedModel, ModelLoader
from ambry.ml.serving.service import Scored, ScoringService, agreement
from ambry.ml.snapshots.writing import write_snapshot
from tests.support.eventually import eventually

_numbers = count()
HOLD = threading.Event()
HELD: list[int] = []


def scorer(model: models.StoredModel) -> Any:
    """What a model of these tests does: its file is a number, by which the sum of a row is multiplied."""
    factor = float(model.path().read_bytes())

    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        [array] = inputs.values()
        if float(array.reshape(-1)[0]) == -1:
            raise RuntimeError("it does not like -1")
        if float(array.reshape(-1)[0]) == -2:
            HELD.append(1)
            HOLD.wait(30)
        with np.errstate(over="ignore"):
            return {"predict": array.reshape(len(array), -1).sum(axis=1) * factor}

    return predict


SCORER = f"{__name__}:scorer"


@pytest.fixture
def name(client: AmbryClient) -> str:
    made = f"served-{next(_numbers)}"
    training = summary_of([[1.0, 2.0], [3.0, 6.0]])
    for factor in (b"1", b"2", b"not a number"):
        models.publish(client, made, {"factor": factor}, params={"inputs": training})
    models.promote(client, f"{made}@1.0.0")
    return made


class Served:
    """A service and its HTTP end."""

    def __init__(self, service: ScoringService, http: TestClient[Any, Any]) -> None:
        self.service = service
        self._http = http

    async def score(self, name: str, *data: float, path: str = "infer", **more: Any) -> tuple[int, dict[str, Any]]:
        inputs = [{"name": "x", "shape": [1, len(data)], "datatype": "FP64", "data": list(data)}]
        async with self._http.post(f"/v2/models/{name}/{path}", json={"inputs": inputs, **more}) as answer:
            return answer.status, await answer.json()

    async def send(self, path: str, data: Any, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        async with self._http.post(path, data=data, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    async def get(self, path: str) -> tuple[int, str]:
        async with self._http.get(path) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def served(client: AmbryClient, name: str) -> AsyncIterator[Served]:
    with ScoringService(client, name, function=SCORER, poll_s=0.01) as service:
        async with TestClient(
            TestServer(make_app(service, name, threads=2, limits=ServingLimits(waiting_max=2)))
        ) as http:
            yield Served(service, http)
            HOLD.set()
    HOLD.clear()
    HELD.clear()


async def test_it_scores_and_follows_the_alias(served: Served, client: AmbryClient, name: str) -> None:
    status, answer = await served.score(name, 1.0, 2.0, id="r1")
    assert (status, answer["model_version"], answer["id"]) == (200, "1.0.0", "r1")
    assert answer["outputs"] == [{"name": "predict", "shape": [1], "datatype": "FP64", "data": [3.0]}]
    models.promote(client, f"{name}@1.1.0")
    assert served.service.champion.wait("1.1.0", 30)
    status, answer = await served.score(name, 1.0, 2.0)
    assert (answer["model_version"], answer["outputs"][0]["data"]) == ("1.1.0", [6.0])
    models.promote(client, f"{name}@1.2.0")
    await eventually(lambda: served.service.champion.error is not None)
    assert (await served.score(name, 1.0, 2.0))[1]["model_version"] == "1.1.0"
    shown = json.loads((await served.get(f"/v2/models/{name}"))[1])
    assert shown["versions"] == ["1.1.0"] and shown["parameters"]["error"]


async def test_health_and_what_the_model_is(served: Served, name: str) -> None:
    for path in (
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        f"/v2/models/{name}/ready",
        f"/v2/models/{name}/versions/1.0.0",
    ):
        assert (await served.get(path))[0] == 200
    for path in (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/1.0.0/infer"):
        assert await served.get(path) == (405, '{"error": "requests to score are sent by POST"}')
    assert (await served.get(f"/v2/models/{name}/versions/9.0.0"))[0] == 404
    assert (await served.score("other", 1.0))[0] == 404
    assert (await served.score(name, 1.0, path="versions/1.1.0/infer"))[1] == {
        "error": "version '1.1.0' does not serve; 1.0.0 does"
    }
    for path in (f"{name}/versions/1%0d%0aX-Sent:%20by-a-stranger", "other%0d%0a", "%00%ff"):
        assert (await served.send(f"/v2/models/{path}/infer", b"{}"))[0] == 404
        assert (await served.get(f"/v2/models/{path}/ready"))[0] == (await served.get(f"/v2/models/{path}"))[0] == 404


async def test_what_cannot_be_scored_is_told_in_a_sentence(served: Served, name: str) -> None:
    assert await served.score(name, -1.0) == (
        500,
        {"error": "the model could not score this: RuntimeError: it does not like -1"},
    )
    status, told = await served.score(name)
    assert status == 400 and "whole numbers above 0" in told["error"]
    assert (await served.score(name, 1.0, parameters=5))[0] == 400
    assert 'ambry_serving_failures_total{model="' in (await served.get("/metrics"))[1]


async def test_more_than_it_can_take_is_told_to_come_back(served: Served, name: str) -> None:
    held = [asyncio.ensure_future(served.score(name, -2.0)) for _ in range(2)]
    await eventually(lambda: len(HELD) == 2)
    status, told = await served.score(name, 1.0)
    assert status == 503 and "come back" in told["error"]
    HOLD.set()
    assert [status for status, _ in await asyncio.gather(*held)] == [200, 200]


async def test_drift_is_told_beside_training(served: Served, name: str) -> None:
    for _ in range(3):
        await served.score(name, 2.0, 40.0)
    columns = json.loads((await served.get("/drift"))[1])["columns"]
    assert [column["rows"] for column in columns] == [3, 3]
    assert columns[0]["shift"] == 0 and columns[1]["shift"] > 10
    assert f'ambry_serving_input_shift{{column="1",model="{name}@1.0.0"}}' in (await served.get("/metrics"))[1]


async def test_drift_is_known_by_the_snapshot_of_the_model(client: AmbryClient, name: str) -> None:
    """The summary of training had to be passed by hand, and told of means alone."""
    text = 'a: {valType: DOUBLE}\ns: {valType: FLOAT, dims: [k-1-0]}\nk: {type: categorical : {idMappingFile: "k.csv"}}'
    metadata = FeatureMetadata.of([parse_definitions(f"{text}\n// (k.csv)\n0, OUT_OF_VOCAB\n1, x\n", "n")])
    urns = ["urn:li:(n,a,1,0)", "urn:li:(n,s,1,0)"]
    chance = np.random.default_rng(2)
    rows = {"member": range(500), "a": chance.normal(0, 1, 500), "s": [np.array([0, 1], "f4")] * 500}
    when = datetime(2026, 1, 1, tzinfo=UTC)
    write_snapshot(client, f"{name}-s", rows, urns, metadata=metadata, entity="member", as_of=when)
    models.publish(client, f"{name}-m", {"factor": b"1"}, features=urns, snapshot=f"{name}-s")
    models.promote(client, f"{name}-m@1.0.0")
    with ScoringService(client, f"{name}-m", function=SCORER, poll_s=60) as service:
        async with TestClient(TestServer(make_app(service, f"{name}-m", threads=1))) as http:
            for value in chance.normal(0, 4, 500):
                service.record(
                    InferenceRequest({"a": np.array([value]), "s": np.array([[1.0, 1.0]])}), asked_scored(service)
                )
            told = await (await http.get("/drift")).json()
            page = await (await http.get("/metrics")).text()
    assert told["training"] is True and told["skipped"] == 0
    first = told["columns"][0]
    assert first["rows"] == 500 and first["shift"] < 0.5 and first["psi"] > 1 and 0.2 < first["distance"] < 0.5
    assert first["p"] < 1e-6 and first["training_missing"] == 0
    assert told["vocabularies"] == [{"feature": urns[1], "unknown": 0.5, "training_unknown": 0.0}]
    place = f'model="{name}-m@1.0.0"'
    for line in (f'input_psi{{column="0",{place}}}', f'input_distance{{column="0",{place}}}'):
        assert f"ambry_serving_{line}" in page
    assert f'ambry_serving_input_unknown{{column="{urns[1]}",{place}}} 0.5' in page


def asked_scored(service: ScoringService) -> Scored:
    return Scored({"predict": np.zeros(1)}, service.champion.served)


def test_a_challenger_scores_in_the_shadow(client: AmbryClient, name: str) -> None:
    models.promote(client, f"{name}@1.1.0", "challenger")
    with ScoringService(client, name, function=SCORER, challenger="challenger", poll_s=1) as service:
        for value in (0.0, 5.0):
            scored = service.score(InferenceRequest({"x": np.array([[value]])}))
            assert scored.model.version == "1.0.0"
        service._shadows.submit(lambda: None).result(30)
        page = service.render_metrics().decode()
    assert f'ambry_serving_shadowed_total{{model="{name}@1.1.0"}} 2.0' in page
    assert f'ambry_serving_shadow_agreement{{model="{name}@1.1.0"}} 0.0' in page


def test_an_experiment_assigns_who_says_a_unit(client: AmbryClient, name: str) -> None:
    experiment = Experiment(
        name="ranker", arms=(Arm("control", 0.5, f"{name}@1.0.0"), Arm("treatment", 0.5, f"{name}@1.1.0"))
    )
    with ScoringService(
        client, name, function=SCORER, experiment=experiment, exposures=ExposureLog(client, f"{name}-exp"), poll_s=1
    ) as service:
        for unit in range(20):
            scored = service.score(
                InferenceRequest({"x": np.array([[1.0]])}, "", {"unit": unit, "attributes": {"c": "de"}})
            )
            arm = experiment.arm_of(unit)
            assert arm is not None and (scored.arm, str(scored.model)) == (arm.name, arm.model)
        assert service.score(InferenceRequest({"x": np.array([[1.0]])})).arm == ""
        with pytest.raises(InvalidRequest, match="no unit"):
            service.score(InferenceRequest({"x": np.array([[1.0]])}, "", {"unit": 1.5}))
    exposed = {each.unit: each.arm for each in read_exposures(client, f"{name}-exp")}
    assert exposed == {unit: experiment.arm_of(unit).name for unit in range(20)}  # type: ignore[union-attr]


def test_a_model_that_cannot_score_is_told(client: AmbryClient, name: str) -> None:
    with pytest.raises(InvalidRequest, match="module:name"):
        ScoringService(client, name)
    for function in ("nobody.knows:this", "os:system", "json:dumps", "os:sep"):
        with pytest.raises(InvalidRequest, match=r"function|model|could not make a scorer"):
            ScoringService(client, name, function=function)
    with pytest.raises(InvalidRequest, match=rf"no module 'nobody' is in .*{re.escape(sys.path[0])}.*PYTHONPATH"):
        ScoringService(client, name, function="nobody.knows:this")
    with pytest.raises(InvalidRequest, match=rf"'json:nothing': {re.escape(str(json.__file__))} has none"):
        ScoringService(client, name, function="json:nothing")
    with pytest.raises(BlobNotFound):
        ScoringService(client, name, alias="nobody")


def test_running_means_are_those_of_numpy() -> None:
    chance = np.random.default_rng(1)
    rows = chance.normal(3, 2, (1_000, 4))
    rows[chance.random(rows.shape) < 0.1] = np.nan
    drift = InputDrift(summary_of(rows))
    for part in np.array_split(rows, 7):
        drift.take(part)
    found = drift.columns()
    assert np.allclose([each.mean for each in found], np.nanmean(rows, axis=0))
    assert np.allclose([each.std for each in found], np.nanstd(rows, axis=0, ddof=1))
    assert [each.missing for each in found] == np.isnan(rows).sum(axis=0).tolist()
    assert all(each.shift is not None and each.shift < 1e-9 for each in found)


@pytest.mark.parametrize(
    ("one", "other", "part"),
    [
        ({"y": [1, 2]}, {"y": [1, 2]}, 1.0),
        ({"y": [1, 2]}, {"y": [1, 3]}, 0.5),
        ({"y": [1.0]}, {"y": [1.0001]}, 1.0),
        ({"y": [1.0]}, {"z": [1.0]}, 0.0),
        ({"y": [[1, 2], [3, 4]]}, {"y": [[1, 2], [3, 5]]}, 0.5),
        ({"y": []}, {"y": []}, 1.0),
    ],
)
def test_how_much_two_models_agree(one: dict[str, Any], other: dict[str, Any], part: float) -> None:
    arrays = [{name: np.array(values) for name, values in each.items()} for each in (one, other)]
    assert agreement(*arrays) == part


async def test_binary_tensors_go_there_and_back(served: Served, name: str) -> None:
    raw = np.array([[1.0, 2.0], [3.0, 4.0]]).tobytes()
    told = {"name": "x", "shape": [2, 2], "datatype": "FP64", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [told], "parameters": {"binary_data_output": True}}).encode()
    path = f"/v2/models/{name}/infer"
    status, answer, headers = await served.send(path, head + raw, **{HEADER_SIZE: str(len(head))})
    assert status == 200 and np.frombuffer(answer[int(headers[HEADER_SIZE]) :]).tolist() == [3.0, 7.0]
    assert "binary_tensor_data" in (await served.get("/v2"))[1]
    for wrong in ("-1", "9" * 13, str(len(head) + 17), str(len(head) - 1)):
        assert (await served.send(path, head + raw, **{HEADER_SIZE: wrong}))[0] == 400


async def idle_bodies(http: TestClient[Any, Any], name: str) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    idle = [await asyncio.open_connection("127.0.0.1", http.port) for _ in range(4)]
    for _, writer in idle:
        writer.write(f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n[".encode())
    return idle


async def test_idle_bodies_take_no_places(client: AmbryClient, name: str) -> None:
    """64 connections that sent no body were 64 requests that waited, and everybody else was told 503."""
    with ScoringService(client, name, function=SCORER, poll_s=9) as service:
        app = make_app(service, name, threads=1, limits=ServingLimits(waiting_max=1, body_s=600))
        async with TestClient(TestServer(app)) as http:
            idle = await idle_bodies(http, name)
            await eventually(lambda: service.metrics.registry.get_sample_value("ambry_serving_held_bytes") == 4)
            assert (await Served(service, http).score(name, 1.0, 2.0))[0] == 200
            for _, writer in idle:
                writer.close()
            await eventually(lambda: service.metrics.registry.get_sample_value("ambry_serving_held_bytes") == 0)


async def test_idle_bodies_end(client: AmbryClient, name: str) -> None:
    with ScoringService(client, name, function=SCORER, poll_s=9) as service:
        app = make_app(service, name, threads=1, limits=ServingLimits(body_s=0.05))
        async with TestClient(TestServer(app)) as http:
            for reader, writer in await idle_bodies(http, name):
                assert (await reader.readline()).startswith(b"HTTP/1.1 408")
                writer.close()
        page = service.render_metrics().decode()
    assert 'ambry_serving_requests_total{code="408"} 4.0' in page and "ambry_serving_held_bytes 0.0" in page


async def test_bytes_in_flight_are_bounded_and_the_small_have_a_reserve(client: AmbryClient, name: str) -> None:
    limits = ServingLimits(body_size_max=150_000, held_size_max=200_000, body_s=600)
    with ScoringService(client, name, function=SCORER, poll_s=9) as service:
        async with TestClient(TestServer(make_app(service, name, threads=1, limits=limits))) as http:
            path = f"/v2/models/{name}/infer"
            _, writer = await asyncio.open_connection("127.0.0.1", http.port)
            writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 150000\r\n\r\n".encode() + b" " * 125_000)
            await eventually(lambda: service.metrics.registry.get_sample_value("ambry_serving_held_bytes") == 125_000)
            one = Served(service, http)
            status, told, headers = await one.send(path, b" " * 70_000)
            assert status == 503 and b"held" in told and headers["Retry-After"] == "1"
            assert (await one.send(path, b" " * 55_000))[0] == 400, "a small one has room, and is no JSON"
            assert (await one.send(path, b" " * 200_000))[0] == 413
            assert (await one.score(name, 1.0, 2.0))[0] == 200
            writer.close()
            await eventually(lambda: service.metrics.registry.get_sample_value("ambry_serving_held_bytes") == 0)


async def test_who_is_being_ended_is_not_ready_and_still_scores(client: AmbryClient, name: str) -> None:
    ending = asyncio.Event()
    with ScoringService(client, name, function=SCORER, poll_s=9) as service:
        app = make_app(service, name, threads=1, ending=ending)
        async with TestClient(TestServer(app)) as http:
            one = Served(service, http)
            assert (await one.get("/v2/health/ready"))[0] == 200
            ending.set()
            assert (await one.get("/v2/health/ready"))[0] == 503
            assert (await one.get("/v2/health/live"))[0] == 200
            assert (await one.score(name, 1.0, 2.0))[0] == 200


async def test_an_answer_that_json_does_not_have_is_the_models_fault(served: Served, name: str) -> None:
    """It was a 400, and its rows were counted."""
    status, told = await served.score(name, 1e308, 1e308)
    assert status == 500 and "not finite" in told["error"]
    page = (await served.get("/metrics"))[1]
    assert f'ambry_serving_failures_total{{model="{name}@1.0.0"}} 1.0' in page
    assert f'ambry_serving_rows_total{{model="{name}@1.0.0"}}' not in page


def asked(unit: Any = None, *values: float) -> InferenceRequest:
    return InferenceRequest({"x": np.array([values or (1.0, 1.0)])}, "", {} if unit is None else {"unit": unit})


def arms(*models_: str, **more: Any) -> Experiment:
    share = 1 / len(models_)
    return Experiment(name="ranker", arms=tuple(Arm(f"a{at}", share, each) for at, each in enumerate(models_)), **more)


def test_arms_ask_the_store_for_nothing(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request was a HEAD, and all units were refused while the store was away."""
    models.promote(client, f"{name}@1.1.0", "blue")
    experiment = arms(f"{name}@1.0.0", f"{name}@blue")
    with ScoringService(client, name, function=SCORER, experiment=experiment, poll_s=60) as service:

        def away(*_: Any, **__: Any) -> Any:
            raise Unavailable("nobody is there")

        for call in ("head", "get", "cached_path"):
            monkeypatch.setattr(AmbryClient, call, away)
        seen = {str(service.score(asked(unit)).model) for unit in range(20)}
        monkeypatch.undo()
        models.promote(client, f"{name}@1.0.0", "blue")
        blue = service._plan.slots[f"{name}@blue"]
        assert isinstance(blue, FollowedModel)
        blue.look()
        assert {str(service.score(asked(unit)).model) for unit in range(20)} == {f"{name}@1.0.0"}
    assert seen == {f"{name}@1.0.0", f"{name}@1.1.0"}


def test_a_model_is_loaded_once_whoever_serves_it(client: AmbryClient, name: str) -> None:
    """Champion, challenger and arms each; more than 8 of them pushed each other out, and were loaded within requests."""
    for alias in ("challenger", "blue", "green"):
        models.promote(client, f"{name}@1.0.0", alias)
    experiment = arms(f"{name}@1.0.0", f"{name}@blue", f"{name}@green")
    with ScoringService(
        client, name, function=SCORER, challenger="challenger", experiment=experiment, poll_s=0.01
    ) as service:
        loads = [("ambry_serving_loads_total", f"{name}@{version}") for version in ("1.0.0", "1.1.0")]
        found = [lambda at=at: service.metrics.registry.get_sample_value(at[0], {"model": at[1]}) for at in loads]
        assert found[0]() == 1
        for alias in ("champion", "challenger", "blue", "green"):
            models.promote(client, f"{name}@1.1.0", alias)
        deadline = threading.Event()
        for _ in range(3_000):
            if {slot.served.name for slot in service._roles().values()} == {f"{name}@1.0.0", f"{name}@1.1.0"} and (
                service.champion.served.name == f"{name}@1.1.0"
            ):
                break
            deadline.wait(0.01)
        assert found[1]() == 1


def test_a_loader_keeps_nothing_of_models_that_are_gone(client: AmbryClient, name: str) -> None:
    """It kept a lock for each version that it ever loaded."""
    loader = ModelLoader(trust=False, function=SCORER, loaded=lambda _: None)
    for version in ("1.0.0", "1.1.0"):
        loader.get(models.open(client, f"{name}@{version}"))
    assert (len(loader._turns), len(loader._served)) == (0, 0)


def test_a_broken_model_is_tried_less_and_less(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was loaded at each look, 20 times a second."""
    tries: list[str] = []

    def prepare(model: models.StoredModel) -> None:
        tries.append(model.version)
        if model.version == "1.2.0":
            raise KeyError("weights")

    with models.ModelWatch(client, name, prepare=prepare, poll_s=60) as watch:
        models.promote(client, f"{name}@1.2.0")
        for _ in range(5):
            with pytest.raises(KeyError):
                watch.look()
        assert tries == ["1.0.0", "1.2.0"]
        models.promote(client, f"{name}@1.1.0")
        assert watch.look().version == "1.1.0"


def test_a_ramp_and_an_end_reach_a_service_that_runs(client: AmbryClient, name: str) -> None:
    """The document was read once: ending a harmful arm changed nothing until a restart."""
    experiments.start(client, arms(f"{name}@1.0.0", f"{name}@1.1.0", exposed=0.01), f"{name}-x")
    with ScoringService(client, name, function=SCORER, experiment=f"{name}-x", poll_s=60) as service:
        watch = service._experiment
        assert watch is not None
        units = [unit for unit in range(50) if not service.score(asked(unit)).arm]
        experiments.ramp(client, f"{name}-x", 1.0)
        watch.look()
        assert all(service.score(asked(unit)).arm for unit in units)
        experiments.ramp(client, f"{name}-x", arms(f"{name}@1.0.0", f"{name}@1.2.0"))
        with pytest.raises(InvalidRequest, match="could not make a scorer"):
            watch.look()
        assert {str(service.score(asked(unit)).model) for unit in units} == {f"{name}@1.0.0", f"{name}@1.1.0"}
        experiments.stop(client, f"{name}-x")
        watch.look()
        assert not any(service.score(asked(unit)).arm for unit in units)
        assert service.experiment is not None and service.experiment.exposed == 0
    with ScoringService(client, name, function=SCORER, experiment=f"{name}-x@2", poll_s=60) as service:
        assert all(service.score(asked(unit)).arm for unit in units)


def test_what_decided_is_told_to_the_byte_and_its_inputs_are_watched(client: AmbryClient, name: str) -> None:
    """Exposures named the arm alone, which may be an alias; models of arms had no drift that anybody could see."""
    models.promote(client, f"{name}@1.1.0", "blue")
    with ScoringService(
        client,
        name,
        function=SCORER,
        experiment=arms(f"{name}@1.0.0", f"{name}@blue"),
        exposures=ExposureLog(client, f"{name}-x"),
        poll_s=60,
    ) as service:
        said = {unit: service.score(asked(unit, 3.0, 3.0)).model for unit in range(8)}
        page = service.render_metrics().decode()
    assert {str(model) for model in said.values()} == {f"{name}@1.0.0", f"{name}@1.1.0"}
    seen = {each.unit: (each.model, each.sha256) for each in read_exposures(client, f"{name}-x")}
    assert seen == {unit: (str(model), model.digest) for unit, model in said.items()}
    for version in ("1.0.0", "1.1.0"):
        assert f'input_mean{{column="0",model="{name}@{version}"}} 3.0' in page


def test_no_thread_stays_where_an_arm_cannot_be_opened(client: AmbryClient, name: str) -> None:
    """Those of the challenger and of the shadow did."""
    models.promote(client, f"{name}@1.1.0", "challenger")
    before = set(threading.enumerate())
    with pytest.raises(BlobNotFound):
        ScoringService(client, name, function=SCORER, challenger="nobody", poll_s=60)
    with pytest.raises(BlobNotFound):
        ScoringService(
            client,
            name,
            function=SCORER,
            challenger="challenger",
            experiment=arms(f"{name}@challenger", f"{name}@9.0.0"),
            exposures=ExposureLog(client, "none", every_s=60),
            poll_s=60,
        )
    assert not [thread.name for thread in set(threading.enumerate()) - before if "ambry-" in thread.name]


def test_drift_survives_what_one_request_says(client: AmbryClient) -> None:
    """One value near 1e308 made the mean infinite for ever, and one request of another width emptied all counts."""
    for training in (None, {"mean": [1.0, 2.0], "std": [1.0, 0.0]}):
        drift = InputDrift(training)
        for rows in ([[1.0, 2.0]] * 3, [[1.7e308, -1e200]], [[np.inf, np.nan]], [[1.0]], [[1.0, 2.0, 3.0]]):
            drift.take(np.array(rows))
        first, second = drift.columns()
        assert (first.rows, first.missing, first.mean, first.std, second.mean) == (3, 2, 1.0, 0.0, 2.0)
        assert drift.strange == 2
    known = InputDrift({"mean": [0.0], "std": [1.0]})
    known.take(np.array([[1e90], [0.0]]))
    assert known.columns()[0].mean == 500.0
    for bad in ([None, "x"], [1.0], [-1.0, 1.0], [float("nan"), 1.0], "x"):
        assert not InputDrift({"mean": [1.0, 1.0], "std": bad}).knows_training
    told = summary_of([[1.0, np.nan]])
    assert (told["mean"], told["std"], told["missing"]) == ([1.0, 0.0], [0.0, 0.0], [0.0, 1.0])


async def test_gauges_of_an_earlier_model_go(served: Served, client: AmbryClient, name: str) -> None:
    await served.score(name, 2.0, 40.0)
    assert f'input_mean{{column="0",model="{name}@1.0.0"}}' in (await served.get("/metrics"))[1]
    models.promote(client, f"{name}@1.1.0")
    assert served.service.champion.wait("1.1.0", 30)
    page = (await served.get("/metrics"))[1]
    assert "input_mean{" not in page and f'ambry_serving_model{{model="{name}@1.1.0",role="champion"}} 1.0' in page


def test_a_part_of_what_was_scored_is_kept(client: AmbryClient, name: str) -> None:
    log = FeatureLog(client, name, 1.0, ttl_s=3_600)
    with ScoringService(
        client, name, function=SCORER, features=log, experiment=arms(f"{name}@1.1.0"), poll_s=60
    ) as one:
        one.score(asked(7, 1.0, np.nan))
        one.score(asked(None, *[0.0] * 20_000))
        one.score(InferenceRequest({"x": np.ones((4_000, 3))}))
    [entry] = client.list(f"{name}.scored/").all()
    with client.get(entry.ref) as reader:
        first, second, third = map(json.loads, reader.read().splitlines())
    assert first.pop("at") and first == {
        "model": f"{name}@1.1.0",
        "arm": "a0",
        "unit": 7,
        "rows": 1,
        "inputs": {"x": [[1.0, None]]},
        "outputs": {"predict": [None]},
    }
    assert (second["rows"], second["inputs"]) == (1, {"x": []})
    assert (third["rows"], len(third["inputs"]["x"]), len(third["outputs"]["predict"])) == (4_000, 2_500, 2_500)


def test_estimators_take_features_by_name_and_say_what_is_wrong(client: AmbryClient, name: str) -> None:
    """[a, b] and [b, a] with the same names and values had different answers, and NaN was a 500."""
    rows = np.array([[0.0, 9.0], [1.0, 8.0], [5.0, 1.0], [6.0, 0.0]])
    fitted = LogisticRegression().fit(rows, [0, 0, 1, 1])
    models.publish(client, f"{name}-e", fitted, features=["urn:li:(n,a,1,0)", "urn:li:(n,b,1,0)"])
    models.promote(client, f"{name}-e@1.0.0")
    with ScoringService(client, f"{name}-e", poll_s=60) as service:
        a, b = np.array([6.0]), np.array([0.0])
        for inputs in ({"a": a, "b": b}, {"b": b, "a": a}, {"rows": np.array([[6.0, 0.0]])}):
            assert service.score(InferenceRequest(inputs)).outputs["predict"].tolist() == [1]
        for wrong in ({"a": a}, {"a": a, "c": b}, {"x": np.ones((1, 3))}, {"x": np.array([[np.nan, 1.0]])}):
            with pytest.raises(InvalidRequest, match="the model"):
                service.score(InferenceRequest(wrong))
        assert [each.mean for each in service.champion.served.drift.columns()] == [6.0, 0.0]
        page = service.render_metrics().decode()
        assert f'input_mean{{column="urn:li:(n,a,1,0)",model="{name}-e@1.0.0"}} 6.0' in page


async def test_metadata_say_what_the_model_takes_and_gives(client: AmbryClient, name: str) -> None:
    """`inputs` and `outputs` were empty: clients of the protocol that ask for them could not make a request."""
    rows = np.array([[0.0, 9.0], [1.0, 8.0], [5.0, 1.0], [6.0, 0.0]])
    fitted = LogisticRegression().fit(rows, [0, 0, 1, 1])
    models.publish(client, f"{name}-m", fitted, features=["urn:li:(n,a,1,0)", "urn:li:(n,b,1,0)"])
    models.promote(client, f"{name}-m@1.0.0")
    with ScoringService(client, f"{name}-m", poll_s=60) as service:
        async with TestClient(TestServer(make_app(service, name, threads=1))) as http:
            for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/1.0.0"):
                async with http.get(path) as answer:
                    told = await answer.json()
            asked = {
                "inputs": [{**each, "shape": [2], "data": [6.0, 0.0]} for each in told["inputs"]],
                "outputs": [{"name": each["name"]} for each in told["outputs"]],
            }
            async with http.post(f"/v2/models/{name}/infer", json=asked) as answer:
                scored = (await answer.json())["outputs"]
            async with http.get("/drift") as answer:
                drift = (await answer.json())["columns"]
    assert told["inputs"] == [
        {"name": "urn:li:(n,a,1,0)", "datatype": "FP64", "shape": [-1]},
        {"name": "urn:li:(n,b,1,0)", "datatype": "FP64", "shape": [-1]},
    ]
    assert told["outputs"] == [
        {"name": "predict", "datatype": "INT64", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
    ]
    assert [(each["name"], each["datatype"]) for each in scored] == [("predict", "INT64"), ("predict_proba", "FP64")]
    assert [column["name"] for column in drift] == ["urn:li:(n,a,1,0)", "urn:li:(n,b,1,0)"]
