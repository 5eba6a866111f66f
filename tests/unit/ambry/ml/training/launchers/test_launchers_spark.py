"""Spark's configuration, the lines of workers, and the sentence that is made of what Spark raises."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.training.bundle import write_bundle
from ambry.ml.training.jobs import named_job
from ambry.ml.training.launchers import spark_driver, spark_task
from ambry.ml.training.launchers.attempts import FailedAttempt
from ambry.ml.training.launchers.choice import LauncherSettings, launcher_of
from ambry.ml.training.launchers.launch import MENDED, Launch, LaunchFailed
from ambry.ml.training.launchers.printed import LINE_CHARACTERS_MAX
from ambry.ml.training.launchers.spark import SparkLauncher, check_room, spark_conf
from ambry.ml.training.launchers.spark_driver import FAILED, TOLD, TRIED, WorkerLines, attempt_in, tried
from ambry.ml.training.launchers.spark_task import WorkerFailed, run_worker
from ambry.ml.training.unpacking import REFUSED
from tests.support.waiting import eventually
from tests.unit.ambry.ml.training.test_training_jobs import JOB

RAISED = """\
An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Could not recover from a failed barrier ResultStage.
Most recent failure reason: Stage failed because barrier task ResultTask(0, 1) finished unsuccessfully.
org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "/spark/worker.py", line 3375, in main
ambry.ml.training.launchers.spark_task.WorkerFailed: worker 1 ended {code}
worker 1 of 2 begins at step 0, by spark
[rank1]: RuntimeError: the data has no column 'age'

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:581)
"""

LOST = """\
An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Could not recover from a failed barrier ResultStage.
Most recent failure reason: Stage failed because barrier task ResultTask(0, 1) finished unsuccessfully.
ExecutorLostFailure (executor 2 exited unrelated to the running tasks) Reason: Container from a bad node: \
container_1_0001_01_000003 on host: n1. Exit status: 137.
Diagnostics: [2026-11-28 19:09:20.000]Container killed on request. Exit code is 137
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:3122)
"""

# Of executors whose NodeManager was killed: what YARN had laid beside them is gone, or what they had written.
CRASHED = """\
An error occurred while calling o5844.collectToPython.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 3 in stage 8.0 failed 6 times, most recent failure: \
Lost task 3.5 in stage 8.0 (TID 30) (localhost executor 6): org.apache.spark.SparkException: \
Python worker exited unexpectedly (crashed). \
Consider setting 'spark.sql.execution.pyspark.udf.faulthandler.enabled' or'spark.python.worker.faulthandler.enabled' \
configuration to 'true' for the better Python traceback.
\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator$$anonfun$1.applyOrElse(PythonRunner.scala:1136)
\tat java.base/java.io.DataInputStream.readInt(DataInputStream.java:381)
Caused by: java.io.IOException: Connection reset by peer
\tat java.base/sun.nio.ch.FileDispatcherImpl.write0(Native Method)
"""

GONE = """\
An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 86.0 failed 6 times, most recent failure: \
Lost task 0.5 in stage 86.0 (TID 214) (localhost executor 7): java.nio.file.NoSuchFileException: \
/yarn/usercache/root/appcache/application_1795902122899_0001/blockmgr-f0b36054-b9b0-4f7e-8a40-84985b4c1a93/14
\tat java.base/sun.nio.fs.UnixException.translateToIOException(UnixException.java:92)
\tat java.base/sun.nio.fs.UnixException.rethrowAsIOException(UnixException.java:106)
"""


def test_on_one_machine_and_on_yarn() -> None:
    jars = Path("/env/pyspark/jars")
    local = spark_conf(master="", workers=2, name="digits", jars=jars, settings={"spark.executor.memory": "1g"})
    assert local["spark.master"] == "local[2]" and local["spark.driver.host"] == "127.0.0.1"
    assert local["spark.executor.memory"] == "1g"
    assert spark_conf(master="yarn", workers=3, name="digits", jars=jars, settings={}) == {
        "spark.app.name": "digits",
        "spark.master": "yarn",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.executor.instances": "3",
        "spark.executor.cores": "1",
        "spark.executor.memory": "512m",
        "spark.executor.memoryOverhead": "2g",
        "spark.driver.memory": "512m",
        "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",
        "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "900",
        "spark.barrier.sync.timeout": "900s",
        "spark.ui.liveUpdate.period": "0",
        "spark.yarn.jars": "local:/env/pyspark/jars/*",
        "spark.yarn.am.memory": "384m",
    }
    with pytest.raises(InvalidRequest, match=r"'tony.x' is no setting of Spark"):
        spark_conf(master="", workers=1, name="a", jars=jars, settings={"tony.x": "1"})
    for master, workers in (("local", 2), ("local[2,4]", 3)):  # It looked for room for 15 minutes, four times.
        with pytest.raises(InvalidRequest, match=rf"of {workers} workers at once; say --master local\[{workers}\]"):
            check_room(master, workers)
        assert spark_conf(master=master, workers=workers, name="a", jars=jars, settings={})["spark.master"] == master, (
            "which tasks that are no barrier stage do not need"
        )
    assert spark_conf(master="local[*]", workers=1, name="a", jars=jars, settings={})["spark.master"] == "local[*]"
    conf = Path("/etc/hadoop/conf")
    made = launcher_of("spark", LauncherSettings(master="yarn", hadoop_conf=conf))
    assert made == SparkLauncher(master="yarn", hadoop_conf=conf)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (RAISED.format(code=1), "worker 1 ended with exit code 1: RuntimeError: the data has no column 'age'"),
        (RAISED.format(code=-9), "worker 1 was ended by SIGKILL"),
        (
            "x\n: org.apache.spark.SparkException: Job 0 cancelled\n",
            "org.apache.spark.SparkException: Job 0 cancelled",
        ),
        (
            LOST,
            "executor 2 was lost: Container from a bad node: container_1_0001_01_000003 on host: n1. Exit status: 137",
        ),
        (
            CRASHED,
            "executor 6 on localhost cannot run Python: it has lost its files, as it does when its NodeManager is killed, "
            "or has too little memory (spark.executor.memoryOverhead)",
        ),
        (
            GONE,
            "executor 7 on localhost has lost its files, as it does when its NodeManager is killed: "
            "/yarn/usercache/root/appcache/application_1795902122899_0001/blockmgr-f0b36054-b9b0-4f7e-8a40-84985b4c1a93/14 "
            "is gone",
        ),
        ("nothing of the kind", "nothing of the kind"),
    ],
)
def test_the_reason_is_that_of_the_worker(said: str, told: str) -> None:
    assert attempt_in(said).said == told


def test_lines_of_a_worker_that_are_empty_do_not_hide_its_reason() -> None:
    """Python puts one before what was raised while another error was handled, and a script prints some."""
    raised = "Traceback (most recent call last):\n  File 'train.py', line 3\n"
    said = RAISED.format(code=1).replace(
        "[rank1]:",
        f"\n{raised}KeyError: 'age'\n\nDuring it another came:\n\n{raised}ambry.errors.QuotaExceeded: full\n\nx",
    )
    said = said.replace("x RuntimeError", "x")
    assert attempt_in(said) == FailedAttempt(
        said="worker 1 ended with exit code 1: ambry.errors.QuotaExceeded: full",
        code=1,
        raised="ambry.errors.QuotaExceeded: full",
    )


def test_a_spark_that_is_gone_is_not_tried_again_and_the_reason_before_it_stays() -> None:
    """After the context had stopped each try failed at once, and the job with "stopped SparkContext" as its reason."""
    said = [RAISED.format(code=-9), "java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext."]
    told: list[FailedAttempt] = []
    runs: list[int] = []

    def run(attempt: int) -> None:
        runs.append(attempt)
        raise RuntimeError(said[min(attempt, 1)])

    failed = tried(run, lambda: len(runs) > 1, 3, told.append)
    assert failed is not None and (failed.message, failed.goes_on) == ("worker 1 was ended by SIGKILL", True)
    assert (runs, told) == ([0, 1], [FailedAttempt(said="worker 1 was ended by SIGKILL", code=-9)])
    runs.clear()
    failed = tried(run, lambda: True, 3, told.append)
    assert failed is not None and (failed.message, runs) == ("worker 1 was ended by SIGKILL", [0])
    assert tried(runs.append, lambda: False, 3, told.append) is None


def test_workers_that_the_store_refuses_something_for_good_are_not_started_again() -> None:
    said = RAISED.format(code=1).replace("[rank1]:", f"[rank1]: {REFUSED}QuotaExceeded: full\n\n[rank1]:")
    runs: list[int] = []

    def run(attempt: int) -> None:
        runs.append(attempt)
        raise RuntimeError(said)

    failed = tried(run, lambda: False, 3, lambda _: None)
    assert failed is not None and failed.message.startswith("what a worker asked is refused for good")
    assert failed.message.endswith(f": QuotaExceeded: full; {MENDED}") and (failed.goes_on, runs) == (False, [0])


def test_a_refusal_that_any_worker_prints_counts_whoever_fails_first() -> None:
    """A chief that ends by it closes its connections, by which another one may fail before."""
    lines = WorkerLines("127.0.0.1", lambda _: None)
    try:
        with socket.create_connection(("127.0.0.1", lines.server_address[1])) as worker:
            worker.sendall(f"{lines.token} 0\n[rank0]: {REFUSED}QuotaExceeded: full\nmore\n".encode())
        eventually(lambda: lines.refused, "the line came")
        runs: list[int] = []

        def run(attempt: int) -> None:
            runs.append(attempt)
            raise RuntimeError(RAISED.format(code=1))

        failed = tried(run, lambda: False, 3, lambda _: None, lambda: lines.refused)
        assert failed is not None and failed.message.endswith(f": QuotaExceeded: full; {MENDED}")
        assert runs == [0]
    finally:
        lines.shutdown()
        lines.server_close()


ALIKE = {"said": "worker 1 ended with exit code 1: ValueError: no", "code": 1, "raised": "ValueError: no"}
DRIVER = """\
import sys
print("{told}submitted to Spark as application_1_0001")
if {failed!r}: print({failed!r})
print("org.apache.spark.SparkException: Application application_1_0001 failed 2 times")
print("\\tat org.apache.spark.SparkContext.<init>(SparkContext.scala:632)\\n\\t... 12 more")
print("worker 0: \\tat org.mine.Main.run(Main.scala:1)")
print("Py4JNetworkError: Answer from Java side is empty")
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("failed", "reason", "goes_on"),
    [
        ("", "the driver ended with exit code 1: Py4JNetworkError: Answer from Java side is empty", True),
        (f'{FAILED}{{"why": "worker 1 was ended by SIGKILL", "goes_on": true}}', "worker 1 was ended by SIGKILL", True),
        (f'{FAILED}{{"why": "refused; mend that", "goes_on": false}}', "refused; mend that", False),
        (2 * f"{TRIED}{json.dumps(ALIKE)}\n", f"{ALIKE['said']}; an attempt before ended so, and there is no", False),
    ],
)
def test_the_reason_of_a_driver_that_ended_is_not_what_it_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: str, reason: str, goes_on: bool
) -> None:
    (tmp_path / "pyspark").mkdir()
    (tmp_path / "pyspark/__init__.py").touch()
    driver = tmp_path / "driver"
    driver.write_text(f"#!{sys.executable}\n{DRIVER.format(told=TOLD, failed=failed)}")
    driver.chmod(0o755)
    spark = types.ModuleType("pyspark")
    spark.__file__ = str(tmp_path / "pyspark/__init__.py")
    monkeypatch.setitem(sys.modules, "pyspark", spark)
    monkeypatch.setattr(sys, "executable", str(driver))
    monkeypatch.setattr("ambry.ml.training.launchers.launch.supervised", lambda command, *_: command)
    told: list[str] = []
    job = named_job({**JOB, "job": "digits"})
    launch = Launch(
        job=job,
        directory=tmp_path,
        bundle=write_bundle(tmp_path, job.encode()),
        environ=os.environ,
        max_restarts=1,
        newest=lambda: None,
        tell=told.append,
        show=told.append,
    )
    own_setting = {"spark.yarn.maxAppAttempts": "9"}
    with pytest.raises(LaunchFailed) as found:
        SparkLauncher(master="yarn", settings=own_setting).run(launch)
    assert str(found.value).startswith(reason) and found.value.goes_on == goes_on
    assert [line for line in told if line.endswith("; all workers are started again")] == (
        [f"{ALIKE['said']}; all workers are started again"] if TRIED in failed else []
    )
    if TRIED in failed:
        return
    shown = [line for line in told if "SparkException" in line or "\tat " in line or " more" in line]
    assert shown == ["worker 0: \tat org.mine.Main.run(Main.scala:1)"]
    written = json.loads((tmp_path / "spark.json").read_text())
    assert "host" not in written  # The driver asks Spark what it is.
    of_yarn = {"spark.hadoop.yarn.resourcemanager.am.max-attempts": "2"}  # One more than it may be restarted.
    assert {**of_yarn, **own_setting}.items() <= written["conf"].items()


