"""Whatever call of a commit is the last one of its driver: no version lacks a part, and what no version has goes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from ambry.client.model import BatchResult
from ambry.client.refs import NameRef
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    BlobNotFound,
    DataCorrupt,
    InternalError,
    InvalidRequest,
    ProtocolViolation,
    QuotaExceeded,
    RateLimited,
    RequestTimeout,
    Unavailable,
    UpdateConflict,
)
from ambry.spark.commits import JOB_KEY, PART_TTL, ROWS_JOB_KEY, PartsCommit
from ambry.spark.stored_parts import delete_unused

NOW = datetime.now(UTC)
FOLDER = NameRef("clicks", "a", "c")


class DriverKilled(BaseException):
    """Nothing of the process runs after it."""


@dataclass
class Kept:
    data: bytes
    stays: bool
    created: datetime = NOW
    ttl: timedelta | None = None


@dataclass
class StoreOfParts:
    """Names and versions in memory. `last` calls are done; the one after that fails as `failure` says, before it or after."""

    names: dict[str, Kept] = field(default_factory=dict)
    made: list[dict[str, str]] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    """Versions that are in a list and deleted by now."""
    now: datetime = NOW
    held: set[str] = field(default_factory=set)
    """What nobody may delete."""
    blind: bool = False
    """No list of versions is answered."""
    last: int = 1_000_000
    failure: BaseException | None = None
    done_before: bool = False
    calls: list[str] = field(default_factory=list)
    between: dict[int, Callable[[], None]] = field(default_factory=dict)
    """What others do before a call of this number, from 0 on."""
    is_dataset: bool = False
    """Also without a version."""
    default_account = "a"
    default_container = "c"

    def __getattr__(self, name: str) -> Any:
        does = getattr(type(self), f"do_{name}")

        def call(*words: Any, **said: Any) -> Any:
            if others := self.between.pop(len(self.calls), None):
                others()
            self.calls.append(name)
            fails = len(self.calls) > self.last and self.failure is not None
            if isinstance(self.failure, DriverKilled) and len(self.calls) > self.last + 1:
                raise self.failure
            if fails and not self.done_before:
                raise self._failed()
            found = does(self, *words, **said)
            if fails:
                raise self._failed()
            return found

        return call

    def _failed(self) -> BaseException:
        assert self.failure is not None
        failure = self.failure
        if not isinstance(failure, DriverKilled):
            self.failure = None
        return failure

    def do_dataset(self, name: str, **_: Any) -> Any:
        return SimpleNamespace(name=name, schema="MONOTONIC", tags={})

    def do_create_dataset(self, name: str, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(name=name, schema="MONOTONIC", tags={})

    def do_list(self, prefix: str) -> list[Any]:
        begin = prefix.removeprefix("ambry://a/c/")
        return [
            SimpleNamespace(ref=NameRef(name, "a", "c"), name=name, modified=kept.created, id=name, size=len(kept.data))
            for name, kept in list(self.names.items())
            if name.startswith(begin)
        ]

    def do_put(
        self, data: bytes, *, name: NameRef, ttl: timedelta | None = None, if_absent: bool = False, **_: Any
    ) -> Any:
        if if_absent and name.name in self.names:
            raise AlreadyExists(f"{name} is there")
        self.names[name.name] = Kept(data, True, self.now, ttl)
        return SimpleNamespace(created=self.now)

    def do_update_ttl(self, ref: NameRef, ttl: None) -> None:
        if ref.name not in self.names:
            raise BlobNotFound(f"{ref} is not there")
        self.names[ref.name].stays = True

    def do_put_version(self, *_: Any, metadata: dict[str, str], **__: Any) -> None:
        self.made.append(metadata)

    def do_versions(self, dataset: str) -> Iterator[Any]:
        if self.blind:
            raise Unavailable("no node answers")
        if not self.made and not self.is_dataset:
            raise BlobNotFound(f"there is no dataset {dataset}")
        return iter([SimpleNamespace(ref=number, id=number, version=str(number)) for number in range(len(self.made))])

    def do_head_many(self, ids: list[int]) -> list[Any]:
        return [
            SimpleNamespace(info=None, error=BlobNotFound(f"{number} is gone"))
            if number in self.gone
            else SimpleNamespace(info=SimpleNamespace(metadata=self.made[number]), error=None)
            for number in ids
        ]

    def do_delete_many(self, refs: list[NameRef]) -> list[BatchResult]:
        held = {ref.name: AccessDenied(f"{ref} is held") for ref in refs if ref.name in self.held}
        for ref in refs:
            if ref.name not in held:
                self.names.pop(ref.name, None)
        return [BatchResult(id=None, error=held.get(ref.name)) for ref in refs]

    def do_store_time(self) -> datetime:
        return self.now

    def do_get_bytes(self, ref: NameRef) -> bytes:
        return self.names[ref.name].data

    def do_delete(self, ref: NameRef) -> None:
        if ref.name in self.held:
            raise AccessDenied(f"{ref} is held")
        self.names.pop(ref.name, None)


def begun(job: str = "j1") -> tuple[StoreOfParts, PartsCommit, list[NameRef]]:
    commit = PartsCommit("clicks", FOLDER, job)
    parts = [commit.part(f"0000{number}-7") for number in range(3)]
    return StoreOfParts({each.name: Kept(b"", False) for each in parts}), commit, parts


def check(store: StoreOfParts, parts: list[NameRef]) -> None:
    there = [store.names.get(each.name) for each in parts]
    if store.made:
        assert all(each is not None and each.stays for each in there)
        return
    listed = b"\n".join(kept.data for name, kept in store.names.items() if name.startswith("clicks.commits/")).decode()
    for part, kept in zip(parts, there, strict=True):
        assert kept is None or not kept.stays or part.name in listed.split("\n")


def test_a_list_that_nobody_may_delete_goes_by_itself() -> None:
    """A key that only writes left one with each version, which each later commit looked at."""
    store, commit, parts = begun()
    store.held = {commit.told.name}
    commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    assert len(store.made) == 1 and store.names[commit.told.name] == Kept(b"", True, NOW, PART_TTL)
    assert commit.told.name in tidied(store)


def steps() -> int:
    store, commit, parts = begun()
    commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    assert [each[JOB_KEY] for each in store.made] == ["j1"]
    assert set(store.names) == {each.name for each in parts} and all(each.stays for each in store.names.values())
    return len(store.calls)


ENDS = [
    (DriverKilled(), False),
    (DriverKilled(), True),
    (Unavailable("no node answers"), False),
    (Unavailable("the answer was lost"), True),
    (AlreadyExists("there is a 1"), False),
]


def settled(store: StoreOfParts, parts: list[NameRef]) -> None:
    """Of what is left, the next commit takes away what is older than the lifetime of a part, and nothing before that."""
    before = dict(store.names)
    other = PartsCommit("clicks", FOLDER, "j2")
    other.tidy(store, NOW + PART_TTL - timedelta(hours=1))  # type: ignore[arg-type]
    assert store.names == before
    other.tidy(store, NOW + PART_TTL + timedelta(hours=1))  # type: ignore[arg-type]
    assert not [name for name in store.names if name.startswith("clicks.commits/")]
    check(store, parts)
    if store.made:
        assert set(store.names) == {each.name for each in parts}
    else:
        assert not any(each.stays for each in store.names.values())


def fails_from(store: StoreOfParts, calls: int, failure: BaseException, done_before: bool) -> None:
    store.calls.clear()
    store.last, store.failure, store.done_before = calls, failure, done_before


@pytest.mark.parametrize(("failure", "done_before"), ENDS)
def test_a_commit_that_ends_at_any_call_and_an_end_of_the_job_that_does_too(
    failure: BaseException, done_before: bool
) -> None:
    """Spark ends a job whose commit failed, and one whose commit it has no answer of: also after it was published."""
    for last in range(steps() + 1):
        for aborted in range(8):
            store, commit, parts = begun()
            fails_from(store, last, failure, done_before)
            try:
                commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
            except (AmbryError, DriverKilled):
                check(store, parts)
            else:
                assert len(store.made) == 1
            fails_from(store, aborted, failure, done_before)
            with suppress(DriverKilled):
                commit.abort(store, parts)  # type: ignore[arg-type]
            assert aborted < 7 or len(store.calls) < 7, "no call is left out"
            check(store, parts)
            store.failure = None
            settled(store, parts)


def test_a_job_that_is_ended_before_its_commit_leaves_nothing() -> None:
    for made in ([], [{JOB_KEY: "j0"}]):
        store, commit, parts = begun()
        store.made = list(made)
        commit.abort(store, parts)  # type: ignore[arg-type]
        assert not store.names
        calls = len(store.calls)
        commit.abort(store, [])  # type: ignore[arg-type]
        assert len(store.calls) == calls and not store.names


def test_a_job_that_is_ended_while_its_commit_runs_keeps_all_parts_or_is_refused() -> None:
    """Spark stopped waiting for the commit, whose process goes on."""
    published = 0
    for at in range(steps() + 1):
        store, commit, parts = begun()
        store.between = {at: partial(commit.abort, store, parts)}  # type: ignore[arg-type]
        with suppress(AmbryError):
            commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
        check(store, parts)
        published += len(store.made)
        settled(store, parts)
    assert published >= 5
    refused = 0
    for at in range(5):
        store, commit, parts = begun()
        told: list[AmbryError] = []

        def publish(
            store: StoreOfParts = store,
            commit: PartsCommit = commit,
            parts: list[NameRef] = parts,
            told: list[AmbryError] = told,
        ) -> None:
            try:
                commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
            except AmbryError as error:
                told.append(error)

        store.between = {at: publish}
        commit.abort(store, parts)  # type: ignore[arg-type]
        if store.between:
            store.between.clear()
            publish()
        check(store, parts)
        assert len(store.made) + len(told) == 1
        refused += any("Spark ended this job before its commit began" in str(each) for each in told)
        settled(store, parts)
    assert refused >= 2


@pytest.mark.parametrize("days", [-400, -8, 8, 400])
def test_no_clock_of_a_driver_says_how_old_a_commit_is(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another driver commits to the dataset at each call of one that runs; its clock is wrong by these days."""

    class WrongClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> WrongClock:
            moved = datetime.now(tz) + timedelta(days=days)
            return cls.fromtimestamp(moved.timestamp(), tz)

    monkeypatch.setattr("ambry.spark.commits.datetime", WrongClock)
    for at in range(steps() + 1):
        store, commit, parts = begun()
        other = PartsCommit("clicks", FOLDER, "j2")
        others = [other.part("00000-9")]
        store.names[others[0].name] = Kept(b"", False)
        store.between = {at: partial(other.publish, store, others, b"footer", "LATEST")}  # type: ignore[arg-type]
        commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
        assert at == steps() or {each[JOB_KEY] for each in store.made} == {"j1", "j2"}
        check(store, parts)
    # What was left goes when the store says so.
    store, found = left("j1")
    for job, hours, is_there in (("j3", -1, True), ("j4", 1, False)):
        _, commit, parts = begun(job)
        store.now = NOW + PART_TTL + timedelta(hours=hours)
        store.names |= {each.name: Kept(b"", False) for each in parts}
        commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
        assert {each.name in store.names for each in found["j1"]} == {is_there}


