"""The driver of a job on Spark, a process of its own: a barrier stage whose tasks are the workers, tried again if it fails.

    python -m ambry.ml.training.launchers.spark_driver DIRECTORY

The retry loop is here: Spark itself never tries a barrier stage again whose result is collected. `DIRECTORY` has the bundle and
`spark.json` (spark.py). Lines that begin with TOLD are said of the job; behind TRIED stands an attempt that failed before the
next one begins (FailedAttempt, in JSON), which whoever reads that may end; all others are what workers print. Exit code 1 after
the last try, with why it failed behind FAILED (`why`, and whether the job `goes_on`).
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from ambry.client import tree_removal
from ambry.ml.extras import needed
from ambry.ml.training.bundle import FILES
from ambry.ml.training.launchers import printed, spark_task
from ambry.ml.training.launchers.attempts import FailedAttempt
from ambry.ml.training.launchers.launch import SAID_MAX, LaunchFailed, refusal_in
from ambry.ml.training.launchers.spark_room import BOUND_MIN_S, NoRoom, RoomWatch, bound_of, no_room
from ambry.ml.training.launchers.torchrun import failed_attempt

TOLD = "ambry-train: "
TRIED = "ambry-train tried: "
FAILED = "ambry-train failed: "
_WORKER = re.compile(r"WorkerFailed: worker (\d+) ended (-?\d+)\n(.*)", re.DOTALL)
_JAVA = re.compile(r"\n\s*\n\tat ")
"""What follows the lines of the worker, some of which are empty."""
_LOST = re.compile(r"ExecutorLostFailure \((executor \S+) exited [^)]*\) Reason: ([^\n]+)")
_AT = re.compile(r"\((\S+) (executor \d+)\): ")
"""Where the task was that failed too often; on one machine there is no such executor."""
_GONE = re.compile(r"\b(?:NoSuchFile|FileNotFound)Exception: (/\S*/appcache/\S*)")
"""What YARN gives a container to write in."""
_CRASHED = "Python worker exited unexpectedly"
_STOPPED = "stopped SparkContext"
_LINE_MAX = 1 << 20


class WorkerLines(ThreadingTCPServer):
    """Takes what workers print, and shows it with whose it is."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, show: Callable[[str], None]) -> None:
        self.token = secrets.token_hex(16)
        self.show = show
        self.refused = ""
        """What the store refused one of them for good."""
        self.heard: set[str] = set()
        """The ranks of workers that came."""
        super().__init__((host, 0), _OneWorker)
        threading.Thread(target=self.serve_forever, name="ambry-worker-lines", daemon=True).start()


class _OneWorker(StreamRequestHandler):
    server: WorkerLines

    def handle(self) -> None:
        token, _, rank = self.rfile.readline(200).decode("ascii", "replace").strip().partition(" ")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return
        self.server.heard.add(rank)
        while line := self.rfile.readline(_LINE_MAX):
            if text := line.decode("utf-8", "replace").rstrip():
                told = f"worker {rank}: {text}"
                self.server.refused = self.server.refused or refusal_in(told)
                self.server.show(told)


def attempt_in(said: str) -> FailedAttempt:
    """Which worker failed and why, by what Spark raises, or which executor was lost, or its files; its first line for none."""
    found = _WORKER.search(said)
    if found is not None:
        return failed_attempt(found[1], int(found[2]), _JAVA.split(found[3], 1)[0].splitlines())
    if lost := lost_executor(said):
        return FailedAttempt(said=lost[:SAID_MAX])
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    said = next((line for line in lines if "Exception: " in line or "Error: " in line), lines[0] if lines else "")
    return FailedAttempt(said=said.removeprefix(": ")[:SAID_MAX])


def _refusal_of(said: str) -> str:
    """What the store refused the worker that failed for good; empty where it did not."""
    found = _WORKER.search(said)
    lines = _JAVA.split(found[3], 1)[0].splitlines() if found else ()
    return next(filter(None, map(refusal_in, lines)), "")


def lost_executor(said: str) -> str:
    """Which executor was lost and why, or goes on without its files, as after its NodeManager was killed; empty for neither."""
    if lost := _LOST.search(said):
        return f"{lost[1]} was lost: {lost[2].strip().rstrip('.')}"
    if not (at := _AT.search(said)):
        return ""
    if gone := _GONE.search(said):
        return f"{at[2]} on {at[1]} has lost its files, as it does when its NodeManager is killed: {gone[1]} is gone"
    if _CRASHED in said:
        # Without the libraries that YARN laid beside it, Python ends before there is anything that could say why.
        return (
            f"{at[2]} on {at[1]} cannot run Python: it has lost its files, as it does when its NodeManager is killed, "
            "or has too little memory (spark.executor.memoryOverhead)"
        )
    return ""


