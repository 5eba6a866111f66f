"""Uploads in parts, and puts with keys, while frontends are killed between any two of their steps."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from ambry import AmbryClient
from ambry.client.sections import state_path
from ambry.rest import names
from deploy.local_cluster import LocalCluster
from frontend.metadata.spaces import LocalSpace
from tests.fault.test_space_returns import HASTE, abandon_an_upload, used_bytes
from tests.support.clusters import running_cluster, seed_of, shared_cluster
from tests.support.content import content
from tests.support.dying_frontend import Dying
from tests.support.planted_process import planted_in_children
from tests.support.rest import Answer, call, get, metric, put
from tests.support.upload_steps import ANNOUNCED, dies_at_step, hasty, notes_announced
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault

MIB = 1 << 20
SESSIONS = "frontend.uploads.sessions:Sessions"
LEFTOVERS = "frontend.uploads.leftovers:Leftovers"
KEYED = "frontend.idempotency.keys:KeyedPut"
QUICK = {"frontend": ["router.request_timeout_ms=3000", "router.memory_wait_ms=2000", "metadata.timeout_ms=3000"]}


@pytest.fixture(scope="module")
def announced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("announced") / "ids"
    file.touch()
    return file


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, announced: Path
) -> Iterator[LocalCluster]:
    """One datacenter with two frontends."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(ANNOUNCED, str(announced))
        with (
            planted_in_children(tmp_path_factory.mktemp("planted"), hasty, dies_at_step, notes_announced),
            shared_cluster(
                request, tmp_path_factory, datacenters=1, frontends=2, partitions=2, overrides=QUICK
            ) as cluster,
            AmbryClient(endpoints=[cluster.frontends()[0].url]) as client,
        ):
            client.create_container("default", "secret", encrypted=True)
            yield cluster


def _is_gone(url: str, blob_id: str) -> bool:
    return get(url, blob_id).status in (404, 410)


def done(answer: Answer) -> str:
    assert answer.status == 201, answer.body
    return answer.blob_id


@pytest.mark.parametrize(
    "step",
    [
        f"{SESSIONS}.note_chunks:before",
        f"{SESSIONS}.add_part:before",
        f"{SESSIONS}.add_part:after",
        f"{SESSIONS}.note_chunks:after",
        f"{SESSIONS}.complete:before",
        f"{SESSIONS}.complete:after",
        "frontend.uploads.completion:commit_composite:before",
        "frontend.uploads.completion:commit_composite:after",
        f"{SESSIONS}.finish:after",
    ],
)
@pytest.mark.parametrize("container", ["default", "secret"], ids=["plain", "encrypted"])
def test_a_session_goes_on_with_another_frontend_wherever_one_is_killed(
    pair: LocalCluster, step: str, container: str
) -> None:
    parts = [content(41, 5 * MIB), content(42, MIB + 7)]
    frontend = Dying(pair, step)
    into = {names.ACCOUNT_NAME: "default", names.CONTAINER_NAME: container}
    begun = json.loads(call(frontend.other, "POST", "/uploads", b"", into).body)
    path = f"/uploads/{begun['upload']}"
    assert call(frontend.other, "PUT", f"{path}/2", parts[1]).status == 200
    if "complete" in step or "commit" in step or "finish" in step:
        assert call(frontend.other, "PUT", f"{path}/1", parts[0]).status == 200
        frontend.dies("POST", f"{path}/complete", b"")
    else:
        frontend.dies("PUT", f"{path}/1", parts[0])
        arrived = [part["part"] for part in json.loads(call(frontend.other, "GET", path).body)["parts"]]
        assert arrived == ([1, 2] if step.endswith("add_part:after") else [2])
        assert call(frontend.other, "PUT", f"{path}/1", parts[0]).status == 200
    blob_id = done(call(frontend.other, "POST", f"{path}/complete", b""))
    assert blob_id == begun["id"]
    assert get(frontend.other, blob_id).body == b"".join(parts)
    frontend.again()
    assert done(call(frontend.url, "POST", f"{path}/complete", b"")) == blob_id
    assert get(frontend.url, blob_id).body == b"".join(parts)


