"""Quorums, decided. Pure: which replica to ask next, and when the outcome is certain. The callers do the asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from enum import Enum
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")
"""How the caller names a replica."""

SILENCE_S = 1.0
"""How long a suspect replica is waited for when nobody else can decide. Long enough for one that was only busy."""
LOOK_AGAIN_S = 0.25
"""From then on, how often it is looked at who is suspect; a paused node is within 3 s (ambry/network/pool.py)."""


class Verdict(Enum):
    PENDING = 0
    DONE = 1
    """Put and update: enough replicas confirmed. Get: one answered with the blob, or it is gone."""
    FAILED = 2
    """Put and update: too few can still confirm. Get: nobody has it, and its absence is not proven."""
    ABSENT = 3
    """Get only: proven absent."""


def write_target(replica_count: int, success_target: int) -> int:
    """How many of a datacenter's replicas must confirm a write."""
    return min(success_target, replica_count)


def absent_target(replica_count: int, success_target: int) -> int:
    """How many of a datacenter's replicas must say "not found": so many that one of them would have the blob.

    N - W + 1, which is 2 for 3 replicas written at 2; 0 where the datacenter has no replica.
    """
    return replica_count - write_target(replica_count, success_target) + 1 if replica_count else 0


class WriteTracker(msgspec.Struct, Generic[T], eq=False, kw_only=True):
    """One write. It goes to every local replica at once, and to remote ones one after the other until enough confirmed."""

    waiting: set[T]
    """The local replicas that have not answered yet: all of them at first."""
    missing: int
    """How many of them must still confirm, at first at most all of them."""
    remote_left: list[T] = []
    """Those of other datacenters that were not asked yet, in the order of asking."""
    remote_waiting: set[T] = set()
    remote_missing: int = 0
    verdict: Verdict = Verdict.PENDING

    @property
    def asked(self) -> set[T]:
        """Those that were asked and have not answered, here and in other datacenters."""
        return self.waiting | self.remote_waiting

    def next_remote(self, silent: Set[T] = frozenset()) -> list[T]:
        """Further remote replicas to send to, so many that those suffice who were asked and are not `silent`."""
        more: list[T] = []
        while self.remote_left and len(self.remote_waiting - silent) < self.remote_missing:
            more.append(self.remote_left.pop(0))
            self.remote_waiting.add(more[-1])
        return more

    def record(self, replica: T, confirmed: bool) -> list[T]:
        """Take in one outcome, each replica's once; returns further replicas to send to."""
        if replica in self.waiting:
            self.waiting.discard(replica)
            self.missing -= confirmed
        else:
            self.remote_waiting.discard(replica)
            self.remote_missing -= confirmed
        more = self.next_remote() if self.remote_left else []
        if self.missing <= 0 and self.remote_missing <= 0:
            self.verdict = Verdict.DONE
        elif not confirmed and self.fails_without(frozenset()):  # one that confirmed takes nobody's chance
            self.verdict = Verdict.FAILED
        return more

    def fails_without(self, silent: Set[T]) -> bool:
        """Whether it can only succeed if one of these answers after all."""
        possible_remote = len(self.remote_waiting - silent) + len(self.remote_left)
        return self.missing > len(self.waiting - silent) or self.remote_missing > possible_remote


class Answer(Enum):
    """What a replica said to a get."""

    FOUND = 0
    GONE = 1
    """Deleted or expired, as far as this replica knows."""
    ABSENT = 2
    """Not found, said with authority."""
    FAILED = 3
    """No answer, a corrupt copy, or a replica without authority."""


class Candidate(msgspec.Struct, Generic[T], frozen=True):
    """A replica that may be asked, and where it is."""

    replica: T
    datacenter_id: int


class ReadTracker(Generic[T]):
    """One read of one record. Replicas are asked one after the other; the caller may ask the next before the last has answered.

    `replicas` are in the order of asking. Absence is proven when enough replicas of our own datacenter said
    so, and of the blob's origin (contract C3); where the origin has no replica, or is in no layout that we know, it cannot be
    proven. That a blob is gone counts
    when as many of ours said so (of the origin's where we have none), since one alone may not have heard of an undelete or a
    longer life; or when nobody left knows better.
    """

    def __init__(
        self, replicas: Sequence[Candidate[T]], *, own: int, origin: int, absent_targets: Mapping[int, int]
    ) -> None:
        self._left = list(replicas)
        self._datacenters = {each.replica: each.datacenter_id for each in replicas}
        self._provable = bool(absent_targets.get(origin))
        self._missing = {
            datacenter: absent_targets[datacenter] for datacenter in {own, origin} if absent_targets.get(datacenter)
        }
        self._agreeing = own if absent_targets.get(own) else origin
        self._missing_gone = max(1, absent_targets.get(self._agreeing, 0))
        self._gone = False
        self._asked = 0
        self.verdict = Verdict.PENDING if replicas else Verdict.FAILED

    def next_replica(self) -> T | None:
        """The next replica to ask, None when all were."""
        if not self._left or self.verdict is not Verdict.PENDING:
            return None
        self._asked += 1
        return self._left.pop(0).replica

    def record(self, replica: T, answer: Answer) -> Verdict:
        """Take in one answer."""
        self._asked -= 1
        if self.verdict is not Verdict.PENDING:
            return self.verdict
        if answer is Answer.FOUND:
            self.verdict = Verdict.DONE
            return self.verdict
        datacenter = self._datacenters[replica]
        if answer is Answer.GONE:
            self._gone = True
            self._missing_gone -= datacenter == self._agreeing
        if answer is Answer.ABSENT and datacenter in self._missing:
            self._missing[datacenter] -= 1
        if self._missing_gone <= 0:
            self.verdict = Verdict.DONE
        elif self._provable and all(count <= 0 for count in self._missing.values()):
            self.verdict = Verdict.DONE if self._gone else Verdict.ABSENT
        elif not self._left and not self._asked:
            self.verdict = Verdict.DONE if self._gone else Verdict.FAILED
        return self.verdict
