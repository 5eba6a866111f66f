"""The rows of the storage bench, each as its steps. A step is a process of its own (store_child.py)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench.child import Child
from tests.bench.store_figures import RowRun, Samples, joined
from tests.bench.store_job import Job, Result
from tests.bench.store_plan import BLOB_SIZE, ENTRY_BYTES, Plan

STEP_TIMEOUT_S = 1800.0
TINY_SIZE = 16


class StepFailed(RuntimeError):
    """A step found something wrong; it is in the failures of the run."""


class Rows:
    """One run. Everything lies below `directory`, which the caller removes."""

    def __init__(self, directory: Path, plan: Plan, progress: Callable[[str], None]) -> None:
        self._directory = directory
        self._plan = plan
        self._progress = progress
        self._results: list[Result] = []
        self._filled: Samples | None = None
        self.failures: list[str] = []

    def run(self, name: str) -> RowRun | None:
        """One row; None when it found something wrong. Raises BenchFailed."""
        composed = {"lookup": self._lookup, "churn": self._churn, "restart": self._restart, "index": self._index}
        self._results = []
        try:
            samples = composed[name]() if name in composed else self._alone(name)
        except StepFailed:
            return None
        elapsed_s = sum(result.elapsed_s for result in self._results)
        others_s = sum(result.machine_busy_s - result.cpu_s for result in self._results)
        return RowRun(elapsed_s=elapsed_s, others_cores=max(0.0, others_s / elapsed_s), samples=samples)

    def _step(self, step: str, directory: Path, **fields: int) -> Samples:
        self._progress(step)
        job = msgspec.convert(fields | {"step": step, "directory": str(directory), "plan": self._plan}, Job)
        child = Child.module("tests.bench.store_child")
        try:
            result = msgspec.json.decode(child.ask(msgspec.json.encode(job), STEP_TIMEOUT_S), type=Result)
        finally:
            child.stop()
        self._results.append(result)
        if result.failures:
            self.failures += result.failures
            raise StepFailed
        return result.samples

    def _new(self, name: str) -> Path:
        directory = self._directory / name
        directory.mkdir()
        return directory

    def _alone(self, name: str) -> Samples:
        """A row of one step, whose data goes when it ends."""
        directory = self._new(name)
        try:
            return self._step(name, directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _many(self) -> tuple[Path, Samples]:
        """The replica of many tiny blobs that three rows share, and what filling it measured."""
        directory = self._directory / "many"
        if self._filled is None:
            directory.mkdir()
            self._filled = self._step("fill", directory, blobs=self._plan.index_blobs, size=TINY_SIZE)
        return directory, self._filled

    def _lookup(self) -> Samples:
        return self._step("lookup", self._many()[0])

    def _churn(self) -> Samples:
        compacted = self._new("churn")
        found = self._step("churn", compacted, number=1)
        shutil.rmtree(compacted)
        kept = self._new("churn-kept")
        without = self._step("churn", kept)
        shutil.rmtree(kept)
        at_end = {name: [values[-1]] for name, values in found.items()}
        came_back = without["disk"][-1] - found["disk"][-1]
        return {
            **at_end,
            "disk without": [without["disk"][-1]],
            "came back": [came_back],
            "rewritten": [found["written"][0] - without["written"][0]],
            # For the table over time.
            "each day": found["day"],
            "each disk": found["disk"],
            "each disk without": without["disk"],
            "each live": found["live"],
        }

    def _restart(self) -> Samples:
        plan = self._plan
        many, _ = self._many()
        blobs = self._new("rebuilt")
        self._step("fill", blobs, blobs=plan.rebuild_blobs, size=BLOB_SIZE)
        rounds: list[Samples] = []
        for number in range(plan.restart_rounds):
            taken: Samples = {"open empty": self._open_empty(number)["seconds"]}
            taken["open clean"] = self._step("open", many)["seconds"]
            taken["open cold"] = self._step("open", many, cold=True)["seconds"]
            self._step("die", many, blobs=plan.tail_records, size=TINY_SIZE, number=number)
            killed = self._step("open", many)
            taken["open killed"], taken["replayed"] = killed["seconds"], killed["replayed"]
            taken |= self._step("rebuild", blobs, blobs=plan.rebuild_blobs)
            rounds.append(taken)
        shutil.rmtree(blobs)
        tiny = self._step("rebuild", many, blobs=plan.index_blobs)
        return {
            **joined(rounds),
            "read tiny": tiny["read"],
            "rebuild tiny": tiny["rebuild"],
            "rebuild tiny seconds": tiny["seconds"],
        }

    def _open_empty(self, number: int) -> Samples:
        """A replica that was made and holds nothing."""
        directory = self._new(f"empty-{number}")
        self._step("open", directory)
        found = self._step("open", directory)
        shutil.rmtree(directory)
        return found

    def _index(self) -> Samples:
        plan = self._plan
        many, filled = self._many()
        found: Samples = {"entry bytes": [float(ENTRY_BYTES)], "opened empty": self._open_empty(0)["rss"]}
        found |= {"index bytes": filled["bytes"], "index writer": filled["writer"]}
        found["index opened"] = self._step("open", many)["rss"]
        if plan.big_blobs:
            big = self._new("big")
            count = plan.big_partitions
            filled = self._step("fill", big, blobs=plan.big_blobs, size=TINY_SIZE, partitions=count)
            found |= {"big bytes": filled["bytes"], "big writer": filled["writer"]}
            found["big opened"] = self._step("open", big, partitions=count)["rss"]
            shutil.rmtree(big)
        return found
