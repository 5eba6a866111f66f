"""A store that is away for a moment ends no training: a frontend that is started again, say, the only one that is named.

An outage of up to about OUTAGE_S is waited for, by workers with whatever they ask of the store, and by who submitted the job
when its workers have ended. A worker that gave up would cost a restart of all workers, and there are few of those.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ambry.client.model import RetryPolicy
from ambry.errors import AmbryError

OUTAGE_S = 60.0
PATIENT = RetryPolicy(max_attempts=11, base=0.5, cap=10.0, jitter="equal", budget=1.0)
"""Ten waits of 33 to 65 s together; the reserve of a client's budget has no more."""
_LOOK_AGAIN_S = 1.0
T = TypeVar("T")


def outwaited(work: Callable[[], T], tell: Callable[[str], None], *, outage_s: float = OUTAGE_S) -> T:
    """What `work` gives; it is called again while the store is away, which is told once. Raises what it raises at last."""
    until = time.monotonic() + outage_s
    told = False
    while True:
        try:
            return work()
        except AmbryError as error:
            if not error.retriable or time.monotonic() >= until:
                raise
            if not told:
                tell(f"the store is away, and is waited for: {error.message}")
            told = True
            time.sleep(_LOOK_AGAIN_S)
