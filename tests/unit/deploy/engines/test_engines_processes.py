"""Processes of an engine, with small programs in its place."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from deploy.engines import processes
from deploy.engines.jars import EngineError
from deploy.engines.processes import EngineProcess, fetched, free_ports, java
from tests.support.bad_answers import BAD, answering, http
from tests.support.waiting import eventually

WAITS = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"


def program(directory: Path, code: str, *, timeout_s: float = 60.0) -> EngineProcess:
    mark = directory / "ready"
    return EngineProcess("thing", [sys.executable, "-c", code, str(mark)], directory, mark.exists, timeout_s=timeout_s)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_is_ready_when_it_was_started_and_gone_when_it_was_stopped(tmp_path: Path) -> None:
    with program(tmp_path, WAITS) as running:
        pid = running.pid
        assert pid is not None and alive(pid) and (tmp_path / "ready").exists()
    assert running.pid is None and not alive(pid)
    running.stop()


def test_it_is_killed_and_started_again(tmp_path: Path) -> None:
    with program(tmp_path, WAITS) as running:
        first = running.pid
        running.kill()
        assert running.pid is None
        running.start()
        assert running.pid not in (None, first)


def test_one_that_ends_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"thing ended with 7; its log .*thing.log ends with:\n.*no bcprov"):
        program(tmp_path, "import sys; print('no bcprov'); sys.exit(7)").start()


def test_one_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    running = program(tmp_path, "import time; time.sleep(60)", timeout_s=0.3)
    with pytest.raises(EngineError, match="thing is not ready, and nothing moved for 0 s"):
        running.start()
    assert running.pid is None


def test_what_does_not_end_is_killed_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.2)
    code = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""
    with program(tmp_path, code) as running:
        pid = running.pid
        child = int(eventually(lambda: (tmp_path / "ready").read_text(), "the child runs"))
    assert pid is not None and not alive(pid)
    eventually(lambda: not alive(child) or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z", "it is gone")


def test_an_interrupt_while_it_ends_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = program(tmp_path, WAITS)
    running.start()
    process = running._process
    assert process is not None
    wait = process.wait

    def interrupted(timeout: float | None = None) -> int:
        if timeout is not None:
            raise KeyboardInterrupt
        return wait()

    monkeypatch.setattr(process, "wait", interrupted)
    monkeypatch.setattr(running, "_stop_signal", signal.SIGCONT)
    with pytest.raises(KeyboardInterrupt):
        running.stop()
    assert running.pid is None and not alive(process.pid)


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    running = EngineProcess("thing", [sys.executable, "-c", WAITS, str(tmp_path / "x")], tmp_path, interrupted)
    with pytest.raises(KeyboardInterrupt):
        running.start()
    eventually(lambda: not processes_of(tmp_path / "x"), "it is gone")


def processes_of(word: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(word) in path.read_bytes():
                found.append(path.parent.name)
    return found


def test_one_that_ends_later_is_told(tmp_path: Path) -> None:
    with program(tmp_path, WAITS) as running:
        running.check()
        running.log.write_text("out of memory")
        running.kill()
        with pytest.raises(EngineError, match=r"thing ended with -9; its log .*ends with:\n +out of memory"):
            running.check()
    running.check()


def test_it_is_stopped_by_the_signal_that_it_understands(tmp_path: Path) -> None:
    code = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, lambda *_: (pathlib.Path(sys.argv[1] + ".by").write_text("INT"), sys.exit(0)))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
    mark = tmp_path / "ready"
    command = [sys.executable, "-c", code, str(mark)]
    with EngineProcess("thing", command, tmp_path, mark.exists, stop_signal=signal.SIGINT):
        pass
    assert (tmp_path / "ready.by").read_text() == "INT"


def test_a_signal_may_be_another(tmp_path: Path) -> None:
    with program(tmp_path, WAITS) as running:
        running.kill(signal.SIGTERM)
        assert running.pid is None


def test_without_java_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no Java"):
        java(tmp_path, "Main", scratch=tmp_path / "tmp")
    (tmp_path / "java").write_text("")
    (tmp_path / "java").chmod(0o755)
    command = java(tmp_path / "jars", "Main", "x", scratch=tmp_path / "tmp", conf=tmp_path / "conf", heap="64m")
    assert f"-Djava.io.tmpdir={tmp_path}/tmp" in command and (tmp_path / "tmp").is_dir()
    assert command[0] == str(tmp_path / "java") and command[1] == "-Xmx64m"
    assert command[-4:] == ["-cp", f"{tmp_path}/conf:{tmp_path}/jars/*", "Main", "x"]


def test_ports_are_free_and_pages_that_do_not_answer_are_empty() -> None:
    ports = free_ports(5)
    # The kernel gives none of these to an outgoing connection while an engine starts.
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == 5 and max(ports) < max(first, 32_768)
    assert fetched(f"http://127.0.0.1:{ports[0]}/") == ""
    with socket.create_server(("127.0.0.1", ports[0])), pytest.MonkeyPatch.context() as patched:
        patched.setattr(processes, "PORTS", range(ports[0], ports[0] + 1))
        with pytest.raises(EngineError, match="only 0 are free; 1 are needed"):
            free_ports(1)


def test_a_page_is_whole_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PAGE_BYTES_MAX", 100)
    assert answered(http(b"whole")) == "whole" and answered(http(bytes(100))) == "\0" * 100
    assert answered(http(bytes(101))) == ""
    assert (
        answered(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + bytes(101) + b"\r\n0\r\n\r\n") == ""
    )
    for kind, sent in BAD.items():
        assert answered(sent) == "", kind


def answered(sent: bytes) -> str:
    with answering(lambda _: sent) as web:
        return fetched(f"{web}/")
