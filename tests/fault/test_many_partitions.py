"""What 1,000 partitions take of a data node, counted: descriptors and address space, as docs/operations.md states them.

Each index was mapped with 64 GiB: 65 TB for 1,000 of them, and ENOMEM at the 2,047th.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.many_partitions import RunningNode, running
from tests.support.waiting import eventually

PARTITIONS = 1_000
DESCRIPTORS_EACH = 4
DESCRIPTORS_MORE = 512 + 256
MAPPED_EACH_BYTES = 1 << 20
MAPPED_MORE_BYTES = 4 << 30
"""Of the interpreter, its libraries, and the stacks and arenas of its threads."""


def descriptors(node: RunningNode) -> int:
    return len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))


def mapped_bytes(node: RunningNode) -> int:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{node.process.pid}/status").read_text().splitlines())
    return int(status["VmSize"].split()[0]) << 10


@pytest.mark.fault
def test_a_thousand_partitions_take_the_descriptors_and_addresses_that_are_promised(tmp_path: Path) -> None:
    for _start in ("first", "again"):
        with running(tmp_path, nodes=1, partitions=PARTITIONS) as (node,):
            eventually(node.ready, "ready", timeout_s=180)
            seen = f"{descriptors(node)} descriptors, {mapped_bytes(node) >> 20} MiB mapped"
            print(seen)
            assert descriptors(node) <= DESCRIPTORS_EACH * PARTITIONS + DESCRIPTORS_MORE, seen
            assert mapped_bytes(node) <= MAPPED_EACH_BYTES * PARTITIONS + MAPPED_MORE_BYTES, seen
