"""Clients that send or take badly, by the hundred, against a real frontend: its memory, and what others see (F12, F20-F22).

Each case once broke a frontend; the figures of that are in the tests. The memory is asserted, and that others are served; how
fast is printed (`pytest -s`), beside the same calls without the crowd. docs/testing.md has the figures of one run.
"""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from tests.fault.conftest import MakeCluster
from tests.support.content import content
from tests.support.crowd import MIB, Peak, address, anonymous_mib, crowd, memory_of, others, read_of, small_put
from tests.support.rest import call, metric, put
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault

BAR_MIB = 300_000_000 / MIB
QUIET_S = 2.0
COMING_S = 3.0
"""What a crowd sent is received and written, which is load like any other; then it stands still."""
STANDING_S = 4.0


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> LocalCluster:
    return make_cluster(datacenters=1)


def pid_of(cluster: LocalCluster, frontend: Member) -> int:
    pid = cluster.pid(frontend.name)
    assert pid is not None
    return pid


class Case:
    """One crowd: the calls of others before and during it, and the frontend's memory."""

    def __init__(self, cluster: LocalCluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.frontend = cluster.frontends()[0]
        self.url = self.frontend.url
        self.pid = pid_of(cluster, self.frontend)

    def run(self, look: Callable[[], int], **options: Any) -> Peak:
        quiet = others(look, seconds=QUIET_S, least=50)
        with memory_of(self.pid) as peak, crowd(self.url, **options):
            coming = others(look, seconds=COMING_S, least=20)
            standing = others(look, seconds=STANDING_S, least=20)
            admin = others(lambda: call(self.frontend.admin_url, "GET", "/healthz").status, seconds=0, least=20)
        print(
            f"\n{self.name}: {peak.before_mib:.0f} -> {peak.most_mib:.0f} MiB anonymous; others {quiet.figure()} "
            f"-> {coming.figure()} while it comes -> {standing.figure()}; admin {admin.figure()}"
        )
        assert coming.failures == standing.failures == []
        assert admin.failures == []
        assert peak.most_mib < BAR_MIB
        return peak


def test_uploads_that_announce_much_and_send_a_byte(cluster: LocalCluster) -> None:
    """520 of them once took a frontend from 94 to 2,138 MB and stopped every other upload."""
    case = Case(cluster, "520 stalled uploads")
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\na"
    case.run(small_put(case.url), count=520, sent=head)


def test_uploads_that_send_much_and_stall(cluster: LocalCluster) -> None:
    case = Case(cluster, "200 uploads that stall after 1 MB")
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n" + bytes(1_000_000)
    case.run(small_put(case.url), count=200, sent=head)


def test_connections_that_read_once_and_stay(make_cluster: MakeCluster) -> None:
    """1,000 that had read 1 MB each once held 1,034 MB: each kept its last answer."""
    cluster = make_cluster(datacenters=1, overrides={"frontend": ["frontend.header_timeout_s=300"]})
    case = Case(cluster, "1,000 idle connections that read 1 MB")
    blob_id = put(case.url, content(1, 1_000_000))
    request = f"GET /{blob_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with memory_of(case.pid) as peak, crowd(case.url, 1000, b"") as socks:
        for sock in socks:
            sock.setblocking(True)
            sock.settimeout(20)
            sock.sendall(request)
            left = 1_000_000
            while left > 0:
                part = sock.recv(1 << 20)
                assert part
                left -= len(part)
        idle_mib = anonymous_mib(case.pid)
    print(f"\n{case.name}: {peak.before_mib:.0f} -> {peak.most_mib:.0f} MiB anonymous, {idle_mib:.0f} when idle")
    assert peak.most_mib < BAR_MIB
    assert idle_mib < peak.before_mib + 64


def test_heads_that_do_not_end(cluster: LocalCluster) -> None:
    """300 of 127 headers with 16 KB each once held 1.18 GB."""
    case = Case(cluster, "300 unfinished heads of 2 MB")
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 16_000) for n in range(126))
    case.run(small_put(case.url), count=300, sent=head)


def test_heads_that_stop_below_their_bound(cluster: LocalCluster) -> None:
    case = Case(cluster, "1,000 unfinished heads of 60 KB")
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 10_000) for n in range(6))
    case.run(small_put(case.url), count=1000, sent=head)


def test_a_body_that_drips_is_ended(make_cluster: MakeCluster) -> None:
    """One byte every 25 s, each within the time for a stall, was never ended."""
    cluster = make_cluster(datacenters=1, overrides={"frontend": ["frontend.body_stall_timeout_s=4"]})
    url = cluster.frontends()[0].url
    with socket.create_connection(address(url), timeout=30) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        sock.settimeout(3)
        answer = b""
        for _ in range(10):
            sock.sendall(b"x")
            try:
                answer = sock.recv(4096)
                break
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer and b"Connection: close" in answer