def test_all_pieces_of_a_long_line_tell_whose_it_is_and_a_full_disk_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What workers send in pieces was cut once more by whose it is, and the rest of each was nobody's."""
    (tmp_path / "pyspark.py").touch()
    driver = tmp_path / "driver"
    driver.write_text(f"#!{sys.executable}\nprint('worker 3: ' + 'x' * {LINE_CHARACTERS_MAX})")
    driver.chmod(0o755)
    spark = types.ModuleType("pyspark")
    spark.__file__ = str(tmp_path / "pyspark.py")
    monkeypatch.setitem(sys.modules, "pyspark", spark)
    monkeypatch.setattr(sys, "executable", str(driver))
    monkeypatch.setattr("ambry.ml.training.launchers.launch.supervised", lambda command, *_: command)
    shown: list[str] = []
    job = named_job({**JOB, "job": "digits"})
    bundle = write_bundle(tmp_path, job.encode())
    launch = Launch(
        job=job,
        directory=tmp_path,
        bundle=bundle,
        environ=os.environ,
        max_restarts=1,
        newest=lambda: None,
        tell=print,
        show=shown.append,
    )
    SparkLauncher().run(launch)
    assert len(shown) == 2 and "".join(line.removeprefix("worker 3: ") for line in shown) == "x" * LINE_CHARACTERS_MAX
    assert all(line.startswith("worker 3: ") for line in shown)

    def full(path: Path, *_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"spark\.json"):
        SparkLauncher().run(launch)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"ambry-node\.pyz"):
        spark_task._write(tmp_path / "ambry-node.pyz", b"")


