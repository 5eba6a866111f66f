"""The job goes on after what may be over by itself, and ends with a sentence; Kafka itself is for the engine tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ambry.client.locked_file import LockedFile
from ambry.errors import AccessDenied, AmbryError, BlobNotFound, InvalidRequest, Unavailable
from ambry.streams import job, restarts
from ambry.streams.job import error_of, run_job
from ambry.streams.reads import ReadFailed
from ambry.streams.target import KafkaTarget
from tests.support.kafka_errors import kafka_error, raised

CHANGES = KafkaTarget(brokers=("127.0.0.1:1",), topic="changes")


class OfQuix(Exception):
    """As those of Quix are."""


class PartitionAssignmentError(OfQuix):
    pass


class StateRecoveryOffsetOutOfRange(OfQuix):
    pass


class ValueSerializationError(OfQuix):
    pass


@pytest.fixture(autouse=True)
def quix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "needed", lambda name: SimpleNamespace(QuixException=OfQuix))


class Clock:
    """Sleeps at once."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def ran(
    state: Path, monkeypatch: pytest.MonkeyPatch, script: Iterator[Exception | None], bound: float | None
) -> list[str]:
    """What a job says whose attempts end so, each after ten seconds."""
    clock, told = Clock(), list[str]()

    def attempt(*_: Any) -> None:
        clock.now_s += 10
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # As Quix takes it.
        error = next(script)
        if error is not None:
            raise error

    monkeypatch.setattr(job, "_run", attempt)
    run_job(
        None,  # type: ignore[arg-type]
        CHANGES,
        "days",
        folder="actions/",
        state=state,
        give_up_after_s=bound,
        tell=told.append,
        clock=clock,  # type: ignore[arg-type]
    )
    return told


def away() -> Exception:
    return raised(PartitionAssignmentError("Error during partition assignment"), kafka_error("_TRANSPORT"))


def test_a_job_goes_on_when_brokers_and_the_store_are_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    told = ran(tmp_path, monkeypatch, iter([away(), Unavailable("no frontend answers"), away(), None]), 3600)
    assert [each.rsplit(";", 1)[1] for each in told] == [
        " the job goes on where it was in 1 s",
        " the job goes on where it was in 2 s",
        " the job goes on where it was in 4 s",
    ]
    assert told[0].startswith("Kafka at 127.0.0.1:1, topic changes: ") and told[1].startswith("no frontend answers")
    assert signal.getsignal(signal.SIGTERM) == handler, "between two attempts a signal ends the command"


def test_a_job_is_given_up_after_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="the same command goes on where it was"):
        ran(tmp_path, monkeypatch, iter([away() for _ in range(100)]), 300)
    with pytest.raises(StopIteration):
        ran(tmp_path, monkeypatch, iter([away() for _ in range(100)]), None)


def test_a_file_that_takes_all_the_time_that_is_left_gives_the_job_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = raised(OfQuix("x"), ReadFailed("7 of 8 bytes came", 3600))
    monkeypatch.setattr(restarts, "SOUND_AFTER_S", 5.0)
    with pytest.raises(Unavailable, match="7 of 8 bytes came; the same command goes on where it was"):
        ran(tmp_path, monkeypatch, iter([slow]), 10)


def test_what_somebody_has_to_see_to_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, kind in [
        (raised(OfQuix("x"), kafka_error("TOPIC_AUTHORIZATION_FAILED")), AccessDenied),
        (raised(OfQuix("x"), kafka_error("MSG_SIZE_TOO_LARGE")), InvalidRequest),
        (raised(OfQuix("x"), kafka_error("_AUTO_OFFSET_RESET")), InvalidRequest),
        (StateRecoveryOffsetOutOfRange("offset 3 is below 7"), InvalidRequest),
        (ValueSerializationError("no JSON"), InvalidRequest),
        (AccessDenied("the key was revoked"), AccessDenied),
        (OfQuix("of another kind"), InvalidRequest),
    ]:
        with pytest.raises(kind):
            ran(tmp_path, monkeypatch, iter([error]), 3600)
    with pytest.raises(ZeroDivisionError):
        ran(tmp_path, monkeypatch, iter([ZeroDivisionError()]), 3600)


def test_an_error_is_what_it_was_caused_by() -> None:
    def sentence(error: Exception) -> str:
        found = error_of(error, CHANGES)
        assert isinstance(found, AmbryError)
        return str(found)

    assert "retention dropped messages" in sentence(raised(OfQuix("x"), kafka_error("_AUTO_OFFSET_RESET")))
    assert "raise max.message.bytes" in sentence(raised(OfQuix("x"), kafka_error("MSG_SIZE_TOO_LARGE")))
    assert "no broker of kafka://127.0.0.1:1/changes answers as it should (silence)" in sentence(
        raised(PartitionAssignmentError("x"), RuntimeError("silence"))
    )
    delivery = OfQuix("x")
    delivery.error = kafka_error("_MSG_TIMED_OUT").args[0]  # type: ignore[attr-defined]
    assert isinstance(error_of(delivery, CHANGES), Unavailable)
    unknown = raised(OfQuix("x"), kafka_error("UNKNOWN_TOPIC_OR_PART"))
    assert isinstance(error_of(unknown, CHANGES), Unavailable), "it may have been made a moment ago"
    gone = BlobNotFound("there is none")
    assert error_of(raised(OfQuix("x"), gone), CHANGES) is gone
    assert error_of(KeyError("type"), CHANGES) is None


def test_a_directory_is_kept_for_one_job_and_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    assert ran(kept, monkeypatch, iter([None]), None) == ran(kept, monkeypatch, iter([None]), None) == []
    with LockedFile(kept / "job.lock") as other:
        other.lock(wait=False)
        with pytest.raises(InvalidRequest, match="another process keeps"):
            ran(kept, monkeypatch, iter([None]), None)
    (kept / "job.json").write_text('{"changes": "changes", "topic": "days", "folder": "others/"}\n')
    with pytest.raises(InvalidRequest, match=r'kept for another job: .*"others/".*give each job a topic'):
        ran(kept, monkeypatch, iter([None]), None)
