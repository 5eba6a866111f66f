"""The scoring service over HTTP, with models in a store: it follows its alias, shadows, assigns, and refuses in a sentence."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from ambry import AmbryClient, BlobNotFound, InvalidRequest
from ambry.ml import models
from ambry.ml.experiments import Arm, Experiment, ExposureLog, read_exposures
from ambry.ml.serving.app import make_app
from ambry.ml.serving.drift import InputDrift, summary_of
from ambry.ml.serving.inference import InferenceRequest
from ambry.ml.serving.service import ScoringService, agreement
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

    async def get(self, path: str) -> tuple[int, str]:
        async with self._http.get(path) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def served(client: AmbryClient, name: str) -> AsyncIterator[Served]:
    with ScoringService(client, name, function=SCORER, poll_s=0.01) as service:
        async with TestClient(TestServer(make_app(service, name, threads=2, waiting_max=2))) as http:
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
    assert (await served.get(f"/v2/models/{name}/versions/9.0.0"))[0] == 404
    assert (await served.score("other", 1.0))[0] == 404
    assert (await served.score(name, 1.0, path="versions/1.1.0/infer"))[1] == {
        "error": "version 1.1.0 does not serve; 1.0.0 does"
    }


async def test_what_cannot_be_scored_is_told_in_a_sentence(served: Served, name: str) -> None:
    assert await served.score(name, -1.0) == (
        500,
        {"error": "the model could not score this: RuntimeError: it does not like -1"},
    )
    status, told = await served.score(name)
    assert status in (200, 400, 500) and "Traceback" not in str(told)
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
    assert 'ambry_serving_input_shift{column="1"}' in (await served.get("/metrics"))[1]


def test_a_challenger_scores_in_the_shadow(client: AmbryClient, name: str) -> None:
    models.promote(client, f"{name}@1.1.0", "challenger")
    with ScoringService(client, name, function=SCORER, challenger="challenger", poll_s=1) as service:
        for value in (0.0, 5.0):
            scored = service.score(InferenceRequest({"x": np.array([[value]])}))
            assert scored.model.version == "1.0.0"
        service._shadows.submit(lambda: None).result(30)
        page = service.metrics.render([]).decode()
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
        with pytest.raises(InvalidRequest, match=r"function|model"):
            ScoringService(client, name, function=function)
    with pytest.raises(BlobNotFound):
        ScoringService(client, name, alias="nobody")


def test_running_means_are_those_of_numpy() -> None:
    chance = np.random.default_rng(1)
    rows = chance.normal(3, 2, (1_000, 4))
    rows[chance.random(rows.shape) < 0.1] = np.nan
    drift = InputDrift()
    for part in np.array_split(rows, 7):
        drift.take(part)
    found = drift.columns(summary_of(rows))
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