def _left_of(cluster: LocalCluster, upload: str) -> tuple[int, int]:
    """Rows of a session that is not over, and of its parts."""
    (path,) = cluster.directory.glob("**/*.sqlite")
    session = bytes.fromhex(upload)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        counted = "SELECT count(*) FROM local WHERE space = ? AND substr(key, 1, ?) = ?"
        (sessions,) = database.execute(counted, (int(LocalSpace.SESSION), 17, b"s" + session)).fetchone()
        (parts,) = database.execute(counted, (int(LocalSpace.PART), 16, session)).fetchone()
    return sessions, parts


@pytest.mark.parametrize(
    "step",
    [
        f"{SESSIONS}.finish:before",
        f"{SESSIONS}.finish:after",
        "frontend.router.discards:Discards.bury:before",
        "frontend.router.discards:Discards.bury:after",
        f"{LEFTOVERS}.drop_parts:after",
        f"{LEFTOVERS}.note_cleaned:after",
    ],
)
def test_an_aborted_session_leaves_nothing_wherever_a_frontend_is_killed(pair: LocalCluster, step: str) -> None:
    frontend = Dying(pair, step)
    begun = json.loads(call(frontend.other, "POST", "/uploads", b"").body)
    path = f"/uploads/{begun['upload']}"
    for number in (1, 2):
        assert call(frontend.other, "PUT", f"{path}/{number}", content(number, MIB)).status == 200
    if "finish" in step:
        frontend.dies("DELETE", path, b"")
        assert call(frontend.other, "GET", path).status == (200 if step.endswith("before") else 410)
    # Again is the same: of one that is over there is nothing to abort.
    assert call(frontend.other, "DELETE", path).status == (410 if step.endswith("finish:after") else 202)
    if "finish" not in step:
        # It alone is there to let go of what was left, and dies of it.
        (other,) = (member.name for member in pair.frontends() if member.name != frontend.name)
        pair.kill(other)
        eventually(lambda: pair.pid(frontend.name) is None, "it died", timeout_s=60)
        pair.start(other)
    frontend.again()
    eventually(lambda: _left_of(pair, begun["upload"]) == (0, 0), "nothing is left of it", timeout_s=60)
    assert call(frontend.url, "GET", path).status == 410
    assert call(frontend.url, "POST", f"{path}/complete", b"").status == 410


@pytest.mark.parametrize(
    "step", [f"{KEYED}.announce:before", f"{KEYED}.announce:after", f"{KEYED}.keep:before", f"{KEYED}.keep:after"]
)
@pytest.mark.parametrize("size", [5, 5 * MIB], ids=["small", "large"])
def test_a_put_with_a_key_is_one_blob_wherever_a_frontend_is_killed(
    pair: LocalCluster, announced: Path, step: str, size: int
) -> None:
    body, headers = content(43, size), {"x-ambry-idempotency-key": f"{step} {size}"}
    before = len(announced.read_text().splitlines())
    frontend = Dying(pair, step)
    frontend.dies("POST", "/", body, headers)
    blob_id = done(call(frontend.other, "POST", "/", body, headers))
    frontend.again()
    assert done(call(frontend.url, "POST", "/", body, headers)) == blob_id
    assert get(frontend.url, blob_id).body == body
    tried = announced.read_text().splitlines()[before:]
    if step.endswith("keep:after"):
        assert tried == [blob_id], "it was acknowledged, and is not put again"
    elif size == 5:  # a large one may take a day, and so may what is left of it
        for left in set(tried) - {blob_id}:
            gone = partial(_is_gone, frontend.other, left)
            eventually(gone, "nothing stays of it", timeout_s=60)
    assert get(frontend.url, blob_id).body == body