def test_what_is_refused_leaves_nothing_and_is_told_as_it_is() -> None:
    store, commit, parts = begun()
    store.last, store.failure = steps() - 2, AlreadyExists("there is a 1")
    with pytest.raises(AlreadyExists, match="there is a 1"):
        commit.publish(store, parts, b"footer", "1")  # type: ignore[arg-type]
    assert "put_version" in store.calls and not store.names and not store.made


def test_an_answer_that_was_lost_is_no_failure_and_one_that_is_not_known_is_told_of() -> None:
    store, commit, parts = begun()
    store.last, store.failure, store.done_before = steps() - 2, Unavailable("the connection broke"), True
    commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    check(store, parts)
    store, commit, parts = begun()
    store.last, store.failure = steps() - 2, Unavailable("the connection broke")
    with pytest.raises(Unavailable, match="the connection broke; whether clicks has got a version"):
        commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    check(store, parts)
    assert commit.told.name in store.names


@pytest.mark.parametrize("refused", [AlreadyExists("1"), UpdateConflict("1 is too low"), QuotaExceeded("full")])
def test_a_refusal_of_a_try_whose_first_made_the_version_takes_no_part_away(refused: AmbryError) -> None:
    store, commit, parts = begun()
    store.last, store.failure, store.done_before = steps() - 2, refused, True
    commit.publish(store, parts, b"footer", "1")  # type: ignore[arg-type]
    assert set(store.names) == {each.name for each in parts} and len(store.made) == 1
    # Where nobody can look, the parts and their list stay.
    store, commit, parts = begun()
    store.last, store.failure, store.done_before = steps() - 2, refused, True
    store.between = {steps() - 2: partial(setattr, store, "blind", True)}
    with pytest.raises(Unavailable, match="whether clicks has got a version of this frame is not known"):
        commit.publish(store, parts, b"footer", "1")  # type: ignore[arg-type]
    check(store, parts)
    assert set(store.names) == {commit.told.name, *(each.name for each in parts)}


