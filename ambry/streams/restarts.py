"""When a job that failed is set up again, and when it is given up. It asks and waits for nobody."""

from __future__ import annotations

import math

PAUSE_S = 1.0
PAUSE_MAX_S = 30.0
SOUND_AFTER_S = 150.0
"""An attempt that went on for so long was sound until then: what went wrong before is over. One that no broker answers fails
sooner, of Quix (ANSWER_S, and 60 s for its two questions about where the partitions are) and of Samza, which takes longer."""


class JobRestarts:
    """Of one job. With `give_up_after_s` None it is never given up."""

    def __init__(self, give_up_after_s: float | None) -> None:
        self._give_up_after_s = give_up_after_s
        self._failing_since: float | None = None
        self._pause_s = PAUSE_S

    def left_s(self, now_s: float, began_s: float | None = None) -> float:
        """For an attempt that begins now, one at least: when it is given up that does not become sound.

        For what begins now in an attempt that began then: as much as that had, and in a sound one as in a first one.
        """
        if self._give_up_after_s is None:
            return math.inf
        if began_s is not None:
            return self._give_up_after_s if now_s - began_s >= SOUND_AFTER_S else self.left_s(began_s)
        return max(1.0, self._give_up_after_s - (0.0 if self._failing_since is None else now_s - self._failing_since))

    def pause_s(self, began_s: float, now_s: float, waited_s: float = 0.0) -> float | None:
        """How long to wait after an attempt that began then and failed now, having waited so long in vain; None to give up."""
        since = now_s - waited_s
        is_sound = since - began_s >= SOUND_AFTER_S
        if self._failing_since is None or is_sound:
            self._failing_since, self._pause_s = since if is_sound else began_s, PAUSE_S
        pause, self._pause_s = self._pause_s, min(2 * self._pause_s, PAUSE_MAX_S)
        if self._give_up_after_s is None:
            return pause
        left = self._give_up_after_s - (now_s - self._failing_since)
        return min(pause, left) if left > 0 else None
