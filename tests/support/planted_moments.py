"""Changes for real processes (tests/support/planted_process.py): the end at one exact moment, and notes of what is read.

Notes go into the working directory, which is that of the process in its cluster's directory.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from datanode.store.compaction.switch import Compaction
from datanode.store.opening import reconcile, replay
from datanode.store.scan import FoundRecord, Gap, SegmentScan

SCANNED = "scanned"
"""A line per scan, at start, of a segment that came out of a compaction: its partition, and its first LSN."""
HOLD = "hold"
"""While a file of this name is there, scans wait."""


def _die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # never: nothing comes after that signal


def end_before_the_index_knows(patch: pytest.MonkeyPatch) -> None:
    """A compaction's file is in place, and the index points to the old ones."""
    patch.setattr(Compaction, "begin_switch", _die)


def end_before_the_old_files_go(patch: pytest.MonkeyPatch) -> None:
    """Of a compaction nothing but the deletion of what it replaced is left."""
    patch.setattr(Compaction, "delete_files", _die)


class _NotedScan(SegmentScan):
    def run(self, start: int) -> Iterator[FoundRecord | Gap]:
        header = self._header
        if header.generation > 0:
            with Path(SCANNED).open("a", encoding="utf-8") as notes:
                notes.write(f"{header.partition} {header.base_lsn}\n")
        while Path(HOLD).exists():
            time.sleep(0.01)
        yield from super().run(start)


def note_scans(patch: pytest.MonkeyPatch) -> None:
    """A start reads segments in two places: what a compaction made, and what the index does not cover."""
    for module in (reconcile, replay):
        patch.setattr(module, "SegmentScan", _NotedScan)
