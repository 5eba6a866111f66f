"""The longest turns of a data node's event loop, in whatever keeps one busy; see tests/bench/turns.py.

    python -m tests.bench.stalls [--partitions 1000] [--blobs 200000] [--entries 1000000] [--only PHASE ...] [--dir DIRECTORY]

    many        start, life and stop of a node with so many partitions, beside two more
    follow      catching up with so many blobs of 1 KiB, blob by blob, with a checkpoint of 100,000 entries
    copy        the same by copies of segments, of 4 KiB
    upkeep      scrub, sweep, compaction, and digests compared with a peer, of one partition with so many entries

Prints the longest turns of each phase: milliseconds of processor time, and of the clock.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ambry.format.record import Record
from ambry.service import logs
from tests.bench.bootstrap import PARTITION, Cluster, serving
from tests.bench.many_partitions import running
from tests.bench.store_blobs import (
    BATCH_RECORDS,
    Payloads,
    delete_record,
    natural_ids,
    open_one,
)
from tests.support.samples import append, checkpoint, stop_cleanly

SHOWN = 6
WATCHED = "n1"
BLOB = 1_000
SETTLE_S = 45.0
UPKEEP_S = 300.0
DELETED_EVERY = 3


class Recorder:
    """Starts the data nodes of this process so that the turns of one, by its name, are recorded."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self.process: subprocess.Popen[bytes] | None = None

    def popen(self, command: list[str], **how: Any) -> subprocess.Popen[bytes]:
        """As subprocess.Popen, of a command that starts a data node."""
        if f"node.name={WATCHED}" not in command:
            return subprocess.Popen(command, **how)
        python, _, _, *rest = command
        self.process = subprocess.Popen([python, "-m", "tests.bench.turns", str(self._output), *rest], **how)
        return self.process

    def show(self, title: str, *, ended: bool = False) -> None:
        """Print what was recorded since the last time."""
        if not ended and self.process is not None:
            self._output.unlink(missing_ok=True)
            self.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 60
        while not self._output.exists():
            if time.monotonic() > until:
                raise TimeoutError("the data node says nothing")
            time.sleep(0.05)
        turns = json.loads(self._output.read_text())
        over = sum(turn["cpu_ms"] > 50 for turn in turns)
        print(f"{title}: {over} turns over 50 ms of processor time; the longest:", flush=True)
        for turn in turns[:SHOWN]:
            print(f"  {turn['cpu_ms']:6.1f} ms, {turn['wall_ms']:6.0f} by the clock: {turn['what']}", flush=True)
        self._output.unlink()


def many(root: Path, recorder: Recorder, partitions: int) -> None:
    with running(root, nodes=3, partitions=partitions, popen=recorder.popen) as nodes:
        while not all(node.ready() for node in nodes):
            time.sleep(0.5)
        recorder.show(f"start with {partitions:,} partitions")
        time.sleep(SETTLE_S)
        for page in ("/partitions", "/metrics", "/readyz"):
            nodes[0].page(page)
        recorder.show("the minute after it")
    recorder.show(f"stop with {partitions:,} partitions", ended=True)


