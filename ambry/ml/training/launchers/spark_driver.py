"""The driver of a job on Spark, a process of its own: a barrier stage whose tasks are the workers, tried again if it fails.

    python -m ambry.ml.training.launchers.spark_driver DIRECTORY

The retry loop is here: Spark itself never tries a barrier stage again whose result is collected. `DIRECTORY` has the bundle and
`spark.json` (spark.py). Lines that begin with TOLD are said of the job, all others are what workers print. Exit code 1 after
the last try, with what the worker that failed said last.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from ambry.ml.extras import needed
from ambry.ml.training.bundle import FILES
from ambry.ml.training.launchers import spark_task
from ambry.ml.training.launchers.launch import last_words
from ambry.ml.training.launchers.torchrun import how_it_ended

TOLD = "ambry-train: "
_FAILED = re.compile(r"WorkerFailed: worker (\d+) ended (-?\d+)\n(.*)", re.DOTALL)
_LINE_MAX = 1 << 20


class WorkerLines(ThreadingTCPServer):
    """Takes what workers print, and shows it with whose it is."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, show: Callable[[str], None]) -> None:
        self.token = secrets.token_hex(16)
        self.show = show
        super().__init__((host, 0), _OneWorker)
        threading.Thread(target=self.serve_forever, name="ambry-worker-lines", daemon=True).start()


class _OneWorker(StreamRequestHandler):
    server: WorkerLines

    def handle(self) -> None:
        token, _, rank = self.rfile.readline(200).decode("ascii", "replace").strip().partition(" ")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            return
        while line := self.rfile.readline(_LINE_MAX):
            if text := line.decode("utf-8", "replace").rstrip():
                self.server.show(f"worker {rank}: {text}")


def failed_worker(said: str) -> str:
    """Which worker failed and why, from what Spark raises; its first line where it is of no worker."""
    found = _FAILED.search(said)
    if found is None:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return next((line for line in lines if "Exception: " in line or "Error: " in line), lines[0] if lines else "")
    code = int(found[2])
    words = "" if code < 0 else last_words(found[3].split("\n\n", 1)[0].splitlines(), found[1])
    return f"worker {found[1]} {how_it_ended(code)}{words}"


def main(directory: Path) -> int:
    """The exit code."""
    told = json.loads((directory / "spark.json").read_text("utf-8"))
    session = _session(told["conf"])
    context = session.sparkContext
    context.setLogLevel("OFF")
    lines = WorkerLines(told["host"], lambda line: print(line, flush=True))
    print(f"{TOLD}submitted to Spark as {context.applicationId}", flush=True)
    files = {name: (directory / name).read_bytes() for name in FILES if (directory / name).is_file()}
    listener, token, workers = (told["host"], lines.server_address[1]), lines.token, int(told["workers"])
    needed("pyspark.cloudpickle").register_pickle_by_value(spark_task)
    run_worker = spark_task.run_worker
    reason = ""
    try:
        for attempt in range(int(told["max_restarts"]) + 1):
            if attempt:
                print(f"{TOLD}{reason}; all workers are started again", flush=True)
            try:
                stage = context.parallelize(range(workers), workers).barrier()
                stage.mapPartitions(lambda _, attempt=attempt: run_worker(files, listener, token, attempt)).collect()
                return 0
            except Exception as error:  # Py4J's, of many kinds
                reason = failed_worker(str(error))
        print(f"{TOLD}{reason}", flush=True)
        return 1
    finally:
        session.stop()


def _session(conf: dict[str, str]) -> Any:
    builder = needed("pyspark.sql").SparkSession.builder
    for name, value in conf.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
