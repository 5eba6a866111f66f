"""Asks load generators (load.py), processes of their own, for one measurement after the other.

One serves most machines. Where frontends have more cores than it can keep busy, several share the connections of a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tests.bench import plan
from tests.bench.child import ANSWER_TIMEOUT_S, Child
from tests.bench.figures import LOAD, Point
from tests.bench.load import DRAIN_TIMEOUT_S, MESSAGES_MAX, Job, Result

SAMPLE_EVERY_SMALL = 64


class Generator:
    """The processes, and what went wrong in their measurements so far (`failures`). Whoever made it stops it."""

    def __init__(self, chosen: plan.Plan, processes: int = 1) -> None:
        self._plan = chosen
        self._children = [Child.module("tests.bench.load") for _ in range(processes)]
        self.pids = [child.pid for child in self._children]
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
        asked = list(zip(self._children, shares(job, len(self._children)), strict=False))
        for child, share in asked:
            child.tell(msgspec.json.encode(share))
        result = together([msgspec.json.decode(child.hear(limit), type=Result) for child, _ in asked])
        self._note(point, result)
        return result

    def stop(self) -> None:
        for child in self._children:
            child.stop()

    def _note(self, point: Point, result: Result) -> None:
        if result.failures:
            untold = result.failures - len(result.messages)
            more = f" (and {untold} more)" if untold > 0 else ""
            self.failures.append(f"{point.key}: {result.failures} failures: {'; '.join(result.messages)}{more}")
        if result.operations == 0:
            self.failures.append(f"{point.key}: not one operation in {result.elapsed_s:.1f} s")


def shares(job: Job, count: int) -> list[Job]:
    """What each of so many processes does of a job; fewer where there is not as much to do. The first one watches."""
    count = min(count, job.connections, job.connections if job.requests is None else job.requests)
    return [
        msgspec.structs.replace(
            job,
            connections=_share(job.connections, count, number),
            requests=None if job.requests is None else _share(job.requests, count, number),
            watch={} if number else job.watch,
        )
        for number in range(count)
    ]


def _share(whole: int, count: int, number: int) -> int:
    return whole // count + (number < whole % count)


def together(results: Sequence[Result]) -> Result:
    """What the processes measured at the same time, as one."""
    first = results[0]
    return Result(
        operations=sum(each.operations for each in results),
        elapsed_s=max(each.elapsed_s for each in results),
        latencies_us=[latency for each in results for latency in each.latencies_us],
        cpu_s={**first.cpu_s, LOAD: sum(each.cpu_s[LOAD] for each in results)},
        machine_busy_s=first.machine_busy_s,
        verified=sum(each.verified for each in results),
        failures=sum(each.failures for each in results),
        messages=[message for each in results for message in each.messages][:MESSAGES_MAX],
    )
