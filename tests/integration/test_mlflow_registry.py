"""MLflow's own client and our own on the same models, versions and aliases (`make libraries` installs MLflow)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import models
from tests.support.ports import free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
mlflow: Any = pytest.importorskip("mlflow", reason="MLflow is not installed; `make libraries` does it")
linear_model: Any = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
pytest.importorskip("skops", reason="skops is not installed; `make libraries` does it")

FORMAT: dict[str, Any] = {"serialization_format": "skops", "pip_requirements": ["scikit-learn", "skops"]}
"""Without requirements MLflow asks a process of its own for them, for half a minute."""


@pytest.fixture
def client(dc1: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AmbryClient]:
    """Ours; MLflow's looks at the same container."""
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "")  # Which MLflow writes, and nobody takes back.
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/tracking.sqlite")
    mlflow.set_registry_uri("ambry://default/default")
    try:
        with AmbryClient([dc1]) as made:
            yield made
    finally:
        mlflow.set_registry_uri("")


@pytest.fixture
def name() -> str:
    return f"model-{uuid.uuid4().hex[:8]}"


def train(name: str, slope: int, **tags: str) -> Any:
    """Log a model with its run, and register it; the run."""
    at = f"ambry://default/default/mlflow/{uuid.uuid4().hex}"
    experiment = mlflow.create_experiment(uuid.uuid4().hex, artifact_location=at)
    with mlflow.start_run(experiment_id=experiment, tags=tags) as run:
        mlflow.log_metric("auc", 0.9 + slope / 100)
        mlflow.log_param("slope", slope)
        model = linear_model.LinearRegression().fit([[0], [1], [2]], [0, slope, 2 * slope])
        mlflow.sklearn.log_model(model, name="model", registered_model_name=name, **FORMAT)
    return run


def predicted(uri: str) -> float:
    return round(float(mlflow.pyfunc.load_model(uri).predict([[10]])[0]), 6)


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(mlflow.exceptions.MlflowException) as refused:
        call(*arguments)
    return str(refused.value.error_code)


def test_what_mlflow_registers_and_promotes_is_ours_and_the_other_way_round(
    client: AmbryClient, name: str, tmp_path: Path
) -> None:
    client.create_dataset(f"{name}-data", "TIMESTAMP")
    snapshot = client.put_version(f"{name}-data", b"rows").version
    runs = [train(name, slope, **{"ambry.snapshot": f"{name}-data"}) for slope in (1, 2)]
    theirs = mlflow.MlflowClient()
    # What MLflow registered, as ours.
    assert [entry.version for entry in client.versions(name)] == ["1", "2"]
    ours = models.open(client, f"{name}@2")
    assert (ours.manifest.kind, ours.manifest.metrics) == ("mlflow", {"auc": 0.92})
    assert ours.manifest.snapshot == f"{name}-data@{snapshot}"
    assert ours.manifest.params["mlflow.run_id"] == runs[1].info.run_id
    assert ours.manifest.params["mlflow.params"] == {"slope": "2"}
    assert "registered_model_meta" not in [part.path for part in ours.manifest.parts]
    assert round(float(ours.load().predict([[10]])[0]), 6) == 20
    assert [(each.key, each.value) for each in theirs.get_model_version(name, "2").params] == [("slope", "2")]
    # An alias that MLflow sets, as ours, and back.
    theirs.set_registered_model_alias(name, "champion", "1")
    assert (client.alias(name, "champion").version, predicted(f"models:/{name}@champion")) == ("1", 10)
    models.promote(client, f"{name}@2", who="ann", why="better")
    assert theirs.get_model_version_by_alias(name, "champion").version == "2"
    assert predicted(f"models:/{name}@champion") == 20
    models.roll_back(client, name)
    assert (predicted(f"models:/{name}@champion"), predicted(f"models:/{name}/latest")) == (10, 20)
    assert [move.version for move in client.alias_history(name, "champion")] == ["1", "2", "1"]
    # What we publish, as MLflow's.
    ours.download(tmp_path / "files")
    third = models.publish(client, name, tmp_path / "files", parent=f"{name}@2", metrics={"auc": 0.95})
    seen = theirs.get_model_version(name, "3")
    assert (third.version, seen.version, seen.run_id) == ("3", "3", None)
    assert seen.tags == {
        "ambry.version": "3",
        "ambry.sha256": third.digest,
        "ambry.kind": "mlflow",
        "ambry.parent": f"{name}@2",
    }
    assert (predicted(f"models:/{name}/3"), [each.value for each in seen.metrics]) == (20, [0.95])
    theirs.delete_registered_model_alias(name, "champion")
    assert client.aliases(name) == []