def test_readers_that_take_nothing(cluster: LocalCluster) -> None:
    """1,300 once starved reads of 5 MB for 47 s."""
    case = Case(cluster, "1,300 readers that take nothing")
    blob_id = put(case.url, content(2, 5_000_000))
    request = f"GET /{blob_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    case.run(read_of(case.url, blob_id, 5_000_000), count=1300, sent=request, receive_buffer=4096)


def test_crowds_that_come_again_leave_nothing_behind(cluster: LocalCluster) -> None:
    """Each once left 65 MiB: what a reader had been handed stayed until the collector looked. The fourth passed the bound."""
    case = Case(cluster, "1,300 readers, four times")
    blob_id = put(case.url, content(2, 5_000_000))
    request = f"GET /{blob_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    after: list[float] = []

    def connections() -> float:
        return metric(case.frontend.admin_url, "ambry_frontend_connections")

    with memory_of(case.pid) as peak:
        for _ in range(4):
            with crowd(case.url, 1300, request, receive_buffer=4096):
                eventually(lambda: connections() == 1300, "all are connected", timeout_s=30)
                eventually(
                    lambda: metric(case.frontend.admin_url, "ambry_frontend_requests_in_flight") > 1000,
                    "most are answered",
                    timeout_s=30,
                )
            eventually(lambda: connections() == 0, "all are gone", timeout_s=60)
            after.append(anonymous_mib(case.pid))
    print(f"\n{case.name}: {peak.before_mib:.0f} -> {peak.most_mib:.0f} MiB anonymous, {after} after each")
    assert peak.most_mib < BAR_MIB
    assert after[-1] < after[0] + 64


def test_without_descriptors_nobody_is_reset_and_the_admin_port_answers(cluster: LocalCluster) -> None:
    """Connections were once reset without a word, and the admin port died with the rest."""
    frontend = cluster.frontends()[0]
    pid = pid_of(cluster, frontend)
    open_now = len(subprocess.run(["ls", f"/proc/{pid}/fd"], capture_output=True, check=True, text=True).stdout.split())
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 100, open_now + 100))
    with crowd(frontend.url, 400, b"") as socks:
        eventually(
            lambda: metric(frontend.admin_url, "ambry_accept_exhausted_total") > 0, "accepting paused", timeout_s=10
        )
        for _ in range(20):
            assert call(frontend.admin_url, "GET", "/healthz").status == 200
            assert call(frontend.admin_url, "GET", "/readyz").status == 200
        late = socks[-1]
        late.setblocking(True)
        late.settimeout(30)
        late.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for sock in socks[:-1]:
            sock.close()
        assert late.recv(4096).startswith(b"HTTP/1.1 200 "), "whoever waited is served when there is room"
    assert call(frontend.url, "POST", "/", b"x").status == 201


def test_above_the_number_of_connections_everybody_is_told(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(
        datacenters=1, overrides={"frontend": ["frontend.connections_max=50", "frontend.header_timeout_s=300"]}
    )
    frontend = cluster.frontends()[0]
    with crowd(frontend.url, 50, b""):
        connected: list[float] = []

        def full() -> bool:
            connected.append(metric(frontend.admin_url, "ambry_frontend_connections"))
            return connected[-1] == 50

        eventually(full, f"all are connected: {connected}")
        answers = [call(frontend.url, "GET", "/healthz") for _ in range(100)]
        assert {answer.status for answer in answers} == {503}
        assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
        assert call(frontend.admin_url, "GET", "/healthz").status == 200


def test_an_upload_that_runs_at_a_stop_finishes(make_cluster: MakeCluster) -> None:
    """Its bytes were once thrown away from the moment of SIGTERM on, so that none could finish."""
    cluster = make_cluster(datacenters=1)
    frontend = cluster.frontends()[0]
    body = content(3, 20 * MIB)
    stopping = threading.Event()

    def pieces() -> Any:
        for start in range(0, len(body), MIB):
            if start == 10 * MIB:
                stopping.set()
            if start > 10 * MIB:
                time.sleep(0.05)
            yield body[start : start + MIB]

    answers: list[Any] = []
    uploading = threading.Thread(
        target=lambda: answers.append(
            call(frontend.url, "POST", "/", pieces(), {"Content-Length": str(len(body))}, timeout_s=30)
        )
    )
    uploading.start()
    assert stopping.wait(20)
    assert cluster.kill(frontend.name, signal.SIGTERM) == 0
    uploading.join(30)
    assert [(answer.status, answer.headers["Connection"]) for answer in answers] == [(201, "close")]
    cluster.start(frontend.name)
    assert call(frontend.url, "GET", f"/{answers[0].blob_id}").body == body