@pytest.mark.parametrize(("failure", "done_before"), ENDS)
def test_a_job_that_is_committed_again_has_the_version_it_had(failure: BaseException, done_before: bool) -> None:
    """Whatever call of the second commit fails, it makes no second version, and takes no part of the first one away."""
    for last in range(steps() + 1):
        store, commit, parts = begun()
        commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
        fails_from(store, last, failure, done_before)
        with suppress(AmbryError, DriverKilled):
            commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
        check(store, parts)
        assert [each[JOB_KEY] for each in store.made] == ["j1"]
        store.failure = None
        settled(store, parts)
    store, commit, parts = begun()
    for _ in range(3):
        commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
        assert len(store.made) == 1 and set(store.names) == {each.name for each in parts}


def test_a_commit_that_cannot_ask_for_versions_publishes_nothing_and_may_be_tried_again() -> None:
    store, commit, parts = begun()
    store.blind = True
    with pytest.raises(Unavailable, match="no node answers"):
        commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    assert not store.made and set(store.names) == {each.name for each in parts}
    assert not any(each.stays for each in store.names.values())
    store.blind = False
    commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    assert len(store.made) == 1
    check(store, parts)


def copied(store: StoreOfParts, commit: PartsCommit, parts: list[NameRef]) -> None:
    """As a typed snapshot is written, which is a version without parts."""
    commit.copy(store, parts, lambda: store.put_version("clicks", metadata={ROWS_JOB_KEY: commit.job}))  # type: ignore[arg-type]


