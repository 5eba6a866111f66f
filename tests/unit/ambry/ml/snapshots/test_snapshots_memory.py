"""What snapshots take of memory does not follow how many rows there are: four times the rows, within the same bound.

Each step is a process of its own, whose anonymous memory is looked at twenty times a second; files that are mapped are the
system's to take back, and are not counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.crowd import MIB, memory_of
from tests.support.snapshot_child import ROW_BYTES

ROWS = 200_000
"""Eight times what is sorted at once; three row groups."""
BOUNDS_MIB = {
    # Sorted runs and what is sent of them; of Parquet row groups of 10 MiB more, and their columns as they are encoded.
    ("write", "arrow"): 48,
    ("write", "parquet"): 120,
    ("keys", "arrow"): 24,
    ("keys", "parquet"): 120,
    ("batches", "arrow"): 16,
    ("batches", "parquet"): 120,
}


def taken_mib(url: str, cache: Path, name: str, kind: str, rows: int, step: str) -> float:
    """How much a process's own memory rose while it took a step."""
    words = [sys.executable, "-m", "tests.support.snapshot_child", url, name, kind, str(rows), step]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[5],
        env={**os.environ, "AMBRY_CACHE_DIR": str(cache), "ARROW_DEFAULT_MEMORY_POOL": "system"},
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        with memory_of(child.pid) as peak:
            child.stdin.write("go\n")
            child.stdin.flush()
            assert child.stdout.readline() == f"{rows}\n"
        child.communicate("end\n", timeout=60)
    assert child.returncode == 0
    return peak.most_mib - peak.before_mib


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["arrow", "parquet"])
def test_four_times_the_rows_take_no_more_memory(url: str, tmp_path: Path, kind: str) -> None:
    size_mib = ROWS * ROW_BYTES / MIB
    for step in ("write", "keys", "batches"):
        few, many = (
            taken_mib(url, tmp_path / "cache", f"memory-{kind}-{times}", kind, ROWS * times, step) for times in (1, 4)
        )
        bound = BOUNDS_MIB[step, kind]
        print(f"{step} {kind}: {few:.0f} MiB of {size_mib:.0f}, {many:.0f} of {4 * size_mib:.0f}, at most {bound}")
        assert max(few, many) <= bound < 4 * size_mib, step
