"""Trees of jobs on a node: made once, kept within a bound, and never what another job made of them."""

from __future__ import annotations

import errno
import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml.training import node_trees
from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.environments import store_tree
from ambry.ml.training.jobs import StoredTree
from ambry.ml.training.node import EXIT_NODE, digest_of
from ambry.ml.training.node_trees import fetch_tree
from ambry.ml.training.unpacking import NodeFailed, NodeRefused
from tests.support.bad_answers import answering
from tests.support.bad_answers import http as http_answer
from tests.unit.ambry.client.test_client_tree_removal import as_nobody
from tests.unit.ambry.ml.training.test_training_node import SCRIPT, begin, document


@pytest.fixture
def sources(client: AmbryClient, tmp_path: Path) -> StoredTree:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").write_text(SCRIPT)
    return store_tree(client, "sources", tmp_path / "src")


def test_a_tree_that_is_not_what_it_was_is_not_used(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_trees, "_TRIES", 1)
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    with pytest.raises(NodeFailed, match="could not be fetched: it has the SHA-256"):
        fetch_tree({**asdict(sources), "sha256": "0" * 64}, environ, "job")
    with pytest.raises(NodeFailed, match="answers 400 Bad Request"):
        fetch_tree({"id": "A" * 48, "sha256": "1" * 64}, environ, "job")
    assert [path.suffix for path in (tmp_path / "trees").iterdir() if path.suffix != ".lock"] == []


def test_a_full_disk_of_the_node_is_not_the_store_s_failure(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "node/trees" / f"{sources.sha256}-{digest_of(json.loads(document(sources, url)))}.zip"
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
        environ = {"AMBRY_ENDPOINTS": f"{url},{url}", "AMBRY_TRAIN_NODE_CACHE": str(archive.parent)}
        fetch_tree(asdict(sources), environ, archive.stem.partition("-")[2])
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
    fetch_tree(asdict(sources), {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}, "job")
    assert not ends


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "421 Misdirected Request", "405 No"])
def test_one_endpoint_that_refuses_is_no_refusal_of_the_store(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with answering(lambda _: http_answer(b"no", status)) as other:
        environ = {"AMBRY_ENDPOINTS": f"{other},{url}", "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
        assert fetch_tree(asdict(sources), environ, "job").is_dir()
        environ |= {"AMBRY_ENDPOINTS": other, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "more")}
        with pytest.raises(NodeFailed, match=f"answers {status}") as refused:
            fetch_tree(asdict(sources), environ, "job")
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
            fetch_tree(asdict(sources), environ, "job")
    assert f"{other} answers {status}" in str(failed.value) and isinstance(failed.value, NodeRefused) == is_refused
    assert len(asked) == 1 and sum(slept) == pytest.approx(7.75), "and nobody waits when it was asked for the last time"


def test_all_workers_of_a_node_fetch_a_tree_once_and_what_a_killed_one_left_is_replaced(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    tree = {**asdict(sources), "kind": "venv"}
    left = tmp_path / f"trees/{sources.sha256}.unpacked"
    left.mkdir(parents=True)
    (left / "half").touch()
    fetched: list[str] = []
    download = node_trees._download

    def counted(*each: Any) -> None:
        fetched.append("once")
        download(*each)

    def synced() -> None:
        assert not (tmp_path / "trees" / sources.sha256).exists(), "on the disk before it is there"
        fetched.append("synced")

    monkeypatch.setattr(node_trees, "_download", counted)
    monkeypatch.setattr("os.sync", synced)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: fetch_tree(tree, environ, "job"), range(4)))
    assert (len(found), fetched) == (1, ["once", "synced"])
    assert sorted(path.name for path in found.pop().iterdir()) == ["train.py"]


