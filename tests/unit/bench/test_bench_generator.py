"""Several load generators measure as one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.bench import proc
from tests.bench.figures import LOAD
from tests.bench.generator import shares, together
from tests.bench.load import MESSAGES_MAX, Job, Result

JOB = Job(verb="POST", port=1, size=4096, connections=7, window_s=1.0, requests=10, watch={"dc1-f1": 5})


@pytest.mark.parametrize(
    ("connections", "requests", "count", "expected"),
    [
        (7, 10, 3, [(3, 4), (2, 3), (2, 3)]),
        (7, 10, 1, [(7, 10)]),
        (1, 10, 3, [(1, 10)]),
        (7, 2, 3, [(4, 1), (3, 1)]),
        (4, None, 2, [(2, None), (2, None)]),
    ],
)
def test_connections_and_requests_are_shared_out(
    connections: int, requests: int | None, count: int, expected: list[tuple[int, int | None]]
) -> None:
    job = Job(verb="GET", port=1, size=1, connections=connections, window_s=1.0, requests=requests)
    assert [(each.connections, each.requests) for each in shares(job, count)] == expected


def test_the_servers_are_watched_by_one_of_them() -> None:
    assert [each.watch for each in shares(JOB, 3)] == [{"dc1-f1": 5}, {}, {}]


def test_what_they_measured_is_added_up() -> None:
    def result(number: int, **watched: float) -> Result:
        return Result(
            operations=10 * number,
            elapsed_s=float(number),
            latencies_us=[number],
            cpu_s={**watched, LOAD: number / 10},
            machine_busy_s=1.5 + number,
            verified=number,
            failures=4,
            messages=[f"{number}"] * 4,
        )

    found = together([result(1, f1=0.7), result(2), result(3)])
    assert (found.operations, found.elapsed_s, found.latencies_us) == (60, 3.0, [1, 2, 3])
    assert found.cpu_s == {"f1": 0.7, LOAD: pytest.approx(0.6)}
    assert (found.machine_busy_s, found.verified, found.failures) == (2.5, 6, 12)
    assert found.messages == ["1", "1", "1", "1", "2"][:MESSAGES_MAX]


def test_the_processes_of_a_process_are_found() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in proc.children(os.getpid())
        assert proc.children(child.pid) == []
