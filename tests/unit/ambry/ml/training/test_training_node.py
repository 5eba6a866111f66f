"""What runs on a node, as it runs there: an archive of two modules, a document, and a Python without anything else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml.training import node
from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.environments import store_tree
from ambry.ml.training.jobs import StoredTree
from ambry.ml.training.node import EXIT_NODE
from ambry.ml.training.unpacking import REFUSED, NodeFailed
from tests.support.waiting import eventually
from tests.unit.ambry.ml.training.test_training_packing import environment
from tests.unit.ambry.ml.training.test_training_roles import SPARK, TORCHRUN
from tests.unit.ambry.test_with_parent import is_gone

SCRIPT = """\
import json, os, sys
names = ("RANK", "WORLD_SIZE", "MASTER_PORT", "AMBRY_TRAIN_JOB", "AMBRY_ENDPOINTS", "AMBRY_KEY_FILE")
print(json.dumps({"arguments": sys.argv[1:], **{name: os.environ.get(name) for name in names}}))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def sources(client: AmbryClient, tmp_path: Path) -> StoredTree:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").write_text(SCRIPT)
    return store_tree(client, "sources", tmp_path / "src")


def document(sources: StoredTree, url: str, /, **more: Any) -> bytes:
    told = {"script": "train.py", "arguments": ["3", "with space"], "sources": asdict(sources), "endpoints": [url]}
    return json.dumps({**told, **more}).encode()


def begin(
    directory: Path, data: bytes, environ: dict[str, str], key: str = "", between: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    directory.mkdir(exist_ok=True)
    bundle = write_bundle(directory, data, key=key)
    clean = {"PATH": os.environ["PATH"], "HOME": str(directory), "AMBRY_TRAIN_NODE_CACHE": str(directory / "trees")}
    command = [*between, sys.executable, "-I", str(bundle)]
    return subprocess.run(command, env={**clean, **environ}, capture_output=True, text=True, check=False, timeout=60)


def test_a_worker_becomes_the_script_with_its_role_its_cluster_and_its_exit_code(
    sources: StoredTree, url: str, tmp_path: Path
) -> None:
    tony = {"JOB_NAME": "worker", "TASK_INDEX": "1", "RANK": "1", "WORLD": "2", "INIT_METHOD": "tcp://127.0.0.1:4001"}
    done = begin(tmp_path / "node", document(sources, url), tony, key="ambry_secret")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout) == {
        "arguments": ["3", "with space"],
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_PORT": "4001",
        "AMBRY_TRAIN_JOB": str(tmp_path / "node/job.json"),
        "AMBRY_ENDPOINTS": url,
        "AMBRY_KEY_FILE": str(tmp_path / "node/key"),
    }
    assert (tmp_path / "node/key").stat().st_mode & 0o777 == 0o600


def test_the_environment_of_a_job_is_what_the_script_runs_in(
    client: AmbryClient, sources: StoredTree, url: str, tmp_path: Path
) -> None:
    made = store_tree(client, "venv", environment(tmp_path / "env"))
    again = store_tree(client, "venv", environment(tmp_path / "env2"))
    assert made == again
    (tmp_path / "src/train.py").write_text("import made, sys; print(made.VALUE, sys.prefix)")
    tree = store_tree(client, "sources", tmp_path / "src", "train.py")
    done = begin(tmp_path / "node", document(tree, url, environment=asdict(made)), {})
    assert (done.returncode, done.stdout) == (0, f"42 {tmp_path / 'node/trees' / made.sha256}\n"), done.stderr