def test_of_environments_beyond_the_bound_the_least_recently_used_goes_and_none_that_a_worker_uses(
    client: AmbryClient, sources: StoredTree, url: str, tmp_path: Path
) -> None:
    (tmp_path / "src/train.py").write_text(
        "import sys; print('runs', flush=True); sys.stdin.read(); sys.path.append(sys.argv[1]); import late"
    )
    script = store_tree(client, "sources", tmp_path / "src", "train.py")
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/python").symlink_to(sys.executable)
    trees = []
    for number in range(4):
        (tmp_path / "env/late.py").write_text(f"print('goes on {number}')")
        (tmp_path / "env/large").write_bytes(os.urandom(1 << 20))
        trees.append(replace(store_tree(client, "sources", tmp_path / "env"), kind="venv"))
    kept = tmp_path / "node/trees"

    def job(number: int) -> bytes:
        tree = trees[number]
        return document(script, url, environment=asdict(tree), arguments=[str(kept / tree.sha256)])

    def there() -> list[int]:
        return [number for number, tree in enumerate(trees) if (kept / tree.sha256).exists()]

    def ran(number: int) -> None:
        (tmp_path / "node").mkdir(exist_ok=True)
        done = begin(tmp_path / "node", job(number), {"AMBRY_TRAIN_NODE_CACHE_MAX": "2.5M"})
        assert done.returncode == 0 and done.stdout == f"runs\ngoes on {number}\n", done.stderr

    bundle = write_bundle(tmp_path, job(0))
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
        assert 1 << 20 <= int(size.read_bytes().split()[0]) < 2 << 20, (
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


def test_who_finds_a_tree_made_meanwhile_does_not_wait_for_its_user_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both saw that it was not there; the other one made it, and trains with it, which waits for this one."""
    target = tmp_path / ("7" * 64 + "-job")
    lock = os.open(target.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
    locked = fcntl.flock

    def flock(file: int, kind: int) -> None:
        assert kind & fcntl.LOCK_NB, "it would wait for ever"
        if kind & fcntl.LOCK_EX and not target.is_dir():
            target.mkdir()
            locked(lock, fcntl.LOCK_SH)
        locked(file, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    try:
        told = {"id": "A" * 48, "sha256": "7" * 64}
        environ = {"AMBRY_TRAIN_NODE_CACHE": str(tmp_path), "AMBRY_ENDPOINTS": "http://127.0.0.1:1"}
        assert fetch_tree(told, environ, "job") == target
    finally:
        os.close(lock)


def test_a_node_without_room_for_another_process_says_so_and_does_not_try_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fork says it with the same error as a lock that somebody else has."""

    def full(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(node_trees, "_make", full)
    with pytest.raises(BlockingIOError):
        fetch_tree({"id": "A" * 48, "sha256": "8" * 64}, {"AMBRY_TRAIN_NODE_CACHE": str(tmp_path)}, "job")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_node_s_cache_on_a_file_system_without_locks_says_so(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """`[Errno 37] No locks available` said neither of what nor what to do."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for kind in ("sources", "venv"):
        with pytest.raises(NodeFailed, match=rf"^{tmp_path}/trees .*{os.strerror(number)}.*AMBRY_TRAIN_NODE_CACHE"):
            fetch_tree(
                {**asdict(sources), "kind": kind},
                {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")},
                "job",
            )


WRITES = """\
import sys
from pathlib import Path
here = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
print(here.joinpath("conf.txt").read_text(), sorted(path.name for path in here.iterdir()))
for name in ("conf.txt", "added.txt"):
    here.joinpath(name).unlink(missing_ok=True)
    here.joinpath(name).write_text("changed")
"""


@pytest.mark.parametrize("again", ["another job", "the same document"])
def test_what_a_script_writes_beside_itself_is_for_no_other_job(
    client: AmbryClient, sources: StoredTree, url: str, tmp_path: Path, again: str
) -> None:
    """Trees were laid once and never looked at again: the next job of the same sources ran what the first one had made of them,
    under the lineage of those that were sent.
    """
    (tmp_path / "src/train.py").write_text(WRITES)
    (tmp_path / "src/conf.txt").write_text("as sent")
    tree = store_tree(client, "sources", tmp_path / "src")
    for run in range(2):
        data = document(tree, url, arguments=[], run=run if again == "another job" else 0)
        done = begin(tmp_path / "node", data, {})
        assert (done.returncode, done.stdout) == (0, "as sent ['conf.txt', 'train.py']\n"), done.stderr
    left = [path for path in (tmp_path / "node/trees").iterdir() if path.is_dir()]
    assert len(left) == 1, "of the job before nothing stays"


def test_an_environment_that_a_job_changed_is_made_again(
    client: AmbryClient, sources: StoredTree, url: str, tmp_path: Path
) -> None:
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/python").symlink_to(sys.executable)
    (tmp_path / "env/conf.txt").write_text("as sent")
    (tmp_path / "src/train.py").write_text(WRITES)
    made = replace(store_tree(client, "sources", tmp_path / "env"), kind="venv")
    script = store_tree(client, "sources", tmp_path / "src", "train.py")
    there = tmp_path / "node/trees" / made.sha256
    for run in range(2):
        data = document(script, url, environment=asdict(made), arguments=[str(there)], run=run)
        done = begin(tmp_path / "node", data, {})
        assert (done.returncode, done.stdout) == (0, "as sent ['bin', 'conf.txt']\n"), done.stderr
    assert (there / "added.txt").exists()
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(there.parent)}
    assert fetch_tree(asdict(made), environ, "job") == there
    assert (there / "conf.txt").read_text() == "as sent" and (there / "conf.txt").stat().st_mode & 0o777 == 0o444


def change_in_place(tree: Path) -> None:
    before = (tree / "a.py").stat()
    (tree / "a.py").chmod(0o644)
    (tree / "a.py").write_text("VALUE = 2\n")
    (tree / "a.py").chmod(0o444)
    os.utime(tree / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        change_in_place,
        lambda tree: (tree / "a.py").chmod(0o755),
        lambda tree: (tree / "b.py").touch(),
        lambda tree: (tree / "empty").mkdir(),
        lambda tree: (tree / "a.py").unlink(),
        lambda tree: (tree / "a.py").rename(tree / "b.py"),
        lambda tree: (tree / "link").unlink() or (tree / "link").symlink_to("b.py"),
        lambda tree: shutil.rmtree(tree),
        lambda tree: tree.with_suffix(".lock").write_text("4096\n"),  # Of a release that did not look.
    ],
)
def test_whatever_was_changed_in_an_environment_is_seen(
    client: AmbryClient, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env/a.py").write_text("VALUE = 1\n")
    (tmp_path / "env/link").symlink_to("a.py")
    tree = asdict(replace(store_tree(client, "sources", tmp_path / "env"), kind="venv"))
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    made: list[Path] = []
    make = node_trees._make

    def counted(tree: Any, target: Path, environ: Any) -> None:
        made.append(target)
        make(tree, target, environ)

    monkeypatch.setattr(node_trees, "_make", counted)
    found = fetch_tree(tree, environ, "job")
    let_go()
    (found / "__pycache__").mkdir()
    (found / "__pycache__/a.cpython-312.pyc").touch()
    assert fetch_tree(tree, environ, "job") == found and made == [found], "what Python compiles is no change"
    let_go()
    change(found)
    assert fetch_tree(tree, environ, "job") == found and made == [found, found]
    let_go()
    assert sorted(path.name for path in found.iterdir()) == ["a.py", "link"]
    assert (found / "link").read_text() == "VALUE = 1\n"


def let_go() -> None:
    """As where the process that has the trees has ended."""
    while node_trees._used:
        os.close(node_trees._used.popitem()[1])


def test_a_job_has_an_environment_of_its_own_where_another_one_changed_that_of_all_and_goes_on(
    client: AmbryClient, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env/a.py").write_text("VALUE = 1\n")
    tree = asdict(replace(store_tree(client, "sources", tmp_path / "env"), kind="venv"))
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    monkeypatch.setattr(node_trees, "_IN_USE_S", 0.0)
    for_all = fetch_tree(tree, environ, "one")
    lock = node_trees._used.pop(for_all)
    change_in_place(for_all)
    own = fetch_tree(tree, environ, "two")
    assert own == for_all.with_name(f"{for_all.name}-two") and (own / "a.py").read_text() == "VALUE = 1\n"
    assert (for_all / "a.py").read_text() == "VALUE = 2\n", "somebody uses it"
    let_go()
    os.close(lock)
    assert fetch_tree(tree, environ, "three") == for_all and (for_all / "a.py").read_text() == "VALUE = 1\n"
    assert not own.exists() and not own.with_suffix(".lock").exists()
    let_go()


ENDED = """
for job in ("one", "two"):
    locked(0o555).rename(directory / ("8" * 64 + "-" + job))
    (directory / ("8" * 64 + f"-{job}.lock")).touch()
(directory / ("9" * 64 + ".lock")).touch()
remove_unused(directory, 1 << 30)
print(sorted(os.listdir(directory)))
"""


def test_a_tree_goes_whatever_its_modes_are(tmp_path: Path) -> None:
    """A directory that may not be written stayed, and what lay in it got into the next tree of the same sources; the lock of a
    tree that had gone stayed for ever.
    """
    for each in (tmp_path, *tmp_path.parents):  # Those of pytest are of mode 0700.
        if not (mode := each.stat().st_mode) & 0o001:
            each.chmod(mode | 0o011)
    assert as_nobody(ENDED, tmp_path) == "[]\n"


def test_nothing_is_unpacked_among_what_cannot_be_removed(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f"trees/{sources.sha256}-job.unpacked"
    (left / "new").mkdir(parents=True)
    monkeypatch.setattr(node_trees, "remove_tree", lambda _: None)
    environ = {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    with pytest.raises(
        NodeFailed, match=f"{left} was left by another job and cannot be removed by this one; remove it"
    ):
        fetch_tree(asdict(sources), environ, "job")


def test_who_waits_for_a_process_that_stands_still_says_so_and_does_not_wait_for_ever(
    sources: StoredTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All jobs of a node waited without a word for a process that was stopped while it made a tree."""
    lock = os.open(tmp_path / f"{sources.sha256}-job.lock", os.O_RDWR | os.O_CREAT)
    os.write(lock, b"process 4711\n")
    fcntl.flock(lock, fcntl.LOCK_EX)
    times = iter(range(0, 1_000_000, 7))
    monkeypatch.setattr("time.monotonic", lambda: float(next(times)))
    monkeypatch.setattr("time.sleep", lambda _: None)
    try:
        with pytest.raises(NodeFailed, match=r"process 4711 has been making .* for 7,\d+ s and has not ended"):
            fetch_tree(asdict(sources), {"AMBRY_TRAIN_NODE_CACHE": str(tmp_path)}, "job")
    finally:
        os.close(lock)
    told = f"ambry train: waits for process 4711 of this node, which makes {tmp_path / sources.sha256}-job\n"
    assert capsys.readouterr().err == told


def test_a_cache_may_be_in_the_home_of_the_node(
    sources: StoredTree, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves the ~ of `--env NAME=~/trees` as it is: the trees were in a directory called ~."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = fetch_tree(asdict(sources), {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": "~/trees"}, "job")
    assert found.parent == tmp_path / "home" / "trees" and not (tmp_path / "~").exists()
    with pytest.raises(NodeFailed, match=r"AMBRY_TRAIN_NODE_CACHE is '~nobody-here/x', .* write the whole path"):
        fetch_tree(asdict(sources), {"AMBRY_ENDPOINTS": url, "AMBRY_TRAIN_NODE_CACHE": "~nobody-here/x"}, "job")