def tried(
    run: Callable[[int], None],
    stopped: Callable[[], bool],
    max_restarts: int,
    again: Callable[[FailedAttempt], None],
    refused: Callable[[], str] = str,
) -> LaunchFailed | None:
    """Run all workers until they end well; why they did not, or nothing. `again` takes how they failed before each next time.

    A Spark that is gone is not tried again, and neither is one that had no room, which was waited for already; nor workers
    one of which the store `refused` something for good, by what any of them printed: whom Spark names may be another one, whom
    the end of that one ended.
    """
    failed = FailedAttempt(said="")
    for attempt in range(max_restarts + 1):
        if attempt:
            again(failed)
        try:
            run(attempt)
            return None
        except NoRoom as error:
            return LaunchFailed(str(error), goes_on=True)
        except Exception as error:  # Py4J's, of many kinds
            if said := refused() or _refusal_of(str(error)):
                return LaunchFailed(said)
            gone, found = stopped(), attempt_in(str(error))
            # That it is gone is no reason: the one before it is.
            if not (gone and failed.said and _STOPPED in found.said):
                failed = found
            if gone:
                break
    return LaunchFailed(failed.said, goes_on=True)


def main(directory: Path) -> int:
    """The exit code."""
    told = json.loads((directory / "spark.json").read_text("utf-8"))
    try:
        session = _session(told["conf"])
    except Exception as error:  # Py4J's, of many kinds
        _fail(LaunchFailed(f"Spark did not begin: {attempt_in(str(error)).said}", goes_on=True))
        return 1
    context = session.sparkContext
    context.setLogLevel("OFF")
    host = context.getConf().get("spark.driver.host")  # Spark's own choice where nobody made one.
    lines = WorkerLines(context.getConf().get("spark.driver.bindAddress", host), lambda line: print(line, flush=True))
    _tell(f"submitted to Spark as {context.applicationId}")
    files = {name: (directory / name).read_bytes() for name in FILES if (directory / name).is_file()}
    listener, token, workers = (host, lines.server_address[1]), lines.token, int(told["workers"])
    for each in (spark_task, printed, tree_removal):
        needed("pyspark.cloudpickle").register_pickle_by_value(each)
    run_worker = spark_task.run_worker

    room_s = bound_of(context)

    def run(attempt: int) -> None:
        stage = context.parallelize(range(workers), workers).barrier()
        try:
            with RoomWatch(context, workers, max(room_s, BOUND_MIN_S), _tell):
                stage.mapPartitions(lambda _, attempt=attempt: run_worker(files, listener, token, attempt)).collect()
        except NoRoom:
            raise
        except Exception as error:  # Py4J's, of many kinds
            if said := no_room(workers, room_s, str(error)):
                raise NoRoom(said) from None
            raise

    try:
        failed = tried(run, lambda: _stopped(context), int(told["max_restarts"]), _begin_again, lambda: lines.refused)
        if failed is None and len(lines.heard) < workers:
            _tell(f"{workers - len(lines.heard)} workers did not reach {host}, and what they printed is not shown: "
                  "--conf spark.driver.host=ADDRESS")  # fmt: skip
        if failed is not None:
            _fail(failed)
        return 0 if failed is None else 1
    finally:
        session.stop()


def _tell(said: str) -> None:
    print(f"{TOLD}{said}", flush=True)


def _begin_again(failed: FailedAttempt) -> None:
    print(f"{TRIED}{json.dumps(asdict(failed), ensure_ascii=False)}", flush=True)


def _fail(failed: LaunchFailed) -> None:
    told = {"why": failed.message, "goes_on": failed.goes_on}
    print(f"{FAILED}{json.dumps(told, ensure_ascii=False)}", flush=True)


def _stopped(context: Any) -> bool:
    """Whether Spark runs nothing any more, also because its Java is gone."""
    try:
        return bool(context._jsc.sc().isStopped())
    except Exception:  # Py4J's, of many kinds
        return True


def _session(conf: dict[str, str]) -> Any:
    builder = needed("pyspark.sql").SparkSession.builder
    for name, value in conf.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