def fill(directory: Path, blobs: int, size: int, *, seed: int = 1) -> None:
    """A replica of so many blobs, cleanly stopped, whose ids do not depend on the seed."""
    store = open_one(directory, PARTITION)
    payloads = Payloads(size)
    source: Iterator[Record] = (payloads.record(raw_id, n) for n, (_, raw_id) in enumerate(natural_ids(blobs)))
    while batch := list(islice(source, BATCH_RECORDS)):
        append(store, *batch, sync=False)
        if store.recent_count >= 200_000:
            checkpoint(store)
    if seed == 1:
        # What compaction finds: every third of the first half is deleted.
        for start in range(0, blobs // 2, 100_000):
            some = islice(natural_ids(blobs), start, min(start + 100_000, blobs // 2), DELETED_EVERY)
            records = [delete_record(raw_id, at_ms=1) for _, raw_id in some]
            for first in range(0, len(records), BATCH_RECORDS):
                append(store, *records[first : first + BATCH_RECORDS], sync=False)
            checkpoint(store)
    store.serving = True
    stop_cleanly(store)


def catch_up(root: Path, recorder: Recorder, blobs: int, size: int, *, bootstrap: bool) -> None:
    (root / "n2").mkdir()
    (root / WATCHED).mkdir()
    fill(root / "n2", blobs, size, seed=2)
    cluster = Cluster(root, ["n2", WATCHED], popen=recorder.popen)
    try:
        cluster.start("n2")
        cluster.start(
            WATCHED,
            f"bootstrap.enabled={str(bootstrap).lower()}",
            "store.checkpoint_records=100000",
            "bootstrap.behind_bytes_min=1048576",
        )
        cluster.wait(WATCHED, serving)
        recorder.show(f"catching up with {blobs:,} blobs of {size:,} bytes, {'copied' if bootstrap else 'followed'}")
    finally:
        for name in list(cluster.processes):
            cluster.end(name)


def upkeep(root: Path, recorder: Recorder, entries: int) -> None:
    (root / WATCHED).mkdir()
    fill(root / WATCHED, entries, 64)
    shutil.copytree(root / WATCHED, root / "n2")
    _as_another(root / "n2")
    cluster = Cluster(root, ["n2", WATCHED], popen=recorder.popen)
    every = ("scrub", "sweep", "compaction")
    try:
        cluster.start("n2")
        cluster.start(
            WATCHED,
            *(f"{name}.enabled=true" for name in every),
            *(f"{name}.interval_s=2" for name in every),
            "scrub.rate_bytes_per_s=268435456",
            "compaction.rate_bytes_per_s=268435456",
            "compaction.deleted_retention_s=1",
            "compaction.tombstone_retention_s=1",
            "replication.compare_interval_s=1",
        )
        cluster.wait(WATCHED, serving)
        recorder.show(f"start with {entries:,} entries")
        ends = time.monotonic() + UPKEEP_S
        rounds: dict[str, int] = {}
        while time.monotonic() < ends and rounds.keys() < {"scrub", "sweep"}:
            time.sleep(1)
            rounds = cluster.partition(WATCHED).get("since_round_s", {})
        recorder.show(f"scrub, sweep, compaction and comparison of {entries:,} entries")
        print({name: cluster.partition(WATCHED).get(name) for name in ("segments", "since_round_s", "damaged")})
    finally:
        for name in list(cluster.processes):
            cluster.end(name)


def _as_another(directory: Path) -> None:
    """Give a copied replica a name of its own, as one has that was filled by its peers."""
    store = open_one(directory, PARTITION)
    identity = store.identity
    store.close()
    identity.renew(random.Random(5))
    stop = open_one(directory, PARTITION)
    stop.serving = True
    stop_cleanly(stop)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=1_000)
    parser.add_argument("--blobs", type=int, default=200_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", default=["many", "follow", "copy", "upkeep"])
    parser.add_argument("--dir", type=Path, default=None)
    options = parser.parse_args()
    logs.configure(level="error", format="text")
    phases: dict[str, Callable[[Path, Recorder], None]] = {
        "many": lambda root, recorder: many(root, recorder, options.partitions),
        "follow": lambda root, recorder: catch_up(root, recorder, options.blobs, 1024, bootstrap=False),
        "copy": lambda root, recorder: catch_up(root, recorder, options.blobs, 4096, bootstrap=True),
        "upkeep": lambda root, recorder: upkeep(root, recorder, options.entries),
    }
    for name in options.only:
        root = Path(tempfile.mkdtemp(prefix=f"stalls-{name}-", dir=options.dir))
        try:
            phases[name](root, Recorder(root / "turns.json"))
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
