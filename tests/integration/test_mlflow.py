"""MLflow, unmodified, with its artifacts in the store: by its client, and through its server (`make libraries` installs it)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.errors import InvalidRequest, UploadNotFound
from tests.support.clusters import shared_cluster
from tests.support.content import content
from tests.support.ports import free_ports
from tests.support.unlisted import may_not_list
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
mlflow: Any = pytest.importorskip("mlflow", reason="MLflow is not installed; `make libraries` does it")

LARGE = content(9, 30 << 20)


@pytest.fixture
def at(dc1: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An artifact location, and a tracking store beside it."""
    monkeypatch.setenv("AMBRY_ENDPOINTS", dc1)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/tracking.sqlite")
    return f"ambry://default/default/mlflow/{uuid.uuid4().hex}"


def run_in(at: str) -> Any:
    experiment = mlflow.create_experiment(uuid.uuid4().hex, artifact_location=at)
    return mlflow.start_run(experiment_id=experiment)


def test_files_are_logged_listed_downloaded_and_deleted(at: str, tmp_path: Path) -> None:
    tree = {"a.txt": b"a", "deep/b c.txt": b"b", "deep/er/large.bin": LARGE, "100%.txt": b"%"}
    for name, body in tree.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(body)
    (tmp_path / "tree/deep/er/large.bin.ambry-upload").write_text("what an upload that broke off keeps is no artifact")
    with run_in(at) as run:
        mlflow.log_artifacts(str(tmp_path / "tree"), "data")
        mlflow.log_text("hello", "notes.txt")
        mlflow.log_dict({"a": 1}, "data/settings.json")
    client = mlflow.MlflowClient()
    id = run.info.run_id
    listed = {each.path: (each.is_dir, each.file_size) for each in client.list_artifacts(id)}
    assert listed == {"data": (True, None), "notes.txt": (False, 5)}
    assert {each.path for each in client.list_artifacts(id, "data")} == {
        "data/a.txt",
        "data/deep",
        "data/100%.txt",
        "data/settings.json",
    }
    assert [each.path for each in client.list_artifacts(id, "data/deep/er")] == ["data/deep/er/large.bin"]
    assert client.list_artifacts(id, "notes.txt") == []
    local = Path(mlflow.artifacts.download_artifacts(run_id=id, artifact_path="data", dst_path=str(tmp_path / "back")))
    assert {name: (local / name).read_bytes() for name in tree} == tree
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes.txt") == "hello"
    repository = repository_of(run.info.artifact_uri)
    repository.delete_artifacts("data")
    assert [each.path for each in client.list_artifacts(id)] == ["notes.txt"]
    repository.delete_artifacts()
    assert client.list_artifacts(id) == []


def repository_of(uri: str) -> Any:
    return mlflow.store.artifact.artifact_repository_registry.get_artifact_repository(uri)


def test_names_that_are_no_artifact_paths_are_left_out_and_keep_none_of_the_others(
    at: str, dc1: str, tmp_path: Path
) -> None:
    """A name such as `run/../x` made every download of `run` fail, and `run/a/../x` one that never ended."""
    with AmbryClient(dc1) as client:
        odd = ["../x", "a/../x", "/x", "./x", "a//x", "a/.", "a/..", "..", "."]
        for name in ["fine", "a/fine", *odd]:
            client.put(name.encode(), name=f"{at}/run/{name}")
    repository = repository_of(f"{at}/run")
    with pytest.warns(UserWarning, match="is left out: no artifact path leads there"):
        assert sorted(each.path for each in repository.list_artifacts()) == ["a", "fine"]
    with pytest.warns(UserWarning):
        assert [each.path for each in repository.list_artifacts("a")] == ["a/fine"]
    with pytest.warns(UserWarning):
        there = Path(repository.download_artifacts("", str(tmp_path)))
    assert sorted(str(each.relative_to(there)) for each in there.rglob("*") if each.is_file()) == ["a/fine", "fine"]
    repository.delete_artifacts()
    with AmbryClient(dc1) as client:
        assert [each.name for each in client.list(f"{at}/run/")] == []


def test_what_is_no_file_is_left_out_with_a_warning_and_what_cannot_be_listed_is_told(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"b")
    (tmp_path / "link").symlink_to("a")
    repository = repository_of(at)
    with pytest.warns(UserWarning, match="link: no file, and no link to one, so it is left out"):
        repository.log_artifacts(str(tmp_path))
    assert [each.path for each in repository.list_artifacts("a")] == ["a/b"]
    may_not_list(monkeypatch, tmp_path / "a")
    with pytest.raises(PermissionError):
        repository.log_artifacts(str(tmp_path))