def test_a_spark_that_does_not_begin_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def session(_: object) -> None:
        raise RuntimeError(
            "An error occurred.\n: org.apache.spark.SparkException: Application a_1 failed 2 times\n\tat x"
        )

    monkeypatch.setattr(spark_driver, "_session", session)
    (tmp_path / "spark.json").write_text('{"conf": {}}')
    assert spark_driver.main(tmp_path) == 1
    told = capsys.readouterr().out
    assert json.loads(told.removeprefix(FAILED)) == {
        "why": "Spark did not begin: org.apache.spark.SparkException: Application a_1 failed 2 times",
        "goes_on": True,
    }


@pytest.fixture
def shown() -> Iterator[tuple[WorkerLines, list[str]]]:
    lines: list[str] = []
    server = WorkerLines("127.0.0.1", lines.append)
    yield server, lines
    server.shutdown()
    server.server_close()


def test_lines_of_workers_are_shown_and_those_of_strangers_are_not(shown: tuple[WorkerLines, list[str]]) -> None:
    server, lines = shown
    for token in ("0" * 32, server.token):
        with socket.create_connection(("127.0.0.1", server.server_address[1])) as link:
            link.sendall(f"{token} 1\nsaid with {token[:4]}\n".encode())
    eventually(lambda: bool(lines), "the line is shown")
    assert lines == [f"worker 1: said with {server.token[:4]}"] and server.heard == {"1"}


