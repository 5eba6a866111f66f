"""MLflow's server over PostgreSQL, with our registry and our artifacts: two clients, one truth, also after both were killed.

Runs, parameters and metrics are rows of PostgreSQL; files, versions and aliases are ours, and rows of nobody's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import models
from deploy.engines.jars import EngineError
from deploy.engines.postgres import INSTALLED, LocalPostgres, binaries_of
from deploy.run_directory import run_directory
from tests.support.clusters import shared_cluster
from tests.support.content import content
from tests.support.ports import free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine
mlflow: Any = pytest.importorskip("mlflow", reason="mlflow is not installed; `make engines` does it")
pytest.importorskip("flask", reason="flask is not installed; `make engines` does it")
psycopg: Any = pytest.importorskip("psycopg", reason="psycopg is not installed; `make engines` does it")
linear_model: Any = pytest.importorskip(
    "sklearn.linear_model", reason="sklearn is not installed; `make engines` does it"
)
pytest.importorskip("skops", reason="skops is not installed; `make engines` does it")

LARGE = content(11, 20 << 20)
SLOPES = (1, 2)


@pytest.fixture(scope="module")
def keyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A cluster that asks for keys: a frontend's URL, and the file of the administrator's key."""
    with shared_cluster(request, tmp_path_factory, datacenters=1, nodes=1, partitions=1, auth=True) as cluster:
        yield cluster.frontends()[0].url, cluster.directory / "admin.key"


@pytest.fixture
def place() -> Iterator[Path]:
    """Of the database: its user enters no directory of pytest's."""
    try:
        binaries_of(INSTALLED)
    except EngineError as lacking:
        pytest.skip(str(lacking))
    with run_directory("engine") as made:
        made.chmod(0o755)
        yield made


@contextmanager
def served(place: Path, keyed: tuple[str, Path], port: int) -> Iterator[str]:
    """PostgreSQL and MLflow's server, which alone has the key of the store, killed at the end; the URL of the database."""
    url, key = keyed
    with LocalPostgres(place) as database:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", database.url.replace("postgresql:", "postgresql+psycopg:"), "--workers", "1"]
        command += ["--serve-artifacts", "--artifacts-destination", "ambry://default/default/served"]
        command += ["--registry-store-uri", "ambry://default/default"]
        environment = {**os.environ, "AMBRY_ENDPOINTS": url, "AMBRY_KEY_FILE": str(key)}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # Processes of jobs, of which there are none here.
        with (place / "server.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            try:
                eventually(lambda: _answers(port), "MLflow's server answers", timeout_s=300)
                yield database.url
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)
        database.kill()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def counted(database: str, table: str) -> int:
    """The rows of one of MLflow's tables."""
    with psycopg.connect(database) as connection:
        [count] = connection.execute(f"select count(*) from {table}").fetchone()
    return int(count)


def test_both_clients_see_the_same_and_it_outlives_its_processes(
    place: Path, keyed: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [port] = free_ports(1)
    name = f"model-{uuid.uuid4().hex[:8]}"
    for variable in ("AMBRY_ENDPOINTS", "AMBRY_KEY_FILE", "AMBRY_KEY", "AMBRY_PROFILE", "AMBRY_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "")  # Which MLflow writes, and nobody takes back.
    mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
    mlflow.set_registry_uri(f"http://127.0.0.1:{port}")
    try:
        with AmbryClient([keyed[0]], key=keyed[1].read_text().strip()) as ours:
            with served(place, keyed, port) as database:
                runs = [_train(name, slope, tmp_path) for slope in SLOPES]
                mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")
                assert ours.alias(name, "champion").version == "1"
                models.promote(ours, f"{name}@2", who="ann", why="better")
                _seen(ours, name, runs, "2", tmp_path / "first")
                assert (counted(database, "runs"), counted(database, "params")) == (len(SLOPES), len(SLOPES))
                assert counted(database, "metrics") == 3 * len(SLOPES)
                for table in ("registered_models", "model_versions", "registered_model_aliases"):
                    assert counted(database, table) == 0, "there is no second registry"
            models.roll_back(ours, name)  # While there is no MLflow.
            with served(place, keyed, port):
                _seen(ours, name, runs, "1", tmp_path / "second")
        assert b"Traceback" not in (place / "server.log").read_bytes()
    finally:
        mlflow.set_registry_uri("")
        mlflow.set_tracking_uri("")


def _train(name: str, slope: int, directory: Path) -> str:
    """A run with its parameter, three values of its metric, a large file and a registered model; its id."""
    (directory / "large.bin").write_bytes(LARGE)
    mlflow.set_experiment("slopes")
    with mlflow.start_run(tags={"team": "risk"}) as run:
        mlflow.log_param("slope", slope)
        for step in range(3):
            mlflow.log_metric("auc", 0.9 + slope / 100 + step / 1000, step=step)
        mlflow.log_artifact(str(directory / "large.bin"), "data")
        model = linear_model.LinearRegression().fit([[0], [1], [2]], [0, slope, 2 * slope])
        mlflow.sklearn.log_model(
            model,
            name="model",
            registered_model_name=name,
            serialization_format="skops",
            pip_requirements=["scikit-learn", "skops"],
        )
    return str(run.info.run_id)


def _seen(ours: AmbryClient, name: str, runs: list[str], champion: str, directory: Path) -> None:
    theirs = mlflow.MlflowClient()
    experiment = theirs.get_experiment_by_name("slopes").experiment_id
    [found] = theirs.search_runs([experiment], "params.slope = '2' and metrics.auc > 0.92 and tags.team = 'risk'")
    assert found.info.run_id == runs[1]
    for run, slope in zip(runs, SLOPES, strict=True):
        values = [each.value for each in theirs.get_metric_history(run, "auc")]
        assert values == [0.9 + slope / 100 + step / 1000 for step in range(3)]
        assert theirs.get_run(run).data.params == {"slope": str(slope)}
        # Files: through the server, and in the store itself.
        local = mlflow.artifacts.download_artifacts(run_id=run, artifact_path="data", dst_path=str(directory / run))
        assert (Path(local) / "large.bin").read_bytes() == LARGE
        [stored] = [each for each in ours.list("served/") if run in each.name and each.name.endswith("large.bin")]
        assert ours.get_bytes(stored.ref) == LARGE
        # Versions, with what their runs said of them.
        version = theirs.get_model_version(name, str(slope))
        manifest = models.open(ours, f"{name}@{slope}").manifest
        assert version.run_id == run == manifest.params["mlflow.run_id"]
        assert manifest.params["mlflow.params"] == {"slope": str(slope)}
        assert manifest.metrics == {"auc": theirs.get_run(run).data.metrics["auc"]}
    assert [entry.version for entry in ours.versions(name)] == ["1", "2"]
    assert {each.version for each in theirs.search_model_versions(f"name = '{name}'")} == {"1", "2"}
    assert theirs.get_model_version_by_alias(name, "champion").version == champion
    assert ours.alias(name, "champion").version == champion
    assert round(float(models.open(ours, f"{name}@champion").load().predict([[10]])[0]), 6) == 10 * int(champion)
