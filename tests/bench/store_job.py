"""What one child process of the storage bench is asked to do, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import uvloop

from tests.bench.store_figures import Samples
from tests.bench.store_plan import Plan

T = TypeVar("T")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `directory` is where its data is or goes; what else it needs depends on the step."""

    step: str
    directory: str
    plan: Plan
    blobs: int = 0
    size: int = 0
    partitions: int = 1
    number: int = 0
    cold: bool = False

    @property
    def path(self) -> Path:
        return Path(self.directory)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`failures`: what was wrong, not slow. `cpu_s` and `machine_busy_s` tell how much others used meanwhile."""

    samples: Samples
    failures: list[str]
    cpu_s: float = 0.0
    machine_busy_s: float = 0.0
    elapsed_s: float = 0.0


class Wrong(RuntimeError):
    """A measurement found that something does not work; how fast it is does not matter then."""


def on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as a data node runs."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
