"""What a worker of Spark has in memory is not looked through after each task; other processes are left alone."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec

import pytest

from ambry.spark import workers
from tests.support.left_memory import freeze


@pytest.fixture(autouse=True)
def thawed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(workers, "_settled", False)
    yield
    gc.unfreeze()
    freeze()


def test_in_a_worker_it_is_frozen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec("pyspark.daemon", None))
    there = [[number] for number in range(2_000)]
    before = gc.get_freeze_count()
    workers.settle()
    frozen = gc.get_freeze_count()
    assert frozen > before + 1_000 and len(there) == 2_000
    kept = [[number] for number in range(1_000)]
    workers.settle()
    assert gc.get_freeze_count() <= frozen, "what was frozen may end meanwhile, and nothing is added"
    assert len(kept) == 1_000


def test_elsewhere_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in (None, ModuleSpec("pytest.__main__", None)):
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
        before = gc.get_freeze_count()
        workers.settle()
        assert gc.get_freeze_count() == before
