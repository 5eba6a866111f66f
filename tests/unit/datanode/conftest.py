"""What every test of a data node in one process has: indexes that are not synced to the real disk.

Nothing in this process can see what a power cut would leave of a real file; tests/fault/test_power_cut.py does. Each commit
would wait for the disk, tens of seconds over all tests.
"""

from __future__ import annotations

import functools

import lmdb
import pytest


@pytest.fixture(autouse=True)
def unsynced_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb, "open", functools.partial(lmdb.open, sync=False))
