"""A stage that waits for room that is gone, and one whose tasks run: a stand-in for Spark says what its tracker says."""

from __future__ import annotations

import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from ambry.ml.training.launchers.spark_driver import tried
from ambry.ml.training.launchers.spark_room import NoRoom, RoomWatch, bound_of, no_room
from tests.support.waiting import eventually

LOOKED = (
    "An error occurred.\n: org.apache.spark.scheduler.BarrierJobSlotsNumberCheckFailed: [SPARK-24819]: Barrier execution mode "
    "does not allow run a barrier stage that requires more slots than the total number of slots in the cluster currently."
)
BOUND_S = 0.1


class Spark:
    """A context with one job of one stage, of which `active` tasks run."""

    def __init__(self, active: int | None) -> None:
        self.active = active
        """None is of a job that is not known yet: Spark looks for room."""
        self.group = ""
        self.looks = 0
        self.cancelled = threading.Event()

    def setJobGroup(self, group: str, _: str) -> None:
        self.group = group

    def cancelJobGroup(self, group: str) -> None:
        assert group == self.group
        self.cancelled.set()

    def statusTracker(self) -> Any:
        self.looks += 1
        return self

    def getJobIdsForGroup(self, group: str) -> list[int]:
        assert group == self.group
        return [] if self.active is None else [7, 8]

    def getJobInfo(self, job: int) -> Any:
        return SimpleNamespace(stageIds=[job], status="RUNNING" if job == 8 else "FAILED")

    def getStageInfo(self, stage: int) -> Any:
        return SimpleNamespace(numActiveTasks=self.active if stage == 8 else 0)


def test_a_stage_none_of_whose_tasks_runs_is_cancelled_with_a_sentence() -> None:
    """It waited while its application lived."""
    spark, told = Spark(0), list[str]()
    with (
        pytest.raises(
            NoRoom, match=r"^Spark had no room for all 2 workers at once for 0 s: see to its nodes and its queue"
        ),
        RoomWatch(spark, 2, BOUND_S, told.append, look_s=0.01),
    ):
        spark.cancelled.wait(20)
        raise RuntimeError("Job 8 cancelled part of cancelled job group")
    assert spark.cancelled.is_set()
    with pytest.raises(KeyboardInterrupt), RoomWatch(spark, 2, BOUND_S, lambda _: None, look_s=0.01):
        spark.cancelled.clear()
        spark.cancelled.wait(20)
        raise KeyboardInterrupt
    assert told == ["the room for all 2 workers is gone again; it is waited for up to 0 s"]


@pytest.mark.parametrize("active", [None, 2])
def test_a_look_for_room_and_tasks_that_run_are_not_disturbed(active: int | None) -> None:
    spark, told = Spark(active), list[str]()
    with pytest.raises(RuntimeError, match="worker 1"), RoomWatch(spark, 2, 0.0, told.append, look_s=0.001):
        eventually(lambda: spark.looks > 20, "it looked")
        raise RuntimeError("worker 1 ended 7")
    assert not spark.cancelled.is_set() and told == []


def test_a_wait_begins_anew_when_tasks_ran_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    spark, now = Spark(0), [0.0]
    # The module's own name for it alone: `eventually` has to see the time go by.
    monkeypatch.setattr("ambry.ml.training.launchers.spark_room.time", SimpleNamespace(monotonic=lambda: now[0]))

    def looked(times: int) -> bool:
        return spark.looks > times

    with RoomWatch(spark, 2, 60.0, lambda _: None, look_s=0.001):
        for active, at in ((0, 0.0), (0, 50.0), (2, 70.0), (0, 100.0), (0, 150.0)):
            spark.active, now[0] = active, at
            seen = spark.looks
            eventually(partial(looked, seen + 3), "it looked again")
        assert not spark.cancelled.is_set()
        now[0] = 161.0
        assert spark.cancelled.wait(20)


def test_a_spark_that_is_gone_ends_the_watch() -> None:
    class Gone(Spark):
        def statusTracker(self) -> Any:
            super().statusTracker()
            raise ConnectionRefusedError

    spark = Gone(0)
    with RoomWatch(spark, 2, 0.0, lambda _: None, look_s=0.001):
        eventually(lambda: spark.looks == 1, "it looked")
    assert spark.looks == 1 and not spark.cancelled.is_set()


def test_a_spark_that_had_no_room_is_not_asked_again() -> None:
    """Each restart waited as long again: an hour of four times 15 minutes."""
    runs: list[int] = []

    def run(attempt: int) -> None:
        runs.append(attempt)
        raise NoRoom(no_room(3, 900, LOOKED))

    failed = tried(run, lambda: False, 3, lambda _: None)
    assert failed is not None and failed.message.startswith("Spark had no room for all 3 workers at once for 900 s: ")
    assert runs == [0]
    assert no_room(3, 900, "worker 1 ended 7") == ""


def test_the_bound_is_that_of_sparks_own_look() -> None:
    said = {"interval": 15, "maxFailures": "40"}
    conf = SimpleNamespace(
        getTimeAsSeconds=lambda name: said[name.rpartition(".")[2]], get=lambda name: said[name.rpartition(".")[2]]
    )
    context = SimpleNamespace(_jsc=SimpleNamespace(sc=lambda: SimpleNamespace(conf=lambda: conf)))
    assert bound_of(context) == 600.0
