"""Training jobs with torch against real processes: checkpoints, torchrun, and what is left when workers and nodes are killed.

Slow: torch is imported by each worker (`make libraries` installs it).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ambry import AmbryClient, CacheConfig
from ambry.errors import BlobNotFound
from ambry.ml import models, training
from ambry.ml.training.launchers.torchrun import TorchrunLauncher
from deploy.local_cluster import LocalCluster
from tests.support.blob_cache import cache_of
from tests.support.clusters import running_cluster

pytestmark = pytest.mark.slow
torch: Any = pytest.importorskip("torch", reason="torch is not installed; `make libraries` does it")
pytest.importorskip("sklearn", reason="scikit-learn is not installed; `make libraries` does it")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy/demos/train_digits.py"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster whose nodes may be killed, and which asks for keys."""
    with running_cluster(tmp_path_factory.mktemp("training"), datacenters=1, auth=True) as running:
        yield running


@pytest.fixture
def client(own: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AmbryClient]:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AMBRY_TRAIN_NODE_CACHE", str(tmp_path / "trees"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cache = CacheConfig(directory=tmp_path / "cache")
    with AmbryClient([own.frontends()[0].url], key=own.key, cache=cache) as made:
        yield made


class Said(list[str]):
    def has(self, part: str) -> bool:
        return any(part in line for line in self)


def run(client: AmbryClient, said: Said, *arguments: str, name: str, restarts: int = 3, **more: Any) -> Any:
    wanted = training.WhatToRun(script=SCRIPT, arguments=arguments, workers=2, name=name, **more)
    job = training.prepare_job(client, wanted, said.append)
    return training.run_job(client, job, TorchrunLauncher(), max_restarts=restarts, tell=said.append, show=said.append)


def test_a_worker_and_a_data_node_killed_at_step_35_change_nothing_of_the_outcome(
    own: LocalCluster, client: AmbryClient, tmp_path: Path
) -> None:
    calm, killed = Said(), Said()
    undisturbed = run(client, calm, name="calm", publish="digits-calm")
    assert calm.has("worker 0 of 2 begins at step 0, by torchrun") and not calm.has("begins at step 30")
    victim = own.nodes()[1].name
    pid = own.pid(victim)
    once = tmp_path / "once"
    died = run(
        client, killed, "--die-at", "35", "--once", str(once), "--also-kill", str(pid), name="killed", publish="digits"
    )
    own.start(victim)
    assert once.exists() and killed.has("worker 1 was ended by SIGKILL; all workers are started again")
    assert killed.has("worker 0 of 2 begins at step 30, by torchrun")
    digests = [ended.model.manifest.params["parameters"] for ended in (undisturbed, died)]
    assert digests[0] == digests[1] and len(digests[0]) == 64
    manifests = [models.open(client, name).manifest for name in ("digits-calm", "digits")]
    assert manifests[0].parts[0].sha256 == manifests[1].parts[0].sha256
    assert manifests[1].metrics == manifests[0].metrics and manifests[0].metrics["accuracy"] > 0.8
    assert manifests[1].params["training"]["job"] == "killed"
    assert (undisturbed.step, died.step) == (60, 60)


def test_a_job_that_cannot_be_saved_fails_with_a_sentence_and_publishes_nothing(
    client: AmbryClient, tmp_path: Path
) -> None:
    said = Said()
    with pytest.raises(training.LaunchFailed, match="worker 1 was ended by SIGKILL; submit the job again"):
        run(client, said, "--die-at", "15", "--once", str(tmp_path / "o"), name="lost", restarts=0, publish="never")
    with pytest.raises(BlobNotFound):
        client.dataset("never")
    assert training.CheckpointFolder(client, "training/lost/checkpoints").steps() == [10]
    again = run(client, said, "--die-at", "15", "--once", str(tmp_path / "o"), name="lost", restarts=0, publish="never")
    assert said.has("it goes on from step 10") and str(again.model) == "never@1.0.0"


def test_the_command_does_it_with_an_environment_by_its_key_file(
    own: LocalCluster, client: AmbryClient, tmp_path: Path
) -> None:
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(own.key or "")
    command = [sys.executable, "-m", "ambry.cli.main", "train", "submit", str(SCRIPT), "--workers", "2"]
    command += ["--endpoint", own.frontends()[0].url, "--key-file", str(tmp_path / "key"), "--publish", "by-command"]
    environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--output", "model", "--", "--steps", "20"], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "by-command@1.0.0\n"), done.stderr
    assert "checkpoint of step 20" in done.stderr


def network() -> tuple[Any, Any]:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def step(model: Any, optimizer: Any, seed: int) -> None:
    optimizer.zero_grad()
    model(torch.randn(8, 4, generator=torch.Generator().manual_seed(seed))).pow(2).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("background", [False, True], ids=["waits", "background"])
