"""Spark as an engine: what it lacks is told, and ready is when the master counts on its worker."""

from __future__ import annotations

import http.server
import importlib.util
import json
import threading
from pathlib import Path

import pytest

from deploy.engines.jars import EngineError
from deploy.engines.spark import SparkCluster, home_of_pyspark


def test_without_pyspark_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'ambry\[spark\]'"):
        home_of_pyspark()


def test_without_java_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="there is no java for Spark; `make engines`"):
        SparkCluster(tmp_path, tmp_path)


@pytest.mark.parametrize(("alive", "ready"), [(1, True), (0, False)])
def test_it_is_ready_when_the_master_counts_on_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alive: int, ready: bool
) -> None:
    for program in ("java", "bash"):
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = SparkCluster(tmp_path, tmp_path)
    assert not cluster._has_worker()  # nobody listens

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"aliveworkers": alive}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", int(cluster.url.rpartition(":")[2])), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert cluster._has_worker() is ready
        thread.join(60)