def wheel(directory: Path) -> Path:
    """A package of one module, as pip installs it."""
    directory.mkdir()
    files = {
        "made.py": "VALUE = 43\n",
        "made-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: made\nVersion: 1.0\n",
        "made-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files["made-1.0.dist-info/RECORD"] = "".join(f"{path},,\n" for path in (*files, "made-1.0.dist-info/RECORD"))
    with zipfile.ZipFile(directory / "made-1.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return directory


def test_wheels_become_an_environment_on_the_node(
    client: AmbryClient, sources: StoredTree, url: str, tmp_path: Path
) -> None:
    made = store_tree(client, "wheels", wheel(tmp_path / "wheels"))
    (tmp_path / "src/train.py").write_text("import made, sys; print(made.VALUE, sys.prefix)")
    tree = store_tree(client, "sources", tmp_path / "src", "train.py")
    for _ in range(2):
        done = begin(tmp_path / "node", document(tree, url, environment=asdict(made)), {})
        assert (done.returncode, done.stdout) == (0, f"43 {tmp_path / 'node/trees' / made.sha256}\n"), done.stderr
    (tmp_path / "wheels/made-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    broken = store_tree(client, "wheels", tmp_path / "wheels")
    done = begin(tmp_path / "node", document(tree, url, environment=asdict(broken)), {})
    assert done.returncode == EXIT_NODE and "the wheels of the job could not be installed in " in done.stderr


@pytest.mark.parametrize(
    ("change", "environ", "told"),
    [
        ({}, {"RANK": "7", "WORLD_SIZE": "2"}, "RANK is 7 and WORLD_SIZE is 2"),
        ({"script": "other.py"}, {}, "the sources of the job have no other.py"),
        ({"python": "no-such-python"}, {}, "this node has no no-such-python; name another one"),
        ({"endpoints": []}, {}, "nobody said where the store is"),
        ({"sources": None}, {}, "no process can have its sources"),
        ({"sources": "abc"}, {}, "no process can have its sources"),
        ({"sources": {"id": "a"}}, {}, "a tree whose sha256 is 'None'"),
        ({"sources": {"id": "a", "sha256": "/etc"}}, {}, "a tree whose sha256 is '/etc'"),
        ({"script": 5}, {}, "no process can have its script"),
        ({"script": "a\0b"}, {}, "no process can have its script"),
        ({"script": "../../../../../../../../etc/hostname"}, {}, "lies outside of its sources"),
        ({"arguments": "abc"}, {}, "no process can have its arguments"),
        ({"arguments": ["a\0b"]}, {}, "no process can have its arguments"),
        ({"arguments": ["\ud800"]}, {}, "no process can have its arguments"),
        ({"arguments": ["a" * 3_000_000]}, {}, "are too long for this node (3,0"),
        ({"environ": [["A", "b\0"]]}, {}, "no process can have its environ"),
        ({"environ": [["A=B", "b"]]}, {}, "no process can have its environ"),
        ({"environ": [["", "b"]]}, {}, "no process can have its environ"),
        ({"environ": [["A"]]}, {}, "no process can have its environ"),
        ({"environment": "abc"}, {}, "no process can have its environment"),
        ({"endpoints": [1]}, {}, "no process can have its endpoints"),
        ({"python": 5}, {}, "no process can have its python"),
        ({"endpoints": []}, {"AMBRY_ENDPOINTS": "http://127.0.0.1:abc"}, "is no address of a store"),
        ({"endpoints": []}, {"AMBRY_ENDPOINTS": "http://[::1:99"}, "is no address of a store"),
        ({}, {"AMBRY_KEY_FILE": "/bin/true"}, "holds no access key"),
        ({}, {"RANK": "9" * 5000, "WORLD_SIZE": "2"}, "a launcher sets it to a number"),
        ({}, {"TF_CONFIG": "[" * 100_000}, "TF_CONFIG is not what TensorFlow reads"),
    ],
)
def test_a_worker_that_cannot_begin_says_why_in_a_sentence(
    sources: StoredTree, url: str, tmp_path: Path, change: dict[str, Any], environ: dict[str, str], told: str
) -> None:
    done = begin(tmp_path / "node", document(sources, url, **change), environ)
    assert done.returncode == EXIT_NODE and told in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.startswith("ambry train: this worker could not begin: ")


LAUNCHER = """
import os, subprocess, sys, time
told = {**os.environ, "AMBRY_TRAIN_PARENT": str(os.getpid())}
subprocess.Popen([sys.executable, "-I", sys.argv[1]], env=told)
time.sleep(60)
"""


def test_a_worker_ends_with_its_launcher(client: AmbryClient, sources: StoredTree, url: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "src/train.py").write_text(
        f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    tree = store_tree(client, "sources", tmp_path / "src", "train.py")
    bundle = write_bundle(tmp_path, document(tree, url))
    environ = {"AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees"), **TORCHRUN}
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, str(bundle)], env={**os.environ, **environ}) as launcher:
        worker = int(eventually(lambda: mark.read_text() if mark.exists() else "", "the worker runs"))
        assert not is_gone(worker)
        launcher.kill()
    eventually(lambda: is_gone(worker), "the worker is gone")


@pytest.mark.parametrize("role", [TORCHRUN, SPARK], ids=["torchrun", "spark"])
def test_a_worker_whose_launcher_ended_before_it_began_does_nothing(
    sources: StoredTree, url: str, tmp_path: Path, role: dict[str, str]
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    gone = begin(tmp_path / "node", document(sources, url), {**role, "AMBRY_TRAIN_PARENT": str(ended.pid)})
    assert (gone.returncode, gone.stdout, gone.stderr) == (-signal.SIGKILL, "", "")
    told = {**role, "AMBRY_TRAIN_PARENT": str(os.getpid())}
    for between in ((), ("/bin/sh", "-c", '"$@"; exit $?', "python")):  # As where --python is a script.
        there = begin(tmp_path / "node", document(sources, url), told, between=between)
        assert there.returncode == 3, there.stderr


def test_what_the_store_refuses_is_told_so_that_nobody_begins_again(
    sources: StoredTree, url: str, tmp_path: Path
) -> None:
    done = begin(tmp_path / "node", document(replace(sources, id="A" * 48, sha256="1" * 64), url), {})
    assert done.returncode == EXIT_NODE and done.stderr.startswith(f"{REFUSED}this worker could not begin: blob AAA")
    assert "answers 400 Bad Request" in done.stderr


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"[" * 200_000, "is no document of a job"),
        (b"[1]", "is no document of a job"),
        (b'{"arguments": [], "sources": {}}', "it has no 'script'"),
    ],
)
def test_a_document_that_is_none_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "job.json").write_bytes(data)
    with pytest.raises(NodeFailed, match=told):
        node.read_job(tmp_path / "job.json")