def test_a_model_and_its_optimizer_go_on_as_if_nothing_had_been(client: AmbryClient, background: bool) -> None:
    from ambry.ml.training.torch_checkpoints import TorchCheckpoints

    place = f"training/alone-{background}"
    model, optimizer = network()
    with TorchCheckpoints(place, client=client, background=background, keep=2) as checkpoints:
        assert checkpoints.restore(model, optimizer) is None
        for number in range(6):
            step(model, optimizer, number)
            checkpoints.save(number + 1, model, optimizer, number=number)
    other, others = network()
    with TorchCheckpoints(place, client=client) as checkpoints:
        found = checkpoints.restore(other, others)
        assert found is not None and (found.step, found.said) == (6, {"number": 5})
        assert checkpoints.folder.steps() == [5, 6]
    for number in (6, 7):
        step(model, optimizer, number)
        step(other, others, number)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two in zip(model.buffers(), other.buffers(), strict=True))


@pytest.mark.parametrize("background", [False, True], ids=["waits", "background"])
def test_a_worker_that_is_started_again_reads_what_was_saved_here_without_the_network(
    client: AmbryClient, tmp_path: Path, background: bool
) -> None:
    """It was loaded over the network, at a quarter of the speed of local files, by the machine that had just sent it."""
    from ambry.ml.training.torch_checkpoints import TorchCheckpoints

    cache = cache_of(tmp_path / "cache")
    model, optimizer = network()
    step(model, optimizer, 0)
    with TorchCheckpoints(f"training/here-{background}", client=client, background=background) as checkpoints:
        for number in (1, 2):
            checkpoints.save(number, model, optimizer)
            checkpoints.wait()
        before, newest = (checkpoints.folder.mark_of(number).files.values() for number in (1, 2))
        assert len(newest) > 1 and all(cache.is_intact(file.id) for file in newest)
        assert not any(cache.has(file.id) for file in before if file not in newest)
        files = {file.id: cache.path_of(file.id).stat().st_ino for file in newest}
        assert checkpoints.restore(*network()) is not None
        assert files == {file: cache.path_of(file).stat().st_ino for file in files}
    assert list((tmp_path / "cache/incoming").iterdir()) == []


def test_a_model_without_an_optimizer(client: AmbryClient) -> None:
    from ambry.ml.training.torch_checkpoints import TorchCheckpoints

    model, optimizer = network()
    step(model, optimizer, 0)
    other, _ = network()
    with TorchCheckpoints("training/bare", client=client) as checkpoints:
        checkpoints.save(1, model)
        assert checkpoints.restore(other) is not None
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("rank", [0, 1])
def test_the_worker_whose_disk_is_full_is_named_by_all_of_them(
    client: AmbryClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """Each named its own disk: torch tells all workers what any of them failed with. This one has rank 0."""
    from torch.distributed.checkpoint.api import CheckpointException, _wrap_exception

    from ambry.ml.training.torch_checkpoints import TorchCheckpoints

    full = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 22")

    def failing(*_: object, **__: object) -> None:
        raise CheckpointException("write", {rank: _wrap_exception(full)})

    with TorchCheckpoints("training/full", client=client, background=True, scratch=tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints, "_dcp", SimpleNamespace(FileSystemWriter=lambda *_, **__: None, save=failing))
        with pytest.raises(OSError, match=r"see whether .*disk has room") as failed:
            checkpoints.save(1, network()[0])
    assert ("worker 1 could not write its part" in str(failed.value)) == (rank == 1)
    assert (str(tmp_path) in str(failed.value)) == (rank == 0)
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_in_a_thread_of_torch_leaves_no_checkpoint(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's writer loses what fails in any of its threads but the first, and calls the rest saved."""
    from ambry.errors import Unavailable
    from ambry.ml.training import torch_checkpoints

    monkeypatch.setattr(torch_checkpoints, "STREAM_BYTES_MIN", 1)
    model, optimizer = network()
    step(model, optimizer, 0)
    opened = client.open

    def failing(ref: Any, mode: Any, **said: Any) -> Any:
        if "__0_1" in str(ref):
            raise Unavailable("no room for this one")
        return opened(ref, mode, **said)

    with torch_checkpoints.TorchCheckpoints("training/failing", client=client) as checkpoints:
        checkpoints.save(1, model, optimizer)
        monkeypatch.setattr(client, "open", failing)
        with pytest.raises(Unavailable, match="no room"):
            checkpoints.save(2, model, optimizer)
        assert checkpoints.folder.steps() == [1]
        monkeypatch.undo()
        checkpoints.save(2, model, optimizer)
        mark = checkpoints.folder.mark_of(2)
    assert ".metadata" in mark.files and len([path for path in mark.files if path.endswith(".distcp")]) == 1
