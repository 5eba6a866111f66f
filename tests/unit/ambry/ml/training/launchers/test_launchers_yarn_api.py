"""What asks the web servers of YARN gets an answer or an OSError, whatever comes back."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ambry.ml.training.launchers import yarn_api
from ambry.ml.training.launchers.yarn_logs import ContainerLogs
from tests.support.bad_answers import BAD, answering, http


@pytest.mark.parametrize("kind", BAD)
def test_whatever_comes_back_is_an_error_of_the_system(kind: str) -> None:
    with answering(lambda _: BAD[kind]) as web:
        with pytest.raises(OSError):
            yarn_api.ask(f"{web}/ws")
        assert yarn_api.kill(web, "application_1_1", {"HADOOP_USER_NAME": "me"})


def test_a_user_that_is_a_number_cannot_end_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a KeyError in the end of a job that was interrupted."""
    monkeypatch.setattr(yarn_api, "login_name", lambda: "")
    with answering(lambda _: http(b"{}")) as web:
        assert "has no name for the user" in yarn_api.kill(web, "application_1_1", {})
        assert yarn_api.kill(web, "application_1_1", {"HADOOP_USER_NAME": "me"}) == ""


def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yarn_api, "ANSWER_BYTES_MAX", 1000)
    with answering(lambda target: http(bytes(int(target[1:])))) as web:
        assert yarn_api.ask(f"{web}/1000") == bytes(1000)
        with pytest.raises(ConnectionError, match="more than 1000 bytes"):
            yarn_api.ask(f"{web}/1001")


def log(text: bytes, end: int | None = None) -> bytes:
    return b"LogLength:%d\nLogContents:\n%sEnd of LogType:" % (len(text) if end is None else end, text)


def test_logs_of_containers_come_whatever_other_nodes_answer() -> None:
    """A node that died in an answer ended the thread that follows all of them, with a traceback."""
    sizes = {"containerLogsInfo": {"containerLogInfo": [{"fileName": "stdout", "fileSize": 4}]}}

    def answer(target: str) -> bytes:
        return http(json.dumps(sizes).encode() if target.endswith("/logs") else log(b"one\n"))

    shown: list[str] = []
    with answering(answer) as well, answering(lambda _: BAD["no HTTP"]) as bad, ContainerLogs(shown.append) as logs:
        for number, web in enumerate((bad, well, bad)):
            assert logs.add(f"worker {number}", f"{web}/node/containerlogs/container_{number}/me")
    assert shown == ["worker 1: one"]


def test_a_node_that_is_silent_costs_one_wait_and_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 containers of a node that is away were asked one by one, and who told of a new one waited for all of them."""
    monkeypatch.setattr(yarn_api, "_TIMEOUT_S", 0.5)
    asked: list[str] = []

    def silent(target: str) -> None:
        asked.append(target)

    with answering(silent) as web:
        logs = ContainerLogs(lambda _: None)
        for number in range(64):
            logs.add(f"worker {number}", f"{web}/node/containerlogs/container_{number}/me")
        looking = threading.Thread(target=logs.look)
        looking.start()
        until = time.monotonic() + 20
        while not asked and time.monotonic() < until:
            time.sleep(0.01)
        assert logs.add("another", f"{web}/node/containerlogs/container_99/me") and looking.is_alive()
        looking.join(30)
        assert not looking.is_alive() and len(asked) <= 16


def test_one_that_stands_by_is_followed_to_the_active_one_also_to_end_an_application() -> None:
    """urllib follows a GET: the 307 of a PUT was why YARN had not ended it."""
    asked: list[str] = []

    def active(target: str) -> bytes:
        asked.append(target)
        return http(b"{}")

    with answering(active) as web:

        def stands_by(target: str) -> bytes:
            return http(b"moved", f"307 Temporary Redirect\r\nLocation: {web}{target}")

        with answering(stands_by) as first:
            assert yarn_api.kill(first, "application_1_1", {"HADOOP_USER_NAME": "me"}) == ""
            assert yarn_api.ask(f"{first}/ws") == b"{}"
        with socket.create_server(("127.0.0.1", 0)) as server:
            away = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert yarn_api.answering([away, web]) == web
    assert asked[0] == "/ws/v1/cluster/apps/application_1_1/state?user.name=me"
    assert yarn_api.answering([away]) == away and yarn_api.answering([]) == ""


def test_the_active_one_is_asked_by_its_own_name() -> None:
    """A server with TLS, or several names, refuses another one's Host."""
    heads: list[dict[str, str]] = []

    class Active(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            heads.append({**self.headers, "body": self.rfile.read(int(self.headers["Content-Length"])).decode()})
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Active) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        web = f"localhost:{server.server_port}"

        def stands_by(target: str) -> bytes:
            return http(b"moved", f"307 Temporary Redirect\r\nLocation: http://{web}{target}")

        with answering(stands_by) as first:
            assert yarn_api.kill(first, "application_1_1", {"HADOOP_USER_NAME": "me"}) == ""
        server.shutdown()
    assert [(head["Host"], head["body"]) for head in heads] == [(web, '{"state": "KILLED"}')]


def test_a_bar_of_progress_is_shown_as_it_moves() -> None:
    """It was kept until the container had ended, and was put together anew at each look."""
    text = bytearray("0%\r1\u00e9".encode()[:-1])
    seen: list[str] = []

    def answer(target: str) -> bytes:
        sizes = {"containerLogsInfo": {"containerLogInfo": [{"fileName": "stdout", "fileSize": len(text)}]}}
        return http(json.dumps(sizes).encode() if target.endswith("/logs") else log(bytes(text)))

    with answering(answer) as web:
        logs = ContainerLogs(seen.append)
        assert logs.add("worker 0", f"{web}/node/containerlogs/container_1/me")
        logs.look()
        assert seen == ["worker 0: 0%"]
        text += "\u00e9".encode()[-1:] + b"%\r2%\r" + b"x" * 20_000
        with logs:
            logs.look()
            assert seen[1:4] == ["worker 0: 1\u00e9%", "worker 0: 2%", f"worker 0: {'x' * 16_384}"]
    assert seen[4:] == [f"worker 0: {'x' * 3_616}"]
