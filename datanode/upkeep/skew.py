"""May what trusts the wall clock go on? Pure.

Only a time to live and the retention of what is deleted need the wall clock, and what they free is gone for good. So nothing
is freed while there is a doubt about the clock:

    a peer's clock differs       of one that shares a partition with us, by more than SKEW_MAX_MS, heard in SAMPLE_LIFE_S
    our own moved                against the monotonic clock, by more than SKEW_MAX_MS; a clock that stands still does too
    it is not where it was left  it begins before the time that the last checkpoint knew to be right, or ABSENCE_S later
    nobody was heard yet         of those who share a partition with us

The last three end as soon as a peer that has no such doubt about its own clock agrees with ours, or after HOLD_S of running:
a node that is alone cannot know better, and whoever set its clock has had the time to notice.

What this cannot notice: the clocks of all nodes that hear each other wrong by the same, and nobody's moved. With the hold and
the retention of `compaction.deleted_retention_s` a clock must be wrong for that long before a byte is lost.
"""

from __future__ import annotations

from collections.abc import Collection

from ambry.clock import Clock
from ambry.clustermap.skew import SKEW_MAX_MS, PeerClocks, Sample, base_ms

ABSENCE_S = 86_400
HOLD_S = 6 * 3_600
READING_S = 1.0
"""A reading of both clocks that took longer says nothing: the process was stopped in between."""


class ClockJudge:
    """The judge of one node. `sharing` are the names of the nodes that hold replicas of its partitions."""

    def __init__(self, clock: Clock, peers: PeerClocks, *, sharing: Collection[str]) -> None:
        self._clock = clock
        self._peers = peers
        self._sharing = frozenset(sharing)
        self._started_s = clock.monotonic()
        self._started_ms = clock.wall_ms()
        self._base_ms = base_ms(clock)
        self._left_ms = 0
        """The latest time that checkpoints of earlier runs knew to be right."""
        self._remembered: set[int] = set()
        self._unproven = ""
        """Why our own clock is in doubt, whatever peers say."""
        self._unproven_at_s = self._started_s
        self._unheard = bool(self._sharing)
        self.telling = False
        """Whether peers may be told our time: once all is known that may speak against it."""
        self._right_ms = 0

    def remember(self, partition: int, right_ms: int) -> None:
        """What the checkpoint of a replica knew to be right when it was last written; 0: nothing. Once for each partition."""
        if partition in self._remembered:
            return  # reopened: its checkpoint is of this run
        self._remembered.add(partition)
        if right_ms <= self._left_ms:
            return
        # What was taken for right before this was known may not have been.
        self._left_ms = self._right_ms = right_ms
        passed_ms = self._started_ms - right_ms
        self._unproven = ""
        if passed_ms < -SKEW_MAX_MS:
            self._doubt_own(f"the clock began {-passed_ms // 1000} s before the time that was last known here")
        elif passed_ms > ABSENCE_S * 1000:
            self._doubt_own(f"the clock began {passed_ms // 1000} s after the time that was last known here")

    def note(self, peer: str) -> None:
        """A new sample of a peer's clock is there."""
        self._look()
        sample = self._peers.fresh().get(peer) if peer in self._sharing else None
        if sample is not None and self._agrees(sample) and sample.uncertainty_ms <= SKEW_MAX_MS:
            self._unproven = ""
            self._unheard = False
            self.certain_ms()  # a node that is never asked must know, too, when it was right

    def doubt(self) -> str:
        """Why nothing may be freed by the clock now; empty: it may."""
        self._look()
        samples = self._peers.fresh()
        wrong = sorted(peer for peer in self._sharing & samples.keys() if not self._agrees(samples[peer]))
        if wrong:
            return "clocks disagree: " + ", ".join(f"{peer} is {self._apart(samples[peer])}" for peer in wrong)
        if self._unproven:
            return self._unproven + self._unconfirmed()
        if self._unheard and not self._held_long_enough(self._started_s):
            return "no peer's clock was heard of yet" + self._unconfirmed()
        return ""

    def certain_ms(self) -> int:
        """The wall time that may free something; 0, at which nothing is over yet, while there is a doubt."""
        if self.doubt():
            return 0
        self._right_ms = self._clock.wall_ms()
        return self._right_ms

    def right_ms(self) -> int:
        """The latest time that was known to be right, for the next checkpoint; 0: never."""
        self.certain_ms()
        return self._right_ms

    def told_ms(self) -> int:
        """What peers are told: our wall clock, or 0 where we doubt it ourselves, so that they do not trust it either."""
        self._look()
        return self._clock.wall_ms() if self.telling and not self._unproven else 0

    # --- our own clock ---

    def _look(self) -> None:
        began_s = self._clock.monotonic()
        now_ms = base_ms(self._clock)
        if self._clock.monotonic() - began_s > READING_S:
            return
        moved_ms = now_ms - self._base_ms
        if abs(moved_ms) > SKEW_MAX_MS:
            self._base_ms = now_ms
            self._doubt_own(f"the clock was moved by {moved_ms // 1000} s")
        elif self._unproven and self._held_long_enough(self._unproven_at_s):
            self._unproven = ""

    def _doubt_own(self, why: str) -> None:
        self._unproven = why
        self._unproven_at_s = self._clock.monotonic()

    def _held_long_enough(self, since_s: float) -> bool:
        return self._clock.monotonic() - since_s >= HOLD_S

    def _unconfirmed(self) -> str:
        who = "a peer" if self._sharing else "nobody"
        return f"; {who} can confirm it, else it counts after {HOLD_S // 3600} h"

    def _agrees(self, sample: Sample) -> bool:
        return abs(sample.base_ms - base_ms(self._clock)) <= SKEW_MAX_MS + sample.uncertainty_ms

    def _apart(self, sample: Sample) -> str:
        offset_ms = sample.base_ms - base_ms(self._clock)
        return f"{abs(offset_ms) // 1000} s {'ahead' if offset_ms > 0 else 'behind'}"
