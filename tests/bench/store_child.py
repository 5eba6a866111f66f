"""One step of the storage bench in a process of its own: a Job as a line of JSON on stdin, a Result as one on stdout.

`python -m tests.bench.store_child`; it ends when stdin does.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable

import msgspec

from ambry.service import logs
from ambry.service.process import tune_interpreter
from tests.bench import proc
from tests.bench.store_background import background
from tests.bench.store_churn import churn
from tests.bench.store_commit import amplification, chunks, commit
from tests.bench.store_figures import Samples
from tests.bench.store_job import Job, Result, Wrong
from tests.bench.store_reads import cold, hot, lookup
from tests.bench.store_restart import die, fill_index, open_replicas, rebuild

STEPS: dict[str, Callable[[Job], Samples]] = {
    "commit": commit,
    "chunks": chunks,
    "amplification": amplification,
    "cold": cold,
    "hot": hot,
    "lookup": lookup,
    "background": background,
    "churn": churn,
    "fill": fill_index,
    "open": open_replicas,
    "die": die,
    "rebuild": rebuild,
}


def run(job: Job) -> Result:
    """Raises what the step raises, but for Wrong."""
    busy, used, began = proc.machine_busy_s(), sum(os.times()[:4]), time.perf_counter()
    samples: Samples = {}
    failures: list[str] = []
    try:
        samples = STEPS[job.step](job)
    except Wrong as wrong:
        failures.append(f"{job.step}: {wrong}")
    return Result(
        samples=samples,
        failures=failures,
        cpu_s=sum(os.times()[:4]) - used,
        machine_busy_s=proc.machine_busy_s() - busy,
        elapsed_s=time.perf_counter() - began,
    )


def _end_with_stdin() -> None:
    # Not through sys.stdin: a thread that waits in it would keep the interpreter from ending.
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    # What a data node does at start; see ambry/service/process.py.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tune_interpreter()
    # Standard output is for the result. Interrupted compactions and scrubs are part of it.
    logs.configure(level="error", format="text", node="bench")
    sys.stdout.buffer.write(msgspec.json.encode(run(job)) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
