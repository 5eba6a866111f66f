"""A data node process that records the longest turns of its event loop, by what ran in them.

    python -m tests.bench.turns OUTPUT [arguments of the data node]

A turn is one callback, or one step of a task. SIGUSR1 writes the longest so far to OUTPUT as JSON, the longest first, and
begins anew; so does the end of the process. `wall_ms` counts what the loop waited for a core or for the interpreter as well,
`cpu_ms` what the turn itself used: on a machine where others run only the latter says something. The loop is asyncio's own and
not uvloop's, which cannot be watched: what a turn does is the same.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import signal
import sys
import time
from asyncio.events import Handle
from pathlib import Path
from typing import Any

import uvloop

LONG_S = 0.005
KEPT = 400


def name_of(callback: Any) -> str:
    """Of a callback, or of the task that it goes on with, down to where that waits now."""
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        inner = getattr(callback, "func", callback)
        return getattr(inner, "__qualname__", repr(inner))
    found = [task.get_name()] if not task.get_name().startswith("Task-") else []
    at: Any = task.get_coro()
    while at is not None and hasattr(at, "cr_code"):
        found.append(f"{at.cr_code.co_qualname}:{at.cr_frame.f_lineno if at.cr_frame else 'end'}")
        at = at.cr_await
    return " > ".join(found)


class Turns:
    """The long turns since `take`."""

    def __init__(self) -> None:
        self._found: list[tuple[float, float, str]] = []

    def watch(self) -> None:
        """Record from now on, on every event loop of this process."""
        runs = Handle._run
        found = self._found

        def timed(handle: Handle) -> None:
            callback = handle._callback  # type: ignore[attr-defined]
            began, began_cpu = time.perf_counter(), time.thread_time()
            runs(handle)
            wall = time.perf_counter() - began
            if wall > LONG_S:
                found.append((time.thread_time() - began_cpu, wall, name_of(callback)))
                if len(found) > 2 * KEPT:
                    found.sort(reverse=True)
                    del found[KEPT:]

        Handle._run = timed  # type: ignore[method-assign, assignment]

    def take(self, output: Path) -> None:
        self._found.sort(reverse=True)
        page = [{"cpu_ms": 1e3 * cpu, "wall_ms": 1e3 * wall, "what": what} for cpu, wall, what in self._found[:KEPT]]
        self._found.clear()
        unfinished = output.with_suffix(".tmp")
        unfinished.write_text(json.dumps(page))
        unfinished.rename(output)


def main() -> None:
    output = Path(sys.argv[1])
    turns = Turns()
    turns.watch()
    uvloop.new_event_loop = asyncio.new_event_loop  # type: ignore[assignment]
    signal.signal(signal.SIGUSR1, lambda *_: turns.take(output))
    sys.argv = ["datanode", *sys.argv[2:]]
    try:
        runpy.run_module("datanode", run_name="__main__", alter_sys=True)
    finally:
        turns.take(output)


if __name__ == "__main__":
    main()
