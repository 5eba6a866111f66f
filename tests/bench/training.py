"""What checkpoints cost: saved by two workers beside the store's own put rate, loaded beside local files in the page cache.

    python -m tests.bench.training [--rounds 3] [--size 1073741824] [--dir DIRECTORY]

Three data nodes and a frontend, and two workers by torchrun on the same machine, which take turns in each round:

    put      each worker stores half of the bytes as a file: the store's own rate
    save     TorchCheckpoints.save of a model of that size
    kept     until what was saved is in the machine's cache, beside the next steps
    resume   TorchCheckpoints.restore on the machine that saved it
    local    torch.distributed.checkpoint.load from local files, which are in the page cache
    warm     TorchCheckpoints.restore where the machine's cache of blobs has the checkpoint
    cold     the same where it has not: the store's get rate

Needs torch. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from deploy.local_cluster import LocalCluster
from tests.bench import report
from tests.bench.child import ROOT, BenchFailed, exit_code_of
from tests.bench.scratch import scratch

SIZE = 1 << 30
SHARE_MIN = 0.9
STEPS = ("put", "save", "kept", "resume", "local", "warm", "cold")
TIMEOUT_S = 3_600


def bench(arguments: argparse.Namespace, out: Console) -> int:
    needed = arguments.size * (8 * arguments.rounds + 4)
    with (
        scratch(arguments.dir, needed_bytes=needed) as directory,
        LocalCluster(directory / "cluster", datacenters=1, frontends=1, port_base=0, partitions=4) as cluster,
    ):
        found = run(directory, cluster.frontends()[0].url, arguments.size, arguments.rounds)
    rate = {step: arguments.size / statistics.median(found[step]) / 1e6 for step in STEPS}
    for step in STEPS:
        seconds = found[step]
        out.print(
            f"{step:6} {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f})  {rate[step]:6.0f} MB/s"
        )
    held = True
    for what, ours, theirs in (
        ("saving, of the put rate", "save", "put"),
        ("resuming where it was saved, of local files", "resume", "local"),
        ("loading again, of local files", "warm", "local"),
    ):
        # In pairs of one round: what else the machine does changes from round to round.
        share = statistics.median(two / one for one, two in zip(found[ours], found[theirs], strict=True))
        held = held and share >= SHARE_MIN
        out.print(f"{what}: {share:.2f} x (at least {SHARE_MIN}: {'held' if share >= SHARE_MIN else 'MISSED'})")
    share = statistics.median(two / one for one, two in zip(found["cold"], found["local"], strict=True))
    out.print(f"loading for the first time, of local files: {share:.2f} x (the bytes come from the store once)")
    return 0 if held else 1


def run(directory: Path, url: str, size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step by rounds. Raises BenchFailed."""
    environ = {
        **os.environ,
        "AMBRY_ENDPOINTS": url,
        "AMBRY_CACHE_DIR": str(directory / "cache"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(directory),
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["tests.bench.training_worker", str(directory), str(size), str(rounds)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise BenchFailed(f"the workers ended with {done.returncode}: {done.stderr[-2_000:]}")
    told: dict[str, list[float]] = json.loads(lines[-1])
    return told


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.training", "Measure checkpoints of torch.")
    parser.set_defaults(rounds=3)
    parser.add_argument("--size", type=int, default=SIZE, help=f"bytes of a checkpoint (default {SIZE})")
    arguments = parser.parse_args(words)
    return exit_code_of(lambda: bench(arguments, report.console()))


if __name__ == "__main__":
    raise SystemExit(main())
