"""A job as TonY's client tells of it: a stand-in for Java prints what the real one did, and a server answers as YARN did."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.jobs import named_job
from ambry.ml.training.launchers import tony, yarn_logs
from ambry.ml.training.launchers.choice import LauncherSettings, launcher_of
from ambry.ml.training.launchers.launch import Launch, LaunchFailed
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.ml.training.launchers.yarn_logs import ContainerLogs, contents_in, sizes_in
from ambry.ml.training.remains import STAGED, held_directory, remove_left_behind
from ambry.ml.training.unpacking import REFUSED
from tests.unit.ambry.ml.training.test_training_jobs import JOB

APPLICATION = "application_1795847266519_0001"
CONTAINER = "container_1795847266519_0001_01_000003"
CLIENT = """\
SLF4J: Defaulting to no-operation (NOP) logger implementation
2026-11-28 06:28:39 INFO  TonyClient:345 - Submitting YARN application
2026-11-28 06:28:40 INFO  YarnClientImpl:287 - Submitted application {application}
2026-11-28 06:28:40 INFO  TonyClient:379 - ResourceManager web address for application: {url}/cluster/app/{application}
2026-11-28 06:28:44 INFO  TonyClient:1051 - ------  Application (re)starts, status of ALL tasks ------
2026-11-28 06:28:44 INFO  TonyClient:1129 - RUNNING, worker, 1, {url}/node/containerlogs/{container}/root
2026-11-28 06:28:46 INFO  TonyClient:1051 - ------  Application (re)starts, status of ALL tasks ------
2026-11-28 06:28:52 INFO  TonyClient:1129 - {state}, worker, 1, {url}/node/containerlogs/{container}/root
"""
TASK = "2026-11-28 06:28:52 INFO  TonyClient:1129 - RUNNING, worker, 1, {url}/node/containerlogs/{container}/root\n"
LOG = """\
2026-11-28 06:28:47 INFO  Utils:300 - Executing command: python3 ambry-node.pyz
worker 1 of 2 begins at step 30, by tony
[rank1]: RuntimeError: the data has no column 'age'
"""


class Yarn(BaseHTTPRequestHandler):
    """The pages of a ResourceManager and a NodeManager that are asked for."""

    log = LOG
    errors = ""
    """Of stderr; `log` is stdout."""
    late = 0
    app: dict[str, Any]
    killed: list[str]
    paths: list[str]
    refused = False
    unknown = False
    """It does not know any application."""

    def do_GET(self) -> None:
        if "/containers/" in self.path and self.path.endswith("/logs"):
            files = [
                {"fileName": "stdout", "fileSize": str(len(self.log) - self.late)},
                {"fileName": "stderr", "fileSize": str(len(self.errors))},
            ]
            told = {"containerLogsInfo": {"containerLogInfo": files, "containerId": CONTAINER}}
            self._answer(json.dumps(told))
        elif found := re.search(r"/logs/(stdout|stderr)\?size=-(\d+)", self.path):
            log = self.log if found[1] == "stdout" else self.errors
            last = log[-int(found[2]) :]
            head = (
                f"Container: {CONTAINER} on localhost:18041\nLogType:{found[1]}\nLogLength:{len(log)}\nLogContents:\n"
            )
            self._answer(f"{head}{last}End of LogType:{found[1]}.\n{'*' * 71}\n\n")
        elif self.path == "/ws/v1/cluster/metrics":
            self._answer('{"clusterMetrics": {"activeNodes": 0}}')
        elif self.path.endswith("/appattempts"):
            self._answer('{"appAttempts": {"appAttempt": [{"id": 1}, {"id": 2}]}}')
        elif self.unknown:
            self._answer("{}", 404)
        else:
            self._answer(json.dumps({"app": self.app}))

    def do_PUT(self) -> None:
        self.killed.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.paths.append(self.path)
        if self.refused:
            self._answer('{"RemoteException": {"message": "it is not yours"}}', 403)
        else:
            self._answer("{}")

    def _answer(self, text: str, code: int = 200) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def yarn() -> Iterator[str]:
    Yarn.app, Yarn.killed = {"state": "FINISHED", "finalStatus": "FAILED", "diagnostics": "No\nroom"}, []
    Yarn.paths = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Yarn)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Told:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.shown: list[str] = []


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))  # What others left on this machine is not ours.
    return Told()


def launched(tmp_path: Path, told: Told, java: str) -> tuple[TonyLauncher, Launch]:
    for name in ("jars", "hadoop", "job", "home/bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "jars/tony-core-0.4.7.jar").touch()
    (tmp_path / "hadoop/yarn-site.xml").write_text("<configuration/>")
    removes = f'case "$*" in *FsShell*) echo "$@" >> {tmp_path}/removed; exit 0;; esac\n'
    (tmp_path / "home/bin/java").write_text(f"#!/bin/sh\n{removes}umask > {tmp_path}/umask\n{java}")
    (tmp_path / "home/bin/java").chmod(0o755)
    job = named_job({**JOB, "job": "digits"})
    bundle = write_bundle(tmp_path / "job", job.encode(), key="ambry_secret")
    launch = Launch(
        job=job,
        directory=tmp_path / "job",
        bundle=bundle,
        environ={**os.environ, "JAVA_HOME": str(tmp_path / "home")},
        max_restarts=2,
        newest=lambda: None,
        tell=told.told.append,
        show=told.shown.append,
    )
    return TonyLauncher(jars=tmp_path / "jars", hadoop_conf=tmp_path / "hadoop"), launch


def says(url: str, state: str, code: int) -> str:
    lines = CLIENT.format(application=APPLICATION, url=url, container=CONTAINER, state=state)
    return f"cat <<'END'\n{lines}END\nexit {code}\n"


def test_a_job_is_followed_with_what_its_workers_print(yarn: str, told: Told, tmp_path: Path) -> None:
    launcher, launch = launched(tmp_path, told, says(yarn, "SUCCEEDED", 0))
    launcher.run(launch)
    assert told.told[:-1] == [
        "TonY's client begins, and hands the job to YARN",
        f"submitted to YARN as {APPLICATION}",
        f"{yarn}/cluster/app/{APPLICATION}",
        "worker 1 running",
        "all workers are started again",
        "worker 1 succeeded",
    ]
    assert told.told[-1].startswith(f"{APPLICATION} ended well after ")
    assert told.shown == [
        "worker 1: worker 1 of 2 begins at step 30, by tony",
        "worker 1: [rank1]: RuntimeError: the data has no column 'age'",
    ]
    sent = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "job/src").iterdir()}
    assert set(sent) == {"ambry-node.pyz", "job.json", "key"} and sent["key"] == 0o600
    assert "ambry_secret" not in (tmp_path / "job/tony.xml").read_text()
    assert f"{tmp_path}/jars/*" in (tmp_path / "job/conf/yarn-site.xml").read_text()
    assert (
        "<name>fs.permissions.umask-mode</name><value>077</value>" in (tmp_path / "job/conf/core-site.xml").read_text()
    )
    assert (tmp_path / "umask").read_text() == "0077\n"
    assert not (tmp_path / "removed").exists() and not (tmp_path / "job" / STAGED).exists()


def test_a_job_that_failed_says_what_the_worker_said_last(yarn: str, told: Told, tmp_path: Path) -> None:
    launcher, launch = launched(tmp_path, told, says(yarn, "FAILED", 255))
    with pytest.raises(LaunchFailed) as found:
        launcher.run(launch)
    assert str(found.value) == (f"{APPLICATION} failed: RuntimeError: the data has no column 'age'")
    assert found.value.goes_on
    assert Yarn.killed == []


def test_without_a_word_of_a_worker_it_is_what_yarn_says(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Yarn, "log", "nothing of it\n")
    launcher, launch = launched(tmp_path, told, says(yarn, "FAILED", 255))
    with pytest.raises(LaunchFailed, match=f"{APPLICATION} failed: No room$"):
        launcher.run(launch)


def test_what_a_worker_raised_and_went_on_from_is_not_why_it_failed(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = [
        "Traceback (most recent call last):",
        '  File "train.py", line 3, in <module>',
        "ValueError: a row was skipped",
    ]
    monkeypatch.setattr(Yarn, "log", "\n".join([*raised, *(f"step {step}: loss 0.1" for step in range(3000))]) + "\n")
    launcher, launch = launched(tmp_path, told, says(yarn, "FAILED", 255))
    with pytest.raises(LaunchFailed, match=f"{APPLICATION} failed: No room$"):
        launcher.run(launch)


def test_a_client_that_could_not_submit_says_why(yarn: str, told: Told, tmp_path: Path) -> None:
    launcher, launch = launched(tmp_path, told, "echo 'java.net.ConnectException: Connection refused'; exit 255")
    with pytest.raises(LaunchFailed, match=r"did not submit the job: java.net.ConnectException: Connection refused"):
        launcher.run(launch)


def test_an_application_that_nobody_follows_any_more_is_ended(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "somebody-else")  # As after su: YARN's clients are whom the process is.
    Yarn.app = {"state": "RUNNING"}
    launcher, launch = launched(tmp_path, told, says(yarn, "RUNNING", 0).replace("exit 0", "sleep 600"))

    def interrupted(line: str) -> None:
        if line == "worker 1 running":
            raise KeyboardInterrupt

    stopped = Launch(**{**{name: getattr(launch, name) for name in launch.__slots__}, "tell": interrupted})
    with pytest.raises(KeyboardInterrupt):
        launcher.run(stopped)
    assert Yarn.killed == ['{"state": "KILLED"}']
    assert Yarn.paths[0].endswith(f"/state?user.name={pwd.getpwuid(os.geteuid()).pw_name}")
    removed = (tmp_path / "removed").read_text()
    assert removed.endswith(f" org.apache.hadoop.fs.FsShell -rm -r -f -skipTrash .tony/{APPLICATION}\n")


def test_an_application_is_noted_before_anybody_hears_of_it(yarn: str, told: Told, tmp_path: Path) -> None:
    """Between the client's two lines nothing knew where it is: it went on, and what it staged stayed."""
    Yarn.app = {"state": "RUNNING"}
    java = f"echo '- Submitted application {APPLICATION}'; sleep 600"
    launcher, launch = launched(tmp_path, told, java)
    configured(tmp_path, yarn)
    noted: list[str] = []

    def interrupted(line: str) -> None:
        if line.startswith("submitted to YARN"):
            noted.append((tmp_path / "job" / STAGED).read_text())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher.run(replace(launch, tell=interrupted))
    whose = " ".join((launch.job.folder, *launch.job.endpoints))
    assert [json.loads(each) for each in noted] == [{"application": APPLICATION, "web": yarn, "job": whose}]
    assert Yarn.killed == ['{"state": "KILLED"}']


