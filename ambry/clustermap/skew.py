"""The wall clocks of data nodes, held against ours; and the time that most of them have. Pure.

Answers to hellos and pings bring the wall clock of whoever answers (ambry/network/pool.py). What is kept of it is how far it
is from our monotonic clock, so a sample stays true when our own wall clock jumps. docs/decisions has the reasons.
"""

from __future__ import annotations

from typing import NamedTuple

from ambry.clock import Clock, FollowingClock

SKEW_MAX_MS = 10_000
"""Clocks that differ by no more agree: kept by NTP they differ by less than a second, and no promise is finer."""
SAMPLE_LIFE_S = 600.0
"""A clock that was not heard of for so long says nothing any more: a node with a wrong clock may be gone for good."""


def base_ms(clock: Clock) -> int:
    """How far the wall clock is ahead of the monotonic one, milliseconds: it moves only when the wall clock is moved."""
    return clock.wall_ms() - int(clock.monotonic() * 1000)


class Sample(NamedTuple):
    """A peer's wall clock, `base_ms` ahead of our monotonic one, give or take `uncertainty_ms`; heard at `at_s`, monotonic."""

    base_ms: int
    uncertainty_ms: int
    at_s: float


class PeerClocks:
    """The latest sample of each peer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: dict[str, Sample] = {}

    def note(self, peer: str, offset_ms: int, uncertainty_ms: int) -> None:
        """A peer's wall clock was just heard to be `offset_ms` ahead of ours, give or take half of the round trip."""
        self._samples[peer] = Sample(base_ms(self._clock) + offset_ms, uncertainty_ms, self._clock.monotonic())

    def fresh(self) -> dict[str, Sample]:
        """What counts, by peer."""
        oldest_s = self._clock.monotonic() - SAMPLE_LIFE_S
        return {peer: sample for peer, sample in self._samples.items() if sample.at_s >= oldest_s}

    def offsets_ms(self) -> dict[str, int]:
        """By peer, how far its wall clock is ahead of ours now."""
        own_ms = base_ms(self._clock)
        return {peer: sample.base_ms - own_ms for peer, sample in self.fresh().items()}


class AgreedClock(FollowingClock):
    """A clock whose wall time is our own while that agrees with most of the data nodes, and theirs when it does not.

    `own_votes`: whether our own clock counts among them, as a data node's does. Most is the middle one, the earlier of two: a
    blob rather lives for longer than the clocks of some allow. Nothing is known before the first sample: then it is our own.
    Between samples it goes at the pace of the monotonic clock, so a jump of our own wall clock shows nowhere.
    """

    def __init__(self, clock: Clock, *, own_votes: bool) -> None:
        super().__init__(clock)
        self.peers = PeerClocks(clock)
        self.correction_ms = 0
        """What is added to our own wall clock; 0 while that agrees."""
        self._own_votes = own_votes

    def note(self, peer: str, offset_ms: int, uncertainty_ms: int) -> None:
        """As PeerClocks.note."""
        self.peers.note(peer, offset_ms, uncertainty_ms)
        self.look()

    def look(self) -> None:
        """Settle the time anew, by what is known now; call it now and then when nobody may be heard of any more."""
        own_ms = base_ms(self._clock)
        votes = [sample.base_ms for sample in self.peers.fresh().values()]
        if not votes:
            self.base_ms, self.correction_ms = None, 0
            return
        if self._own_votes:
            votes.append(own_ms)
        votes.sort()
        ahead_ms = votes[(len(votes) - 1) // 2] - own_ms
        self.correction_ms = ahead_ms if abs(ahead_ms) > SKEW_MAX_MS else 0
        self.base_ms = own_ms + self.correction_ms
