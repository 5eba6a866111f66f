"""The directory that a run has for itself, of which nothing stays."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.child import BenchFailed

DISK_NEEDED_BYTES = 16 << 30


@contextlib.contextmanager
def scratch(below: Path, *, needed_bytes: int = DISK_NEEDED_BYTES) -> Iterator[Path]:
    """An empty directory in `below`, which is made if it is missing, and then goes too unless something else is in it.

    Raises BenchFailed where there is no room.
    """
    parent = below.resolve()
    missing = [each for each in (parent, *parent.parents) if not each.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(parent).free
        if free < needed_bytes:
            raise BenchFailed(
                f"{parent} has {free / 1e9:.1f} GB left, and a run may need {needed_bytes / 1e9:.0f}; "
                "name another directory with --dir"
            )
        directory = Path(tempfile.mkdtemp(prefix="ambry-bench-", dir=parent))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        for each in missing:
            with contextlib.suppress(OSError):
                each.rmdir()