def test_what_transfers_keep_beside_files_is_not_logged_without_a_word(at: str, tmp_path: Path) -> None:
    for name in ("m.bin", "m.bin.ambry-upload", f"x.{'A' * 48}.part"):
        (tmp_path / name).write_bytes(b"x")
    repository = repository_of(at)
    with pytest.warns(UserWarning, match="it is called as what downloads and uploads keep"):
        repository.log_artifacts(str(tmp_path))
    assert [each.path for each in repository.list_artifacts()] == ["m.bin"]


def test_an_upload_of_another_artifact_is_neither_completed_nor_aborted(at: str, dc1: str) -> None:
    repository = repository_of(at)
    with AmbryClient(dc1) as client:
        for other in (client.start_upload(name=f"{at}/other"), client.start_upload()):
            other.write_part(1, b"theirs")
            with pytest.raises(UploadNotFound, match="has no upload"):
                repository.complete_multipart_upload("mine", other.id, [])
            with pytest.raises(UploadNotFound, match="has no upload"):
                repository.abort_multipart_upload("mine", other.id)
            assert other.show().state == "open"
            other.abort()


@pytest.mark.parametrize("count", [0, -1, 10_001, 10**9])
def test_an_upload_has_as_many_parts_as_it_can_have(at: str, count: int) -> None:
    with pytest.raises(InvalidRequest, match="1 to 10000 parts"):
        repository_of(at).create_multipart_upload("x", count)


def test_paths_that_lead_out_of_the_location_are_refused(at: str, tmp_path: Path) -> None:
    repository = repository_of(f"{at}/inside")
    (tmp_path / "x").write_bytes(b"x")
    for path in ("..", "../outside", "a/../../outside"):
        with pytest.raises(InvalidRequest, match="not beneath"):
            repository.log_artifact(str(tmp_path / "x"), path)
        with pytest.raises(InvalidRequest, match="not beneath"):
            repository.list_artifacts(path)


def test_models_are_registered_and_loaded_by_alias(at: str) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    name = f"model-{uuid.uuid4().hex[:8]}"
    client = mlflow.MlflowClient()
    for slope in (1, 2):
        with run_in(at):
            model = linear_model.LinearRegression().fit([[0], [1], [2]], [0, slope, 2 * slope])
            mlflow.sklearn.log_model(model, name="model", registered_model_name=name, serialization_format="skops")
        client.set_registered_model_alias(name, "champion", str(slope))
        loaded = mlflow.sklearn.load_model(f"models:/{name}@champion")
        assert loaded.predict([[10]])[0] == pytest.approx(10 * slope)


@pytest.fixture(scope="module")
def keyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A cluster that asks for keys: a frontend's URL, and the file of the administrator's key."""
    with shared_cluster(request, tmp_path_factory, datacenters=1, nodes=1, partitions=1, auth=True) as cluster:
        yield cluster.frontends()[0].url, cluster.directory / "admin.key"


@pytest.fixture(scope="module")
def server(keyed: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's server, which alone has the key of the store; its URL."""
    directory = tmp_path_factory.mktemp("mlflow")
    url, key = keyed
    [port] = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{directory}/server.sqlite", "--serve-artifacts"]
    command += ["--artifacts-destination", "ambry://default/default/served"]
    environment = {**os.environ, "AMBRY_ENDPOINTS": url, "AMBRY_KEY_FILE": str(key)}
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            eventually(lambda: _answers(f"http://127.0.0.1:{port}"), "MLflow's server answers", timeout_s=180)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("past", [False, True], ids=["through the server", "past the server"])
def test_artifacts_go_through_the_server_or_past_it(
    server: str, keyed: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, past: bool
) -> None:
    if past:
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(10 << 20))
        monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(10 << 20))
    mlflow.set_tracking_uri(server)
    file = tmp_path / "large.bin"
    file.write_bytes(LARGE)
    with mlflow.start_run() as run:
        mlflow.log_artifact(str(file), "data")
    back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="data/large.bin")
    assert Path(back).read_bytes() == LARGE
    with AmbryClient([keyed[0]], key=keyed[1].read_text().strip()) as client:
        [stored] = [each for each in client.list("served") if run.info.run_id in each.name]
        assert stored.id is not None
        parts = client.head(stored.id).etag.strip('"').rpartition("-")[2]
        assert parts == ("3" if past else "4"), "10 MiB each as its client has it, or 8 MiB as ours has"


def test_without_signed_urls_its_clients_hear_that_the_bytes_go_through_the_server(at: str) -> None:
    repository = repository_of(at)
    repository.client.put(b"x", name=repository._name("x"))
    calls: list[Callable[[], Any]] = [
        lambda: repository.get_download_presigned_url("x"),
        lambda: repository.create_presigned_upload_url("y"),
        lambda: repository.create_multipart_upload("z", 2),
    ]
    for call in calls:
        with pytest.raises(mlflow.exceptions.MlflowException, match="Multipart upload is not supported") as refused:
            call()
        assert refused.value.get_http_status_code() == 501
