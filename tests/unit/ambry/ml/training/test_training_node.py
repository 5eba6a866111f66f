"""What runs on a node, as it runs there: an archive of two modules, a document, and a Python without anything else."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml.training import node
from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.environments import store_tree
from ambry.ml.training.jobs import StoredTree
from ambry.ml.training.node import EXIT_NODE, fetch_tree
from ambry.ml.training.unpacking import REFUSED, NodeFailed, NodeRefused
from tests.support.bad_answers import answering
from tests.support.bad_answers import http as http_answer
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


def test_a_tree_that_is_not_what_it_was_is_not_used(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_TRIES", 1)
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    with pytest.raises(NodeFailed, match="could not be fetched: it has the SHA-256"):
        fetch_tree({**asdict(sources), "sha256": "0" * 64}, environ)
    with pytest.raises(NodeFailed, match="answers 400 Bad Request"):
        fetch_tree({"id": "A" * 48, "sha256": "1" * 64}, environ)
    assert [path.suffix for path in (tmp_path / "trees").iterdir() if path.suffix != ".lock"] == []


def test_a_full_disk_of_the_node_is_not_the_store_s_failure(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "node/trees" / f"{sources.sha256}.zip"
    archive.parent.mkdir(parents=True)
    archive.symlink_to("/dev/full")
    done = begin(tmp_path / "node", document(sources, url), {})
    assert done.returncode == EXIT_NODE
    assert done.stderr == f"ambry train: this worker could not begin: [Errno 28] No space left on device: '{archive}'\n"
    asked, urlopen = [], urllib.request.urlopen

    def counted(request: urllib.request.Request, **said: Any) -> Any:
        asked.append(request.full_url)
        return urlopen(request, **said)

    monkeypatch.setattr(urllib.request, "urlopen", counted)
    archive.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        fetch_tree(asdict(sources), {"AMBRY_ENDPOINTS": f"{url},{url}", "AMBRY_TRAIN_NODE_CACHE": str(archive.parent)})
    assert len(asked) == 1


def test_a_store_that_ends_in_the_middle_is_asked_again(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, read = [ConnectionResetError(104, "Connection reset by peer")], http.client.HTTPResponse.read

    def cut(self: http.client.HTTPResponse, size: int | None = None) -> bytes:
        if ends:
            raise ends.pop()
        return read(self, size)

    monkeypatch.setattr(http.client.HTTPResponse, "read", cut)
    fetch_tree(asdict(sources), {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")})
    assert not ends


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "421 Misdirected Request", "405 No"])
def test_one_endpoint_that_refuses_is_no_refusal_of_the_store(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with answering(lambda _: http_answer(b"no", status)) as other:
        environ = {"AMBRY_ENDPOINTS": f"{other},{url}", "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
        assert fetch_tree(asdict(sources), environ).is_dir()
        environ |= {"AMBRY_ENDPOINTS": other, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "more")}
        with pytest.raises(NodeFailed, match=f"answers {status}") as refused:
            fetch_tree(asdict(sources), environ)
        assert isinstance(refused.value, NodeRefused) == (status[:3] in ("403", "404"))


@pytest.mark.parametrize(("status", "is_refused"), [("403 Forbidden", True), ("404 Not Found", False)])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_one_endpoint_refuses_is_told_where_the_others_are_away(
    sources: StoredTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    is_refused: bool,
    order: tuple[int, int],
) -> None:
    """All that was told is that the other one is away, and all workers began again, as often as they may. That a blob is not
    in one datacenter is no refusal of another one.
    """
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    asked: list[object] = []

    def refuses(request: object) -> bytes:
        asked.append(request)
        return http_answer(b"no", status)

    with answering(refuses) as other, socket.create_server(("127.0.0.1", 0)) as server:
        away = f"http://127.0.0.1:{server.getsockname()[1]}"
        server.close()
        environ = {"AMBRY_ENDPOINTS": ",".join((other, away)[each] for each in order)}
        environ["AMBRY_TRAIN_NODE_CACHE"] = str(tmp_path / "trees")
        with pytest.raises(NodeFailed, match="Connection refused") as failed:
            fetch_tree(asdict(sources), environ)
    assert f"{other} answers {status}" in str(failed.value) and isinstance(failed.value, NodeRefused) == is_refused
    assert len(asked) == 1 and sum(slept) == pytest.approx(7.75), "and nobody waits when it was asked for the last time"


def test_all_workers_of_a_node_fetch_a_tree_once_and_what_a_killed_one_left_is_replaced(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    left = tmp_path / f"trees/{sources.sha256}.unpacked"
    left.mkdir(parents=True)
    (left / "half").touch()
    fetched: list[str] = []
    download = node._download

    def counted(*each: Any) -> None:
        fetched.append("once")
        download(*each)

    def synced() -> None:
        assert not (tmp_path / "trees" / sources.sha256).exists(), "on the disk before it is there"
        fetched.append("synced")

    monkeypatch.setattr(node, "_download", counted)
    monkeypatch.setattr("os.sync", synced)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: fetch_tree(asdict(sources), environ), range(4)))
    assert (len(found), fetched) == (1, ["once", "synced"])
    assert sorted(path.name for path in found.pop().iterdir()) == ["train.py"]


def test_of_trees_beyond_the_bound_the_least_recently_used_goes_and_none_that_a_worker_uses(
    client: AmbryClient, url: str, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    trees = []
    for number in range(4):
        (tmp_path / "src/train.py").write_text("import sys; print('runs', flush=True); sys.stdin.read(); import late")
        (tmp_path / "src/late.py").write_text(f"print('goes on {number}')")
        (tmp_path / "src/large").write_bytes(os.urandom(1 << 20))
        trees.append(store_tree(client, "sources", tmp_path / "src"))
    kept = tmp_path / "node/trees"

    def there() -> list[int]:
        return [number for number, tree in enumerate(trees) if (kept / tree.sha256).exists()]

    def ran(number: int) -> None:
        (tmp_path / "node").mkdir(exist_ok=True)
        done = begin(tmp_path / "node", document(trees[number], url), {"AMBRY_TRAIN_NODE_CACHE_MAX": "2.5M"})
        assert done.returncode == 0 and done.stdout == f"runs\ngoes on {number}\n", done.stderr

    bundle = write_bundle(tmp_path, document(trees[0], url))
    environ = {"PATH": os.environ["PATH"], "AMBRY_TRAIN_NODE_CACHE": str(kept), "HOME": str(tmp_path)}
    command = [sys.executable, "-I", str(bundle)]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        assert worker.stdout.readline() == "runs\n"
        ran(1)
        size = kept / f"{trees[2].sha256}.lock"
        size.write_text("100000000000\n")  # Of a tree that was larger on another disk, and was removed.
        (kept / f"{trees[2].sha256}.unpacked").mkdir()  # Of one who was killed.
        ran(3)
        assert there() == [0, 3]
        assert not list(kept.glob("*.unpacked"))
        ran(2)
        assert there() == [0, 2]
        assert 1 << 20 <= int(size.read_bytes()) < 2 << 20, (
            "digits of the older one stayed behind it, and nobody read it"
        )
        worker.stdin.close()
        assert worker.stdout.read() == "goes on 0\n" and worker.wait(timeout=30) == 0
    ran(2)
    ran(1)
    assert there() == [1, 2]


def test_a_bound_that_is_no_size_is_a_sentence(sources: StoredTree, url: str, tmp_path: Path) -> None:
    done = begin(tmp_path / "node", document(sources, url), {"AMBRY_TRAIN_NODE_CACHE_MAX": "much"})
    assert done.returncode == EXIT_NODE
    assert "AMBRY_TRAIN_NODE_CACHE_MAX is 'much', and is to be a number of bytes, such as 20G" in done.stderr


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


def test_who_finds_a_tree_made_meanwhile_does_not_wait_for_its_user_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw that it was not there; the other one made it, and trains with it, which waits for this one."""
    target = tmp_path / ("7" * 64)
    lock = os.open(target.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
    locked = fcntl.flock

    def flock(file: int, kind: int) -> None:
        if kind == fcntl.LOCK_EX:
            raise AssertionError("it would wait for ever")
        locked(file, kind)
        if kind == fcntl.LOCK_UN and not target.is_dir():
            target.mkdir()
            locked(lock, fcntl.LOCK_SH)

    monkeypatch.setattr(fcntl, "flock", flock)
    try:
        told = {"id": "A" * 48, "sha256": target.name}
        assert (
            fetch_tree(told, {"AMBRY_TRAIN_NODE_CACHE": str(tmp_path), "AMBRY_ENDPOINTS": "http://127.0.0.1:1"})
            == target
        )
    finally:
        os.close(lock)


def test_a_node_without_room_for_another_process_says_so_and_does_not_try_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fork says it with the same error as a lock that somebody else has."""

    def full(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(node, "_make", full)
    with pytest.raises(BlockingIOError):
        fetch_tree({"id": "A" * 48, "sha256": "8" * 64}, {"AMBRY_TRAIN_NODE_CACHE": str(tmp_path)})