@pytest.mark.parametrize(("failure", "done_before"), ENDS)
def test_a_copy_of_the_parts_that_ends_at_any_call_is_one_version(failure: BaseException, done_before: bool) -> None:
    """A snapshot that was committed a second time was another version, of a later time, or the parts of it were not there."""
    store, commit, parts = begun()
    copied(store, commit, parts)
    assert store.made == [{ROWS_JOB_KEY: "j1"}] and not store.names
    for last in range(len(store.calls) + 1):
        for again in (copied, lambda store, commit, parts: commit.abort(store, parts)):
            store, commit, parts = begun()
            fails_from(store, last, failure, done_before)
            told = None
            try:
                copied(store, commit, parts)
            except (AmbryError, DriverKilled) as error:
                told = error
            assert told or store.made == [{ROWS_JOB_KEY: "j1"}]
            store.failure = None
            refused = commit.told.name in store.names
            try:
                again(store, commit, parts)
            except AlreadyExists:
                assert refused
            assert len(store.made) <= 1 and not any(
                kept.stays for name, kept in store.names.items() if ".parts/" in name
            )
            if told is None and not refused and again is copied:
                assert not store.names
            tidied(store)
            assert not [name for name in store.names if name.startswith("clicks.commits/")]


def test_of_two_copies_at_a_time_one_is_refused() -> None:
    for at in range(4):
        store, commit, parts = begun()
        told: list[AlreadyExists] = []

        def again(
            store: StoreOfParts = store,
            commit: PartsCommit = commit,
            parts: list[NameRef] = parts,
            told: list[AlreadyExists] = told,
        ) -> None:
            try:
                copied(store, commit, parts)
            except AlreadyExists as error:
                told.append(error)

        store.between = {at: again}
        copied(store, commit, parts)
        assert len(store.made) == 1 and not store.names
        assert len(told) == (at > 0)


NOT_KNOWN = [
    Unavailable("no node answers"),
    RequestTimeout("there was no answer in time; a change may or may not have happened"),
    DataCorrupt("the answer is damaged"),
    InternalError("a bug in this server"),
    ProtocolViolation("it does not speak HTTP"),
]


