"""Several processes of one frontend, for real."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.support.clusters import running_cluster
from tests.support.content import content
from tests.support.rest import call, metric, put
from tests.support.waiting import eventually

WORKERS = 2


@pytest.fixture
def frontend(tmp_path: Path) -> Any:
    with running_cluster(
        tmp_path,
        datacenters=1,
        partitions=2,
        overrides={"frontend": [f"frontend.workers={WORKERS}", "frontend.lame_duck_s=0.1"]},
    ) as cluster:
        yield cluster, cluster.frontends("dc1")[0]


def workers(member: Member) -> list[dict[str, Any]]:
    return list(call(member.admin_url, "GET", "/workers").json())


def serving(member: Member) -> list[dict[str, Any]] | None:
    found = workers(member)
    return found if all(each["serving"] for each in found) else None


def test_a_process_that_is_killed_costs_only_what_it_was_answering(frontend: tuple[LocalCluster, Member]) -> None:
    _, member = frontend
    body = content(1, 3_000)
    blob_id = put(member.url, body)
    before = workers(member)
    assert len(before) == WORKERS
    failures: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        # A connection for each request: what a dead process had accepted and not answered may be lost, nothing else.
        while not done.is_set():
            try:
                answer = call(member.url, "GET", f"/{blob_id}")
                assert (answer.status, answer.body) == (200, body)
            except Exception as error:
                failures.append(error)

    clients = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        os.kill(before[0]["pid"], signal.SIGKILL)
        after = eventually(
            lambda: found if (found := serving(member)) and found[0]["pid"] != before[0]["pid"] else None,
            "it is replaced",
        )
    finally:
        done.set()
    for client in clients:
        client.join()
    assert len(failures) <= len(clients), failures
    assert after[0]["last_end"] == "signal SIGKILL" and after[1]["pid"] == before[1]["pid"]
    assert call(member.url, "GET", f"/{blob_id}").body == body


def test_all_of_it_stops_when_asked_and_when_nobody_looks_after_it(frontend: tuple[LocalCluster, Member]) -> None:
    cluster, member = frontend
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids = [each["pid"] for each in workers(member)]
        cluster.kill(member.name, number)
        eventually(lambda pids=pids: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all are gone")  # type: ignore[misc]
        cluster.start(member.name)
        assert put(member.url, b"again")


def test_whoever_stops_all_processes_at_once_lets_them_finish_and_the_port_closes(
    frontend: tuple[LocalCluster, Member],
) -> None:
    cluster, member = frontend
    body = content(2, 100_000)
    pids = [each["pid"] for each in workers(member)]
    supervisor = cluster.pid(member.name)
    assert supervisor is not None
    with socket.create_connection(("127.0.0.1", member.port), timeout=20) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:50_000])
        eventually(lambda: metric(member.admin_url, "ambry_frontend_requests_in_flight"), "the upload is under way")
        for pid in (*pids, supervisor):  # as systemd does; the supervisor tells each once more
            os.kill(pid, signal.SIGTERM)
        eventually(lambda: refused(member.port), "nobody accepts any more, though an upload is finished")
        sock.sendall(body[50_000:])
        answer = b""
        while piece := sock.recv(65_536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 201 "), answer[:300]
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all of them are gone")
    eventually(lambda: cluster.pid(member.name) is None, "and who looked after them")


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False