def test_a_model_of_ours_is_loaded_by_its_number(client: AmbryClient, name: str, tmp_path: Path) -> None:
    for slope in (1, 2):
        model = linear_model.LinearRegression().fit([[0], [1], [2]], [0, slope, 2 * slope])
        mlflow.sklearn.save_model(model, tmp_path / str(slope), **FORMAT)
        models.publish(client, name, tmp_path / str(slope))
    found = mlflow.MlflowClient().get_registered_model(name)
    assert [each.version for each in found.latest_versions] == ["1001000"]
    assert [predicted(f"models:/{name}/{which}") for which in ("1000000", "1001000", "1.0.0", "latest")] == [
        10,
        20,
        10,
        20,
    ]
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1000000")
    assert client.alias(name, "champion").version == "1.0.0"
    registered = mlflow.register_model(str(tmp_path / "2"), name)
    assert (registered.version, registered.tags["ambry.version"]) == ("1002000", "1.2.0")


def test_tags_and_descriptions_change_and_versions_do_not(client: AmbryClient, name: str) -> None:
    theirs = mlflow.MlflowClient()
    theirs.create_registered_model(name, tags={"team": "risk"}, description="frauds")
    run = train(name, 1)
    before = models.open(client, f"{name}@1").digest
    theirs.set_registered_model_tag(name, "cost", "5")
    theirs.delete_registered_model_tag(name, "team")
    theirs.update_registered_model(name, "frauds of cards")
    theirs.set_model_version_tag(name, "1", "validated", "größer")
    theirs.update_model_version(name, "1", "the first")
    model, version = theirs.get_registered_model(name), theirs.get_model_version(name, "1")
    assert (model.tags, model.description) == ({"cost": "5"}, "frauds of cards")
    assert (version.tags["validated"], version.description, version.run_id) == ("größer", "the first", run.info.run_id)
    theirs.delete_model_version_tag(name, "1", "validated")
    assert "validated" not in theirs.get_model_version(name, "1").tags
    assert models.open(client, f"{name}@1").digest == before
    assert code_of(theirs.set_model_version_tag, name, "1", "ambry.sha256", "x") == "INVALID_PARAMETER_VALUE"


def test_models_and_versions_are_searched(client: AmbryClient, name: str, tmp_path: Path) -> None:
    client.create_dataset(f"{name}-not-a-model")
    client.put_version(f"{name}-not-a-model", b"rows", "1.0.0")
    for number in range(3):
        models.publish(client, f"{name}-{number}", {"weights.bin": b"%d" % number}, note=f"number {number}")
    theirs = mlflow.MlflowClient()
    mine = f"name LIKE '{name}%'"
    first = theirs.search_registered_models(mine, max_results=2)
    rest = theirs.search_registered_models(mine, max_results=2, page_token=first.token)
    assert [each.name for each in [*first, *rest]] == [f"{name}-{number}" for number in range(3)]
    assert not rest.token
    turned = theirs.search_registered_models(mine, order_by=["name DESC"])
    assert [each.name for each in turned] == [f"{name}-{number}" for number in (2, 1, 0)]
    [found] = theirs.search_model_versions(f"name = '{name}-1'")
    assert (found.version, found.description, found.tags["ambry.kind"]) == ("1000000", "number 1", "files")
    theirs.set_model_version_tag(f"{name}-2", "1000000", "validated", "yes")
    [found] = theirs.search_model_versions("tag.validated = 'yes'")
    assert found.name == f"{name}-2"
    assert theirs.search_model_versions("name = 'none'") == []
    assert code_of(theirs.get_registered_model, f"{name}-not-a-model") == "RESOURCE_DOES_NOT_EXIST"


def test_a_copy_knows_what_it_was_made_of(client: AmbryClient, name: str) -> None:
    train(name, 1)
    copy = mlflow.MlflowClient().copy_model_version(f"models:/{name}/1", f"{name}-prod")
    assert (copy.name, copy.version, copy.tags["ambry.parent"]) == (f"{name}-prod", "1", f"{name}@1")
    assert predicted(f"models:/{name}-prod/1") == 10
    assert [step.version for step in models.lineage(client, f"{name}-prod")] == [f"{name}-prod@1", f"{name}@1"]


def test_what_is_deleted_is_gone_for_both(client: AmbryClient, name: str) -> None:
    theirs = mlflow.MlflowClient()
    for slope in (1, 2):
        train(name, slope)
    theirs.set_registered_model_alias(name, "champion", "1")
    theirs.delete_model_version(name, "1")
    assert [entry.version for entry in client.versions(name)] == ["2"] and client.aliases(name) == []
    theirs.set_registered_model_alias(name, "champion", "2")
    theirs.delete_registered_model(name)
    assert name not in [each.name for each in client.datasets()]
    assert code_of(theirs.get_registered_model, name) == "RESOURCE_DOES_NOT_EXIST"