def repeated(error: AmbryError) -> AmbryError:
    """As of a second try, where the answer to the first one was lost."""
    error.repeated = True
    return error


OF_A_SECOND_TRY = [
    repeated(RateLimited("too many")),
    repeated(QuotaExceeded("full")),
    repeated(AccessDenied("no more")),
]


@pytest.mark.parametrize("failure", NOT_KNOWN + OF_A_SECOND_TRY, ids=repr)
@pytest.mark.parametrize("lands", [False, True])
def test_a_version_that_may_land_later_is_not_known_and_one_that_does_has_its_parts(
    failure: AmbryError, lands: bool
) -> None:
    """A snapshot was told as failed, and a second try that was refused as the first one took the room: parts of it went."""
    for publishes in (True, False):
        store, commit, parts = begun()

        def no_answer(*_: Any, failure: AmbryError = failure, **__: Any) -> None:
            raise failure

        store.__dict__["put_version"] = no_answer
        with pytest.raises(
            Unavailable, match="whether clicks has got a version of this frame is not known: look"
        ) as told:
            if publishes:
                commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
            else:
                copied(store, commit, parts)
        assert failure.message in str(told.value)
        if lands:
            store.do_put_version(metadata={JOB_KEY if publishes else ROWS_JOB_KEY: "j1"})
        if publishes:
            check(store, parts)
            settled(store, parts)
        else:
            assert not store.names


@pytest.mark.parametrize(
    "failure",
    [
        BlobNotFound("no such row"),
        InvalidRequest("it does not fit"),
        AccessDenied("no"),
        QuotaExceeded("full"),
        repeated(AlreadyExists("there is a 1")),
        repeated(UpdateConflict("1 is too low")),
        repeated(InvalidRequest("it is too large")),
    ],
    ids=repr,
)
def test_what_is_refused_for_certain_is_told_as_it_is(failure: AmbryError) -> None:
    for publishes in (True, False):
        store, commit, parts = begun()

        def refuses(*_: Any, failure: AmbryError = failure, **__: Any) -> None:
            raise failure

        store.__dict__["put_version"] = refuses
        with pytest.raises(type(failure)) as told:
            if publishes:
                commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
            else:
                copied(store, commit, parts)
        assert told.value is failure and not store.names


def left(*jobs: str) -> tuple[StoreOfParts, dict[str, list[NameRef]]]:
    """Lists of drivers that were killed, and their parts."""
    store, found = StoreOfParts(), {}
    for job in jobs:
        _, commit, parts = begun(job)
        store.names |= {each.name: Kept(b"", True) for each in parts}
        store.names[commit.told.name] = Kept("\n".join(each.name for each in parts).encode(), True)
        found[job] = parts
    return store, found


def tidied(store: StoreOfParts) -> set[str]:
    PartsCommit("clicks", FOLDER, "j9").tidy(store, NOW + PART_TTL + timedelta(hours=1))  # type: ignore[arg-type]
    return set(store.names)


@pytest.mark.parametrize(
    "text",
    [
        b"models/precious",
        b"clicks.parts/j2/00000-7.parquet",
        b"clicks.parts/j1/00000-7.parquet\nmodels/precious",
        b"clicks.parts/j1/../j2/00000-7.parquet",
        b"\xff\xfe",
    ],
)
def test_a_list_of_other_things_than_parts_of_its_job_deletes_nothing(text: bytes) -> None:
    store, _ = left("j1", "j2")
    del store.names["clicks.commits/j2"]
    store.names["clicks.commits/j1"] = Kept(text, True)
    store.names["models/precious"] = Kept(b"weights", True)
    before = set(store.names)
    assert tidied(store) == before


def test_what_cannot_be_deleted_keeps_its_list_and_nothing_else() -> None:
    store, found = left("j1", "j2")
    held = found["j1"][0].name
    store.held = {held}
    assert tidied(store) == {held, "clicks.commits/j1"}
    store.held = set()
    assert not tidied(store)


def test_versions_are_looked_at_once_for_all_lists_and_many_with_a_request() -> None:
    store, found = left("j1", "j2", "j3")
    store.made = [{JOB_KEY: f"old{number}"} for number in range(50)] + [{JOB_KEY: "j2"}, {}]
    store.gone = {7}
    assert tidied(store) == {each.name for each in found["j2"]}
    assert store.calls.count("versions") == store.calls.count("head_many") == 1 and "head" not in store.calls


