"""The wall clocks of data nodes, held against ours; and the time that most of them have. Pure.

Answers to hellos and pings bring the wall clock of whoever answers (ambry/network/pool.py). What is kept of it is how far it
is from our monotonic clock, so a sample stays true when our own wall clock jumps. docs/decisions has the reasons.
"""

from __future__ import annotations

from typing import NamedTuple

from ambry.clock import Clock

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


class AgreedClock:
    """A clock whose wall time is our own while that agrees with most of the data nodes, and theirs when it does not.

    `own_votes`: whether our own clock counts among them, as a data node's does. Most is the middle one, the earlier of two: a
    blob rather lives for longer than the clocks of some allow. Nothing is known before the first sample: then it is our own.
    """

    def __init__(self, clock: Clock, *, own_votes: bool) -> None:
        self.peers = PeerClocks(clock)
        self._clock = clock
        self.monotonic = clock.monotonic
        self._own_votes = own_votes
        self._base_ms: int | None = None

    def note(self, peer: str, offset_ms: int, uncertainty_ms: int) -> None:
        """As PeerClocks.note."""
        self.peers.note(peer, offset_ms, uncertainty_ms)
        votes = [sample.base_ms for sample in self.peers.fresh().values()]
        if self._own_votes:
            votes.append(base_ms(self._clock))
        votes.sort()
        self._base_ms = votes[(len(votes) - 1) // 2]

    @property
    def correction_ms(self) -> int:
        """What is added to our own wall clock now; 0 while that agrees."""
        if self._base_ms is None:
            return 0
        ahead_ms = self._base_ms - base_ms(self._clock)
        return ahead_ms if abs(ahead_ms) > SKEW_MAX_MS else 0

    def wall_ms(self) -> int:
        own_ms = self._clock.wall_ms()
        if self._base_ms is None:
            return own_ms
        agreed_ms = self._base_ms + int(self._clock.monotonic() * 1000)
        return own_ms if -SKEW_MAX_MS <= own_ms - agreed_ms <= SKEW_MAX_MS else agreed_ms

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