def test_a_client_that_never_heard_the_answer_gets_the_first_blob_from_another_frontend(
    pair: LocalCluster, announced: Path
) -> None:
    frontend = Dying(pair, f"{KEYED}.keep:after")
    before = len(announced.read_text().splitlines())
    with AmbryClient(endpoints=[frontend.url, frontend.other]) as client:
        info = client.put(b"hello", idempotency_key="lost answer")
        assert client.get_bytes(info.id) == b"hello"
    assert announced.read_text().splitlines()[before:] == [str(info.id)], "it was put once, and told by another one"
    frontend.again()


def test_the_command_goes_on_after_a_kill(pair: LocalCluster, tmp_path: Path) -> None:
    for member in pair.frontends():
        pair.start(member.name)
    file = tmp_path / "model.bin"
    body = content(32, 300 * MIB + 3)
    file.write_bytes(body)
    state = state_path(file)
    first, second = (member.url for member in pair.frontends())
    arguments = [
        sys.executable,
        "-m",
        "ambry.cli.main",
        "put",
        str(file),
        "--output",
        "id",
        "--part-size",
        "2M",
        "--parallel",
        "2",
    ]
    running = subprocess.Popen([*arguments, "--endpoint", first], start_new_session=True)
    with AmbryClient(endpoints=[second]) as client:
        try:
            eventually(state.exists, "the upload began", timeout_s=30)
            upload = client.resume_upload(json.loads(state.read_text())["upload"])
            eventually(lambda: len(upload.parts()) > 5, "parts arrived", timeout_s=30)
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        pair.kill(pair.frontends()[0].name)
        assert upload.show().state == "open", "it was too quick to be killed on its way"
        before = {part.part for part in upload.parts()}
        # Not to be believed: a part that is not the file's is sent again.
        upload.write_part(min(before), b"something else")
        made = subprocess.run(
            [*arguments, "--endpoint", second], capture_output=True, text=True, timeout=120, check=True
        )
        info = client.head(made.stdout.strip())
        assert (info.id, info.size) == (upload.blob, len(body))
        with client.get(info.id) as reader:
            position = 0
            for chunk in reader.iter_chunks():
                assert chunk == body[position : position + len(chunk)]
                position += len(chunk)
        assert position == len(body)
        assert not state.exists()


def test_parts_outlive_sweeps_while_their_session_is_open_and_nothing_of_an_aborted_one_stays(tmp_path: Path) -> None:
    seed = seed_of("parts and sweeps")
    with running_cluster(tmp_path, datacenters=1, frontends=2, partitions=2, overrides=HASTE) as cluster:
        first, second = (member.url for member in cluster.frontends())
        swept = [(node.admin_url, "ambry_datanode_swept_chunks_total") for node in cluster.nodes()]
        uploads = []
        for number in range(2):
            path = f"/uploads/{json.loads(call(first, 'POST', '/uploads', b'').body)['upload']}"
            assert call(first, "PUT", f"{path}/1", content(seed + number, 20_000_000)).status == 200
            uploads.append(path)
        # Chunks that nobody holds, and that came later, are swept meanwhile.
        abandon_an_upload(cluster, seed + 5)
        eventually(lambda: all(metric(*each) for each in swept), "chunks are swept", timeout_s=60)
        done_path, aborted_path = uploads
        assert call(second, "PUT", f"{done_path}/2", b"and the rest").status == 200
        blob_id = done(call(second, "POST", f"{done_path}/complete", b""))
        assert get(second, blob_id).body == content(seed, 20_000_000) + b"and the rest"
        assert call(second, "DELETE", aborted_path).status == 202

        def too_full() -> list[str]:
            put(second, content(seed + 7, 30_000), {"x-ambry-ttl": "3"})
            bound = 20_000_000 + 2 * (4 << 20) + 2 * 2 * (2 << 20)
            return [f"{name}: {used:,} of {bound:,}" for name, used in used_bytes(cluster).items() if used > bound]

        eventually(lambda: not too_full(), "nothing of the aborted one stays", timeout_s=90)
        assert get(second, blob_id).body == content(seed, 20_000_000) + b"and the rest"