SOON = timedelta(hours=-1)
JOB = "00000000000000a1"


def others_of(store: StoreOfParts) -> list[NameRef]:
    """Two parts for ever of a version that is deleted, and the list of nobody."""
    _, _, parts = begun("00000000000000a2")
    store.is_dataset = True
    store.names |= {each.name: Kept(b"", True) for each in parts}
    return parts


class InTurns:
    """Calls of several threads at one store, one after the other in an order that is drawn."""

    def __init__(self, store: StoreOfParts, draw: random.Random, threads: int) -> None:
        self._store, self._draw, self._alive = store, draw, threads
        self._waiting: set[int] = set()
        self._turn: int | None = None
        self._changed = threading.Condition()

    def client(self, number: int) -> Any:
        return TakingTurns(self, number)

    def call(self, number: int, method: str, /, *words: Any, **said: Any) -> Any:
        with self._changed:
            self._waiting.add(number)
            self._choose()
            assert self._changed.wait_for(lambda: self._turn == number, 30)
            self._turn = None
            return getattr(self._store, method)(*words, **said)

    def end(self) -> None:
        with self._changed:
            self._alive -= 1
            self._choose()

    def _choose(self) -> None:
        if self._turn is None and self._waiting and len(self._waiting) == self._alive:
            self._turn = self._draw.choice(sorted(self._waiting))
            self._waiting.discard(self._turn)
            self._changed.notify_all()


class TakingTurns:
    default_account = "a"
    default_container = "c"

    def __init__(self, turns: InTurns, number: int) -> None:
        self._turns, self._number = turns, number

    def __getattr__(self, name: str) -> Any:
        return partial(self._turns.call, self._number, name)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_order_of_a_commit_and_a_delete_of_unused_parts_no_version_lacks_one(seed: int) -> None:
    """With an age shorter than a job takes, parts went between the moment in which they were to stay and their version."""
    draw = random.Random(seed)
    for _ in range(10):
        store, commit, parts = begun(JOB)
        others = others_of(store)
        unused = partial(delete_unused, dataset="clicks", older=SOON)
        ends = partial(commit.abort, parts=parts)
        doing = [
            partial(commit.publish, parts=parts, footer=b"footer", version="LATEST"),
            unused,
            draw.choice([unused, ends]),
        ]
        turns = InTurns(store, draw, len(doing))

        def does(number: int, turns: InTurns = turns, doing: list[Any] = doing) -> None:
            try:
                doing[number](client=turns.client(number))
            except (AlreadyExists, BlobNotFound) as error:
                assert number == 0 and "write the frame again" in str(error)
            finally:
                turns.end()

        with ThreadPoolExecutor(len(doing)) as threads:
            list(threads.map(does, range(len(doing))))
        check(store, parts)
        assert not any(each.name in store.names for each in others)
        assert not [name for name in store.names if name.startswith("clicks.commits/")]
        assert bool(store.made) == all(each.name in store.names for each in parts)


@pytest.mark.parametrize(("failure", "done_before"), ENDS[:4])
def test_a_delete_of_unused_parts_that_ends_at_any_call_loses_no_part_of_a_version(
    failure: BaseException, done_before: bool
) -> None:
    """What it leaves is a list, behind which nothing is committed, and which the next delete takes up a week later."""
    whole, commit, parts = begun(JOB)
    others_of(whole)
    delete_unused(whole, "clicks", SOON)  # type: ignore[arg-type]
    assert not whole.names
    for last in range(len(whole.calls) + 1):
        for is_during in (False, True):
            store, commit, parts = begun(JOB)
            others_of(store)
            fails_from(store, last, failure, done_before)
            with suppress(AmbryError, DriverKilled):
                delete_unused(store, "clicks", SOON)  # type: ignore[arg-type]
            store.failure = None
            if is_during:
                with suppress(AlreadyExists, BlobNotFound):
                    commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
                check(store, parts)
            lists = [name for name in store.names if name.startswith("clicks.commits/")]
            told: list[str] = []
            delete_unused(store, "clicks", SOON, told.append)  # type: ignore[arg-type]
            check(store, parts)
            kept = {name.split("/")[1] for name in store.names if name.startswith("clicks.parts/")}
            wanted = {name.split("/")[1] for name in lists} | {each[JOB_KEY] for each in store.made}
            assert kept <= wanted and all("of which clicks.commits/" in each for each in told)
            store.now = NOW + PART_TTL + timedelta(hours=1)
            delete_unused(store, "clicks", SOON)  # type: ignore[arg-type]
            check(store, parts)
            assert {name for name in store.names if ".parts/" in name} == (
                {each.name for each in parts} if store.made else set()
            )