def test_what_cannot_be_is_told(client: AmbryClient, name: str, tmp_path: Path) -> None:
    theirs = mlflow.MlflowClient()
    theirs.create_registered_model(name)
    calls: list[tuple[Any, tuple[Any, ...], str]] = [
        (theirs.create_registered_model, (name,), "RESOURCE_ALREADY_EXISTS"),
        (theirs.create_registered_model, ("a/b",), "INVALID_PARAMETER_VALUE"),
        (theirs.rename_registered_model, (name, "other"), "INVALID_PARAMETER_VALUE"),
        (theirs.transition_model_version_stage, (name, "1", "Production"), "INVALID_PARAMETER_VALUE"),
        (theirs.get_model_version, (name, "1"), "RESOURCE_DOES_NOT_EXIST"),
        (theirs.get_model_version_by_alias, (name, "champion"), "RESOURCE_DOES_NOT_EXIST"),
        (theirs.set_registered_model_alias, (name, "champion", "1"), "RESOURCE_DOES_NOT_EXIST"),
        (theirs.get_registered_model, ("none",), "RESOURCE_DOES_NOT_EXIST"),
        (mlflow.MlflowClient(registry_uri="ambry://default").get_registered_model, (name,), "INVALID_PARAMETER_VALUE"),
    ]
    for call, arguments, code in calls:
        assert code_of(call, *arguments) == code, (call.__name__, arguments)
    models.publish(client, name, {"weights.bin": b"1"})
    for refused, arguments, instead in (
        (theirs.delete_prompt, (name,), "registry of MLflow's own"),
        (theirs.delete_prompt_version, (name, "1"), "registry of MLflow's own"),
        (theirs.get_prompt, (name,), "registry of MLflow's own"),
        (theirs.register_prompt, (f"{name}-prompt", "Hello {{name}}"), "registry of MLflow's own"),
        (theirs.create_webhook, ("hook", "https://example.org", ["model_version.created"]), "ambry changes --follow"),
        (theirs.delete_webhook, ("1",), "ambry changes --follow"),
    ):
        with pytest.raises(mlflow.exceptions.MlflowException, match=instead):
            refused(*arguments)
    assert (list(theirs.search_prompts()), list(theirs.list_webhooks())) == ([], [])
    assert [entry.version for entry in client.versions(name)] == ["1"], "no call about prompts deletes a model"
    repository = mlflow.store.artifact.artifact_repository_registry.get_artifact_repository(
        theirs.get_model_version_download_uri(name, "1")
    )
    (tmp_path / "x").write_bytes(b"x")
    assert code_of(repository.log_artifact, str(tmp_path / "x")) == "INVALID_PARAMETER_VALUE"
    assert code_of(repository.log_artifacts, str(tmp_path)) == "INVALID_PARAMETER_VALUE"
    assert code_of(repository.delete_artifacts) == "INVALID_PARAMETER_VALUE"


@pytest.fixture
def server(client: AmbryClient, dc1: str, tmp_path: Path) -> Iterator[str]:
    """MLflow's server over SQLite, with our registry and our artifacts; its URL."""
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.sqlite", "--serve-artifacts"]
    command += ["--artifacts-destination", "ambry://default/default/served"]
    command += ["--registry-store-uri", "ambry://default/default"]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ}, stdout=log, stderr=log, start_new_session=True)
        try:
            eventually(lambda: _answers(url), "MLflow's server answers", timeout_s=180)
            mlflow.set_tracking_uri(url)
            mlflow.set_registry_uri(url)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_registry_is_the_same_through_mlflows_server(
    server: str, client: AmbryClient, name: str, tmp_path: Path
) -> None:
    """Registering was answered 500: the server has files at mlflow-artifacts:/, and asked itself for them without a URL."""
    experiment = mlflow.create_experiment(uuid.uuid4().hex)
    for slope in (1, 2):
        with mlflow.start_run(experiment_id=experiment):
            model = linear_model.LinearRegression().fit([[0], [1], [2]], [0, slope, 2 * slope])
            mlflow.sklearn.log_model(model, name="model", registered_model_name=name, **FORMAT)
    theirs = mlflow.MlflowClient()
    theirs.set_registered_model_alias(name, "champion", "1")
    assert (client.alias(name, "champion").version, predicted(f"models:/{name}@champion")) == ("1", 10)
    models.promote(client, f"{name}@2", who="ann", why="better")
    assert predicted(f"models:/{name}@champion") == 20
    first = theirs.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
    rest = theirs.search_model_versions(f"name = '{name}'", page_token=first.token)
    assert [each.version for each in [*first, *rest]] == ["2", "1"]
    found = theirs.search_registered_models(
        f"name = '{name}' AND tags.`mlflow.prompt.is_prompt` != 'true'", order_by=["timestamp DESC"]
    )
    assert [each.name for each in found] == [name]
    prompt = {"mlflow.prompt.is_prompt": "true"}
    assert code_of(theirs.create_registered_model, f"{name}-prompt", prompt) == "INVALID_PARAMETER_VALUE"
    assert code_of(theirs.rename_registered_model, name, "other") == "INVALID_PARAMETER_VALUE"
    theirs.delete_registered_model(name)
    assert name not in [each.name for each in client.datasets()]
    assert b"Traceback" not in (tmp_path / "server.log").read_bytes()
