"""What thousands who stand there cost: an honest client's p99 among them and without them, and the frontend's memory.

    python -m tests.bench.crowds [--count 2000] [--seconds 6] [--rounds 3] [--only WORD ...] [--clear | --tls]

Starts a datacenter that asks for keys for each of both, in the clear and in TLS. The honest client puts and gets 4 KiB on a
connection in use. The crowds are those of tests/support/standing_crowd.py. It is measured when the
frontend does next to nothing by itself, if that comes. The ratio is the median of the rounds', in each of which both follow
each other; on a machine that others use it says little, so the frontend's cores stand beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.content import content
from tests.support.crowd import Others, anonymous_mib, memory_of
from tests.support.honest import Honest, frontend_of
from tests.support.rest import metric
from tests.support.standing_crowd import CROWDS, HALF_OPEN, READ_SIZE, Kind, standing
from tests.support.waiting import eventually

BAR = 2.0
GONE_S = 60.0
COMING_S = 4.0
"""What those who came last asked for is still being done."""
SETTLE_S = 6.0
QUIET_CORES, QUIET_WITHIN_S = 0.05, 40
"""When what those who came asked for is done, and how long that is waited for."""


def p99_ms(seen: Others) -> float:
    """Of all calls; those that failed count as they ended."""
    ordered = sorted(seen.seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def cpu_s(pid: int) -> float:
    """Seconds that a process had of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settle(pid: int) -> float:
    """Wait until a process does next to nothing, or for QUIET_WITHIN_S; how many cores it had in the last second."""
    cores = 0.0
    for _ in range(QUIET_WITHIN_S):
        began, before = time.monotonic(), cpu_s(pid)
        time.sleep(1.0)
        cores = (cpu_s(pid) - before) / (time.monotonic() - began)
        if cores <= QUIET_CORES:
            break
    return cores


def measure(cluster: LocalCluster, arguments: argparse.Namespace, *, tls: bool) -> bool:
    """Print a row for each crowd; returns whether all bars are held."""
    held = True
    front, honest = frontend_of(cluster), Honest(cluster)
    blob_id = honest.put(content(7, READ_SIZE))
    for how, key in [*CROWDS, *([HALF_OPEN] if tls else [])]:
        kind = Kind(
            how=how,
            count=arguments.count,
            address=front.address,
            key=honest.key if key else "",
            blob_id=blob_id,
            authority=str(cluster.directory / "certs" / "authority.crt") if tls else "",
        )
        if arguments.only and not any(word in kind.name for word in arguments.only):
            continue
        quiet, coming, among, busy, left = [], [], [], [], []
        failures: list[str] = []
        with memory_of(front.pid) as peak:
            for _ in range(arguments.rounds):
                settle(front.pid)
                quiet.append(p99_ms(honest.look(arguments.seconds)))
                with standing(kind):
                    coming.append(p99_ms(honest.look(COMING_S)))
                    left.append(settle(front.pid))
                    began = cpu_s(front.pid)
                    seen = honest.look(arguments.seconds)
                    busy.append((cpu_s(front.pid) - began) / sum(seen.seconds))
                among.append(p99_ms(seen))
                failures += seen.failures
                eventually(lambda: metric(front.admin_url, "ambry_frontend_connections") <= 1, "gone", timeout_s=GONE_S)
        honest.look(SETTLE_S)
        after = anonymous_mib(front.pid)
        ratios = [one / other for one, other in zip(among, quiet, strict=True)]
        ratio = statistics.median(ratios)
        held = held and ratio <= BAR
        print(
            f"{kind.name}: p99 {statistics.median(quiet):.1f} -> {statistics.median(coming):.1f} (just come) -> "
            f"{statistics.median(among):.1f} ms, x {ratio:.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), {'held' if ratio <= BAR else 'MISSED'}; "
            f"{statistics.median(left):.2f} cores before, {statistics.median(busy):.2f} meanwhile; "
            f"memory {peak.before_mib:.0f} -> {peak.most_mib:.0f} -> {after:.0f} MiB; {len(failures)} failed {failures[:3]}",
            flush=True,
        )
    return held


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowds")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", metavar="WORD", help="crowds with one of these in their name")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--clear", action="store_true")
    one.add_argument("--tls", action="store_true")
    arguments = parser.parse_args(argv)
    held = True
    for tls in (False, True):
        if (arguments.clear and tls) or (arguments.tls and not tls):
            continue
        with (
            tempfile.TemporaryDirectory(prefix="ambry-crowds-") as directory,
            running_cluster(Path(directory), datacenters=1, auth=True, tls=tls) as cluster,
        ):
            held = measure(cluster, arguments, tls=tls) and held
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