@pytest.mark.parametrize("failure", NOT_KNOWN + OF_A_SECOND_TRY, ids=repr)
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_delete_that_may_be_done_later_keeps_its_list_before_a_commit(failure: AmbryError, is_whole: bool) -> None:
    """Of one part, or of all of them, nobody knows whether it is deleted: it is, when the commit has come."""
    store, commit, parts = begun(JOB)
    store.is_dataset = True
    late: list[NameRef] = []

    def deletes(refs: list[NameRef]) -> list[BatchResult]:
        late.extend(refs[-1:])
        if is_whole:
            raise failure
        return [*store.do_delete_many(refs[:-1]), BatchResult(id=None, error=failure)]

    store.__dict__["delete_many"] = deletes
    with pytest.raises(type(failure)) as told:
        delete_unused(store, "clicks", SOON)  # type: ignore[arg-type]
    del store.__dict__["delete_many"]
    assert told.value is failure and [each.name for each in late] == [parts[-1].name]
    with pytest.raises(AlreadyExists, match="or its parts are deleted as unused"):
        commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    store.do_delete_many(late)
    check(store, parts)
    store.now = NOW + PART_TTL + timedelta(hours=1)
    delete_unused(store, "clicks", SOON)  # type: ignore[arg-type]
    assert not [name for name in store.names if ".parts/" in name] and not store.made


@pytest.mark.parametrize("failure", [AccessDenied("held"), InvalidRequest("no such place")], ids=repr)
def test_a_delete_that_is_refused_for_certain_leaves_no_list(failure: AmbryError) -> None:
    store, commit, parts = begun(JOB)
    store.is_dataset = True
    store.__dict__["delete_many"] = lambda refs: [BatchResult(id=None, error=failure) for _ in refs]
    with pytest.raises(type(failure)):
        delete_unused(store, "clicks", SOON)  # type: ignore[arg-type]
    commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    assert len(store.made) == 1
    check(store, parts)


def test_a_commit_that_runs_keeps_its_parts_from_a_delete_which_says_so() -> None:
    store, commit, parts = begun(JOB)
    told: list[str] = []
    store.is_dataset = True
    store.between = {steps() - 2: lambda: delete_unused(store, "clicks", SOON, told.append)}  # type: ignore[arg-type, dict-item]
    commit.publish(store, parts, b"footer", "LATEST")  # type: ignore[arg-type]
    check(store, parts)
    assert len(store.made) == 1
    [text] = told
    assert text.startswith(f"3 parts of the job {JOB} stay, of which clicks.commits/{JOB} tells")


def test_a_list_that_was_left_is_taken_up_for_what_is_old_enough_and_stays_for_the_rest() -> None:
    store, found = left(JOB)
    store.now, store.is_dataset = NOW + PART_TTL + timedelta(days=1), True
    young = found[JOB][0].name
    store.names[young].created = NOW + PART_TTL
    assert len(delete_unused(store, "clicks", timedelta(days=2))) == 2  # type: ignore[arg-type]
    assert set(store.names) == {young, f"clicks.commits/{JOB}"}
    assert len(delete_unused(store, "clicks", timedelta(hours=2))) == 1  # type: ignore[arg-type]
    assert not store.names


def test_a_key_that_may_not_write_a_list_deletes_nothing() -> None:
    store, _, parts = begun(JOB)
    store.is_dataset = True

    def refuses(*_: Any, **__: Any) -> Any:
        raise AccessDenied("this key writes nothing")

    store.__dict__["put"] = refuses
    with pytest.raises(AccessDenied, match="this key writes nothing"):
        delete_unused(store, "clicks", SOON)  # type: ignore[arg-type]
    assert set(store.names) == {each.name for each in parts}
