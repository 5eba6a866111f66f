"""Asks the load generator (load.py), a process of its own, for one measurement after the other."""

from __future__ import annotations

import msgspec

from tests.bench import plan
from tests.bench.child import ANSWER_TIMEOUT_S, Child
from tests.bench.figures import Point
from tests.bench.load import DRAIN_TIMEOUT_S, Job, Result

SAMPLE_EVERY_SMALL = 64


class Generator:
    """The process, and what went wrong in its measurements so far (`failures`). Whoever made it stops it."""

    def __init__(self, chosen: plan.Plan) -> None:
        self._plan = chosen
        self._child = Child.module("tests.bench.load")
        self.pid = self._child.pid
        self.failures: list[str] = []

    def run(self, point: Point, port: int, watch: dict[str, int], *, blobs: str) -> Result:
        """Measure `point` on `port`, with the CPU time of `watch` (pid by name). Raises BenchFailed.

        `blobs` names what PUTs leave and GETs draw from; empty for the bare server, which keeps nothing.
        """
        small = point.size == plan.SMALL
        putting = point.operation != "get"
        job = Job(
            verb="POST" if putting else "GET",
            port=port,
            size=point.size,
            connections=point.connections,
            warmup_s=self._plan.warmup_s if small else 0.0,
            window_s=self._plan.window_s if small else self._plan.large_window_s,
            whole=not small,
            requests=self._plan.puts_max.get(point.size) if putting and blobs else None,
            blobs=blobs,
            headers={"x-ambry-durability": point.operation.split()[1]} if putting else {},
            sample_every=SAMPLE_EVERY_SMALL if small else 1,
            watch=watch,
        )
        limit = job.warmup_s + job.window_s + DRAIN_TIMEOUT_S + ANSWER_TIMEOUT_S
        result = msgspec.json.decode(self._child.ask(msgspec.json.encode(job), limit), type=Result)
        self._note(point, result)
        return result

    def stop(self) -> None:
        self._child.stop()

    def _note(self, point: Point, result: Result) -> None:
        if result.failures:
            untold = result.failures - len(result.messages)
            more = f" (and {untold} more)" if untold > 0 else ""
            self.failures.append(f"{point.key}: {result.failures} failures: {'; '.join(result.messages)}{more}")
        if result.operations == 0:
            self.failures.append(f"{point.key}: not one operation in {result.elapsed_s:.1f} s")
