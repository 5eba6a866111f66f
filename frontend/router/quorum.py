"""Quorums, decided. Pure: which replica to ask next, and when the outcome is certain. The callers do the asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum


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


class WriteTracker:
    """One write. It goes to every local replica at once, and to remote ones one after the other until enough confirmed."""

    def __init__(
        self, *, local: Sequence[str], local_target: int, remote: Sequence[str] = (), remote_target: int = 0
    ) -> None:
        self._local = set(local)
        self._remote_left = list(remote)
        self._missing_local = local_target
        self._missing_remote = remote_target
        self._asked_local = len(local)
        self._asked_remote = 0

    def start(self) -> list[str]:
        """The replicas to send to now."""
        return sorted(self._local) + self._more_remote()

    def _more_remote(self) -> list[str]:
        more: list[str] = []
        while self._remote_left and self._asked_remote < self._missing_remote:
            more.append(self._remote_left.pop(0))
            self._asked_remote += 1
        return more

    def record(self, replica: str, confirmed: bool) -> list[str]:
        """Take in one outcome; returns further replicas to send to."""
        if replica in self._local:
            self._asked_local -= 1
            self._missing_local -= confirmed
            return []
        self._asked_remote -= 1
        self._missing_remote -= confirmed
        return self._more_remote()

    @property
    def verdict(self) -> Verdict:
        if self._missing_local <= 0 and self._missing_remote <= 0:
            return Verdict.DONE
        possible_remote = self._asked_remote + len(self._remote_left)
        if self._missing_local > self._asked_local or self._missing_remote > possible_remote:
            return Verdict.FAILED
        return Verdict.PENDING


class Answer(Enum):
    """What a replica said to a get."""

    FOUND = 0
    GONE = 1
    """Deleted or expired, as far as this replica knows."""
    ABSENT = 2
    """Not found, said with authority."""
    FAILED = 3
    """No answer, a corrupt copy, or a replica without authority."""


class GetTracker:
    """One get. Replicas are asked one after the other; the caller may ask the next before the last has answered.

    `replicas` is the order of asking: name and datacenter. Absence is proven when enough replicas of our own datacenter said
    so, and of the blob's origin (CONTRACT C3); where neither has a replica it cannot be proven. That a blob is gone counts
    when as many of ours said so (of the origin's where we have none), since one alone may not have heard of an undelete or a
    longer life; or when nobody left knows better.
    """

    def __init__(
        self, replicas: Sequence[tuple[str, int]], *, own: int, origin: int, absent_targets: Mapping[int, int]
    ) -> None:
        self._left = list(replicas)
        self._datacenters = dict(replicas)
        self._missing = {
            datacenter: absent_targets[datacenter] for datacenter in {own, origin} if absent_targets.get(datacenter)
        }
        self._agreeing = own if absent_targets.get(own) else origin
        self._missing_gone = max(1, absent_targets.get(self._agreeing, 0))
        self._gone = False
        self._asked = 0
        self.verdict = Verdict.PENDING if replicas else Verdict.FAILED

    def next_replica(self) -> str | None:
        """The next replica to ask, None when all were."""
        if not self._left or self.verdict is not Verdict.PENDING:
            return None
        self._asked += 1
        return self._left.pop(0)[0]

    def record(self, replica: str, answer: Answer) -> Verdict:
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
        elif self._missing and all(count <= 0 for count in self._missing.values()):
            self.verdict = Verdict.DONE if self._gone else Verdict.ABSENT
        elif not self._left and not self._asked:
            self.verdict = Verdict.DONE if self._gone else Verdict.FAILED
        return self.verdict