class Context:
    """What a task of a barrier stage knows, of two of which the other one is made up."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def partitionId(self) -> int:
        return self._rank

    def getTaskInfos(self) -> list[types.SimpleNamespace]:
        return [types.SimpleNamespace(address=f"10.0.0.{rank}:4000") for rank in (1, 2)]

    def allGather(self, said: str) -> list[str]:
        other = "10.0.0.1:5001 10.0.0.1:5002"
        return [other, said] if self._rank else [said, other]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    spark = types.SimpleNamespace(BarrierTaskContext=types.SimpleNamespace(get=lambda: Context(1)))
    monkeypatch.setitem(sys.modules, "pyspark", spark)
    monkeypatch.setenv("PYTHONPATH", "/spark/python")
    write_bundle(tmp_path, b"{}", key="ambry_secret")
    code = (
        "import json, os, sys\n"
        "names = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'AMBRY_TRAIN_LAUNCHER', 'ATTEMPT_NUMBER', 'PYTHONPATH')\n"
        "print(json.dumps({name: os.environ.get(name) for name in names}), flush=True)\n"
        "assert os.environ['AMBRY_TRAIN_PARENT'] == str(os.getppid())\n"
        "print(os.environ['AMBRY_TRAIN_PEERS'], oct(os.stat(os.path.dirname(sys.argv[0]) + '/key').st_mode), flush=True)\n"
        "sys.exit(int(os.environ.get('ENDS', '0')))\n"
    )
    return {"ambry-node.pyz": code.encode(), "key": b"ambry_secret"}


def test_a_task_is_a_worker_with_the_addresses_of_all(
    files: dict[str, bytes], shown: tuple[WorkerLines, list[str]]
) -> None:
    server, lines = shown
    listener = ("127.0.0.1", int(server.server_address[1]))
    [said] = run_worker(files, listener, server.token, 2)
    role, peers = said.splitlines()
    assert json.loads(role) == {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "5001",
        "AMBRY_TRAIN_LAUNCHER": "spark",
        "ATTEMPT_NUMBER": "2",
        "PYTHONPATH": None,
    }
    assert peers.startswith("10.0.0.1:5002,10.0.0.2:") and peers.endswith(" 0o100600")
    eventually(lambda: len(lines) == 2, "both lines are shown")


def test_a_task_whose_worker_ends_badly_fails_with_its_words_also_where_nobody_listens(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENDS", "7")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(WorkerFailed, match=r"(?s)worker 1 ended 7\n.*10\.0\.0\.1:5002"):
            run_worker(files, ("127.0.0.1", closed.getsockname()[1]), "token", 0)
    assert os.environ["PYTHONPATH"] == "/spark/python"