def test_one_that_was_left_of_a_yarn_that_nobody_knows_is_told(yarn: str, told: Told, tmp_path: Path) -> None:
    launcher, launch = launched(tmp_path, told, says(yarn, "SUCCEEDED", 0))
    with held_directory() as left:
        (left / STAGED).write_text(json.dumps({"application": "application_1_0007", "web": "", "job": "this"}))
    launcher.run(launch)
    assert "yarn application -kill application_1_0007; hdfs dfs -rm -r .tony/application_1_0007" in "".join(told.told)


def test_that_yarn_did_not_end_it_is_told_and_what_is_staged_stays(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Yarn.app = {"state": "RUNNING"}
    monkeypatch.setattr(Yarn, "refused", True)
    launcher, launch = launched(tmp_path, told, says(yarn, "RUNNING", 255))
    with pytest.raises(LaunchFailed):
        launcher.run(launch)
    assert told.told[-1] == (
        f"YARN did not end {APPLICATION}, which may go on: 403 Forbidden: it is not yours; "
        f"yarn application -kill {APPLICATION}"
    )
    assert not (tmp_path / "removed").exists() and (tmp_path / "job" / STAGED).exists()


@pytest.mark.parametrize(("state", "of"), [("KILLED", "another"), ("RUNNING", "another"), ("RUNNING", "this")])
def test_what_a_killed_submitter_left_is_removed_when_its_application_has_ended(
    yarn: str, told: Told, tmp_path: Path, state: str, of: str
) -> None:
    """An application of this very job is ended, as nobody would publish what it makes."""
    launcher, launch = launched(tmp_path, told, says(yarn, "SUCCEEDED", 0))
    whose = " ".join((launch.job.folder, *launch.job.endpoints)) if of == "this" else "another"
    with held_directory() as left:
        (left / STAGED).write_text(json.dumps({"application": "application_1_0007", "web": yarn, "job": whose}))
        (left / "conf").mkdir()
        launcher.run(launch)
        assert not (tmp_path / "removed").exists()  # Somebody has it.
    Yarn.app = {"state": state}
    (tmp_path / "again").mkdir()
    launcher.run(replace(launch, directory=tmp_path / "again"))
    assert any("application_1_0007/state?" in path for path in Yarn.paths) == (of == "this")
    if state == "KILLED" or of == "this":
        assert f"{left}/conf:" in (removed := (tmp_path / "removed").read_text())
        assert removed.endswith(" .tony/application_1_0007\n") and not left.exists()
    else:
        assert not (tmp_path / "removed").exists() and left.exists()
        assert "application_1_0007, whose submitter was killed, is RUNNING" in "\n".join(told.told)


def configured(tmp_path: Path, yarn: str) -> None:
    site = f"<name>yarn.resourcemanager.webapp.address</name><value>{yarn.removeprefix('http://')}</value>"
    (tmp_path / "hadoop/yarn-site.xml").write_text(f"<configuration><property>{site}</property></configuration>")


KILLED = """\
import os, signal, subprocess, sys
from pathlib import Path
from ambry.ml.training.launchers.launch import Launch
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.jobs import named_job
from ambry.ml.training.remains import held_directory
from tests.unit.ambry.ml.training.test_training_jobs import JOB

root = Path(sys.argv[1])
with held_directory() as made:
    job = named_job({**JOB, "job": "digits"})
    bundle = write_bundle(made, job.encode(), key="ambry_secret")
    environ = {**os.environ, "JAVA_HOME": str(root / "home"), "SUBMITTER": str(os.getpid())}
    about = {"max_restarts": 2, "newest": lambda: 0, "tell": print, "show": print}
    launch = Launch(job=job, directory=made, bundle=bundle, environ=environ, **about)
    TonyLauncher(jars=root / "jars", hadoop_conf=root / "hadoop").run(launch)
"""
STAGES = """\
echo secret > application_1795847266519_0007-tony-src.zip
kill -9 $SUBMITTER
exec sleep 600
"""


@pytest.mark.parametrize("state", ["", "RUNNING"])
def test_what_was_staged_by_one_that_was_killed_before_it_was_submitted_is_removed(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Nothing named it: the next job removed the directory, and the store's key stayed in `.tony` for ever. Where YARN says
    that it was submitted all the same, it is ended.
    """
    launcher, launch = launched(tmp_path, told, STAGES)
    configured(tmp_path, yarn)
    environ = {**os.environ, "TMPDIR": str(tmp_path / "temp")}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environ, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    [left] = (tmp_path / "temp").glob("ambry-train-*")
    assert (left / "application_1795847266519_0007-tony-src.zip").is_file()
    remove_left_behind()  # By a job of any launcher.
    assert not [path for path in left.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    Yarn.app = {"state": state}
    monkeypatch.setattr(Yarn, "unknown", not state)
    script = tmp_path / "home/bin/java"
    script.write_text(script.read_text().replace(STAGES, "echo ConnectException; exit 1\n"))
    with pytest.raises(LaunchFailed, match="did not submit the job: ConnectException"):
        launcher.run(launch)
    assert (tmp_path / "removed").read_text().endswith(" -skipTrash .tony/application_1795847266519_0007\n")
    assert not left.exists() and len(Yarn.killed) == (state == "RUNNING")


def test_a_client_that_is_ended_before_it_said_what_it_submitted_leaves_nothing(
    yarn: str, told: Told, tmp_path: Path
) -> None:
    """What it staged was removed, and the application, which had it, went on."""
    Yarn.app = {"state": "ACCEPTED"}
    launcher, launch = launched(tmp_path, told, f"touch {APPLICATION}-tony-src.zip; echo staged; exec sleep 600\n")
    configured(tmp_path, yarn)
    followed = tony._Followed.read

    def interrupted(self: Any, line: str, logs: ContainerLogs) -> None:
        followed(self, line, logs)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tony._Followed, "read", interrupted)
        launcher.run(launch)
    assert Yarn.killed == ['{"state": "KILLED"}']
    assert (tmp_path / "removed").read_text().endswith(f" .tony/{APPLICATION}\n")


@pytest.mark.parametrize(("state", "killed"), [("ACCEPTED", 1), ("FINISHED", 0), ("", 1)])
def test_a_client_that_fails_after_yarn_took_its_application_leaves_none(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, killed: int
) -> None:
    """It had not said so yet: the application went on, without its owner and its files. That we ended it is not why."""
    Yarn.app = {"state": state, "finalStatus": "UNDEFINED", "diagnostics": "waits for its master"} if state else {}
    put = Yarn.do_PUT

    def ends(self: Yarn) -> None:
        Yarn.app = {"state": "KILLED", "finalStatus": "KILLED", "diagnostics": f"{APPLICATION} was killed by user root"}
        put(self)

    monkeypatch.setattr(Yarn, "do_PUT", ends)
    failed = "echo 'ERROR TonyClient: java.io.IOException: No space left on device'; echo; exit 1"
    launcher, launch = launched(tmp_path, told, f"touch {APPLICATION}-tony-src.zip; {failed}\n")
    configured(tmp_path, yarn)
    why = (
        f"TonY's client ended with exit code 1 before {APPLICATION} had ended: "
        if killed
        else "did not submit the job: "
    )
    with pytest.raises(LaunchFailed, match=f"{why}ERROR TonyClient: java.io.IOException: No space left on device"):
        launcher.run(launch)
    assert len(Yarn.killed) == killed
    assert (tmp_path / "removed").read_text().endswith(f" .tony/{APPLICATION}\n")


@pytest.mark.parametrize("unknown", [True, False], ids=["unknown", "away"])
def test_a_client_that_fails_as_yarn_does_not_answer_leaves_its_application_to_the_next_job(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: bool
) -> None:
    """What says that YARN may have taken it was removed, so that nothing ended it. One that YARN does not know is none."""
    monkeypatch.setattr(Yarn, "unknown", unknown)
    launcher, launch = launched(tmp_path, told, f"touch {APPLICATION}-tony-src.zip; echo 'ERROR no route'; exit 1\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        away = f"http://127.0.0.1:{server.getsockname()[1]}"
    configured(tmp_path, yarn if unknown else away)
    with pytest.raises(LaunchFailed, match="did not submit" if unknown else f"before {APPLICATION} had ended: ERROR"):
        launcher.run(launch)
    assert (launch.directory / STAGED).exists() != unknown
    assert any(f"did not end {APPLICATION}, which may go on" in line for line in told.told) != unknown


def test_what_the_store_refuses_a_worker_for_good_ends_the_job(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TonY began all workers again, three times, each of which was refused."""
    monkeypatch.setattr(tony, "LOOK_S", 0.02)
    monkeypatch.setattr(Yarn, "log", f"[rank0]: {REFUSED}QuotaExceeded: the account is full\n")
    Yarn.app = {"state": "RUNNING"}
    launcher, launch = launched(tmp_path, told, says(yarn, "RUNNING", 0).replace("exit 0", "exec sleep 600"))
    with pytest.raises(
        LaunchFailed,
        match=r"^what a worker asked is refused for good.* QuotaExceeded: the account is full; mend that, and submit",
    ):
        launcher.run(launch)
    assert Yarn.killed == ['{"state": "KILLED"}']
    assert (tmp_path / "removed").read_text().endswith(f" .tony/{APPLICATION}\n")


def test_a_script_that_fails_as_before_ends_the_job(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TonY's master began all workers again, three times. Its executors say with which exit code a script ended."""
    monkeypatch.setattr(tony, "LOOK_S", 0.02)
    ended = "2026-11-28 06:28:51 INFO  TaskExecutor:230 - Child process exited with exit code 1\n"
    monkeypatch.setattr(Yarn, "log", f"{LOG}{ended}")
    monkeypatch.setattr(Yarn, "errors", "[rank1]: ValueError: the data has no column 'age'\n")
    Yarn.app = {"state": "RUNNING"}
    again = CONTAINER.replace("_000003", "_000006")
    java = says(yarn, "RUNNING", 0).replace(
        "END\nexit 0", f"{TASK.format(url=yarn, container=again)}END\nexec sleep 20"
    )
    launcher, launch = launched(tmp_path, told, java)
    with pytest.raises(LaunchFailed) as failed:
        launcher.run(replace(launch, newest=lambda: 30))
    assert failed.value.message.startswith(
        "worker 1 ended with exit code 1: ValueError: the data has no column 'age'; an attempt before ended so, and there is "
        "no newer checkpoint than that of step 30, so that no restart is of use; mend that"
    )
    assert Yarn.killed == ['{"state": "KILLED"}'] and not any("TaskExecutor" in line for line in told.shown)


def test_what_a_script_printed_beside_hides_nothing_of_what_it_raised(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More lines than are kept, in the same look as its traceback, and one that reads as an error."""
    monkeypatch.setattr(tony, "LOOK_S", 0.02)
    monkeypatch.setattr(yarn_logs, "LOOK_S", 0.02)
    ended = "2026-11-28 06:28:51 INFO  TaskExecutor:230 - Child process exited with exit code 1\n"
    monkeypatch.setattr(Yarn, "log", "".join(f"row {row}\n" for row in range(300)) + "ValueError: row x\n" + ended)
    monkeypatch.setattr(Yarn, "errors", f"Traceback (most recent call last):\n  File x\nKeyError: '{'a' * 3000}'\n")
    Yarn.app = {"state": "RUNNING"}
    again = CONTAINER.replace("_000003", "_000006")
    java = says(yarn, "RUNNING", 0).replace(
        "END\nexit 0", f"{TASK.format(url=yarn, container=again)}END\nexec sleep 20"
    )
    launcher, launch = launched(tmp_path, told, java)
    with pytest.raises(LaunchFailed) as failed:
        launcher.run(replace(launch, newest=lambda: None))
    assert failed.value.message.startswith("worker 1 ended with exit code 1: KeyError: 'aaa")
    assert "an attempt before ended so" in failed.value.message and len(failed.value.message) < 1_500
    shown = [line[:28] for line in told.shown if line.endswith((" row 299", " row x")) or "KeyError" in line]
    assert shown[:3] == ["worker 1: row 299", "worker 1: ValueError: row x", "worker 1: KeyError: 'aaaaaaa"]


def test_what_runs_beside_the_workers_ends_no_job(told: Told, tmp_path: Path) -> None:
    """Of a TensorBoard that TonY starts beside them it goes on without."""
    _, launch = launched(tmp_path, told, "")
    followed = tony._Followed(launch, ())
    for name in ("tensorboard 0", "worker 0", "tensorboard 0", "chief 0"):
        followed.task_ended(name, 1, "KeyError: 'age'")
    assert not followed._vain
    followed.task_ended("chief 0", 1, "KeyError: 'age'")
    assert followed._vain.startswith("chief 0 ended with exit code 1: KeyError: 'age'; an attempt before ended so")


def test_a_user_that_is_a_number_is_refused_as_hadoops_client_would(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said "LoginException: java.lang.NullPointerException: invalid null input: name", HADOOP_USER_NAME or not."""
    monkeypatch.setattr(tony, "login_name", lambda: "")
    launcher, launch = launched(tmp_path, told, says(yarn, "SUCCEEDED", 0))
    with pytest.raises(
        LaunchFailed, match=rf"does not run as the user {os.geteuid()}, for whom this machine has no name"
    ):
        launcher.run(launch)


def test_what_is_missing_is_told(told: Told, tmp_path: Path) -> None:
    launcher, launch = launched(tmp_path, told, "")
    (tmp_path / "jars/tony-core-0.4.7.jar").unlink()
    with pytest.raises(InvalidRequest, match="has no tony-core-"):
        launcher.run(launch)
    for said, match in ((LauncherSettings(), "--hadoop-conf"), (LauncherSettings(hadoop_conf=tmp_path), "--jars")):
        with pytest.raises(InvalidRequest, match=match):
            launcher_of("tony", said)
    assert isinstance(launcher_of("tony", LauncherSettings(hadoop_conf=tmp_path, jars=tmp_path)), TonyLauncher)


def test_lines_that_come_in_pieces_are_whole(yarn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(Yarn, "log", "one\ntw")
    monkeypatch.setattr(Yarn, "late", 4)  # It has grown before the log itself is asked for.
    logs = ContainerLogs(shown.append)
    assert logs.add("worker 0", f"{yarn}/node/containerlogs/{CONTAINER}/root")
    assert not logs.add("worker 0", f"{yarn}/node/containerlogs/{CONTAINER}/root")
    assert not logs.add("worker 1", f"{yarn}/somewhere")
    logs.look()
    monkeypatch.setattr(Yarn, "log", "one\ntwo\nthr")
    with logs:
        logs.look()
    assert shown == ["worker 0: one", "worker 0: two", "worker 0: thr"]


def test_answers_of_other_forms_are_nothing() -> None:
    assert contents_in(b"not found") is None
    assert sizes_in({"containerLogsInfo": [{"containerLogInfo": [{"fileName": "a", "fileSize": "3"}]}]}) == {"a": 3}
    assert sizes_in({"containerLogsInfo": []}) == {}


def test_what_yarn_says_of_an_application_in_another_form_is_nothing(yarn: str, told: Told, tmp_path: Path) -> None:
    """It was a TypeError out of the end of a job."""
    Yarn.app = [1]  # type: ignore[assignment]
    launcher, launch = launched(tmp_path, told, says(yarn, "RUNNING", 255))
    with pytest.raises(LaunchFailed, match="ended with exit code 255"):
        launcher.run(launch)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED"])
def test_a_client_that_waits_for_a_master_that_is_gone_is_ended_and_yarn_decides(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """TonY 0.4.7 whose master was killed: YARN starts another one, which ends well, and the client asks the first for ever."""
    monkeypatch.setattr(tony, "LOOK_S", 0.02)
    monkeypatch.setattr(tony, "CLIENT_TIMEOUT_S", 0.1)
    Yarn.app = {"state": "FINISHED", "finalStatus": status}
    launcher, launch = launched(tmp_path, told, says(yarn, "RUNNING", 0).replace("exit 0", "sleep 600"))
    if status == "SUCCEEDED":
        launcher.run(launch)
        assert told.told[-1].startswith(f"{APPLICATION} ended well after ")
    else:
        with pytest.raises(LaunchFailed, match=f"{APPLICATION} failed"):
            launcher.run(launch)
    assert Yarn.killed == []


def test_a_resource_manager_that_takes_over_is_asked_from_then_on(yarn: str, told: Told, tmp_path: Path) -> None:
    """The first one was asked to the end: an interrupted job went on."""
    Yarn.app = {"state": "RUNNING"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        away = f"http://127.0.0.1:{server.getsockname()[1]}"
    _, launch = launched(tmp_path, told, "")
    for webs in ((away, yarn), (yarn, away)):
        followed = tony._Followed(launch, webs)
        followed.read(f"INFO Submitted application {APPLICATION}", ContainerLogs(followed.show))
        followed.read(f"ResourceManager web address for application: {away}/cluster", ContainerLogs(followed.show))
        assert followed._about() == {"state": "RUNNING"}
        followed.read(f"ResourceManager web address for application: {away}/cluster", ContainerLogs(followed.show))
        followed.end(well=False)
        assert not followed.goes_on and Yarn.killed.pop() == '{"state": "KILLED"}' and Yarn.killed == []


def test_a_master_that_is_started_again_and_a_yarn_without_nodes_are_told(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tony, "LOOK_S", 0.02)
    Yarn.app = {"state": "RUNNING"}
    launcher, launch = launched(tmp_path, told, says(yarn, "RUNNING", 0).replace("exit 0", "sleep 600"))
    wanted = {f"the master of {APPLICATION} is started again, and all workers with it", tony.NO_NODES}

    def heard(line: str) -> None:
        wanted.discard(line)
        if not wanted:
            Yarn.app = {"state": "KILLED"}
            monkeypatch.setattr(tony, "CLIENT_TIMEOUT_S", 0.0)

    with pytest.raises(LaunchFailed):
        launcher.run(Launch(**{**{name: getattr(launch, name) for name in launch.__slots__}, "tell": heard}))
    assert wanted == set()


def test_what_a_job_waits_for_is_told_until_a_worker_is_there(
    yarn: str, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said nothing between its submission and its first worker, for as long as YARN had no room."""
    monkeypatch.setattr(tony, "LOOK_S", 0.02)
    Yarn.app = {"state": "ACCEPTED"}
    submitted = CLIENT.partition("(re)starts")[0].rpartition("\n")[0]
    client = submitted.format(application=APPLICATION, url=yarn)
    launcher, launch = launched(tmp_path, told, f"cat <<'END'\n{client}\nEND\nexec sleep 600\n")
    states = {tony.WAITS["ACCEPTED"]: "RUNNING", tony.WAITS["RUNNING"]: "KILLED"}

    def heard(line: str) -> None:
        told.told.append(line)
        if line in states:
            Yarn.app = {"state": states[line]}
            monkeypatch.setattr(tony, "CLIENT_TIMEOUT_S", 0.0)

    with pytest.raises(LaunchFailed):
        launcher.run(replace(launch, tell=heard))
    assert [line for line in told.told if line in states] == [*states]


@pytest.mark.parametrize("name", ["yarn-site.xml", "core-site.xml"])
def test_a_configuration_of_another_encoding_is_read_and_what_is_none_is_a_sentence(
    told: Told, tmp_path: Path, name: str
) -> None:
    """Of what is not UTF-8 it was a UnicodeDecodeError."""
    launcher, launch = launched(tmp_path, told, "exit 3")
    path = tmp_path / "hadoop" / name
    path.write_bytes(
        "<?xml version='1.0' encoding='ISO-8859-1'?><configuration><!-- gr\xfcn --></configuration>".encode("latin-1")
    )
    with pytest.raises(LaunchFailed, match="TonY did not submit the job"):
        launcher.run(launch)
    for broken in (
        b"<configuration><!-- \xfc --></configuration>",
        b"<?xml version='1.0' encoding='none'?><configuration/>",
    ):
        path.write_bytes(broken)
        with pytest.raises(InvalidRequest, match=f"{name} is no configuration of Hadoop"):
            launcher.run(replace(launch, directory=Path(tempfile.mkdtemp(dir=tmp_path))))


def test_what_a_killed_submitter_left_at_a_yarn_that_is_away_is_told(yarn: str, told: Told, tmp_path: Path) -> None:
    """It stayed for ever without a word; of two that take turns the one that answers is asked."""
    launcher, launch = launched(tmp_path, told, says(yarn, "SUCCEEDED", 0))
    with socket.create_server(("127.0.0.1", 0)) as server:
        away = f"127.0.0.1:{server.getsockname()[1]}"
    with held_directory() as left:
        (left / "conf").mkdir()
        noted = {"application": "application_1_0007", "web": f"http://{away}", "job": "another"}
        (left / STAGED).write_text(json.dumps(noted))
    launcher.run(launch)
    [said] = [line for line in told.told if "application_1_0007" in line]
    assert said.startswith(f"YARN at http://{away} does not say what became of application_1_0007") and left.exists()
    named = {"ha.enabled": "true", "ha.rm-ids": "a,b", "webapp.address.a": away, "webapp.address.b": yarn[7:]}
    properties = "".join(
        f"<property><name>yarn.resourcemanager.{name}</name><value>{value}</value></property>"
        for name, value in named.items()
    )
    (left / "conf/yarn-site.xml").write_text(f"<configuration>{properties}</configuration>")
    (tmp_path / "again").mkdir()
    launcher.run(replace(launch, directory=tmp_path / "again"))
    assert not left.exists() and (tmp_path / "removed").read_text().endswith(" .tony/application_1_0007\n")


def test_a_full_disk_names_the_file(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher, launch = launched(tmp_path, told, "exit 3")
    write = Path.write_text
    for name in ("core-site.xml", "yarn-site.xml", "tony.xml", STAGED):

        def full(path: Path, text: str, *how: Any, name: str = name) -> int:
            if path.name == name:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, text, *how)

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=name):
            launcher.run(replace(launch, directory=Path(tempfile.mkdtemp(dir=tmp_path))))
