"""Whether, when and where to try again. Plain classes that are told times and say what to do; they never wait.

Shared by threads without a lock: a lost update makes the budget or the preference inexact for one call, never wrong
about data, and a lock could be held by another thread when the process forks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from ambry.client.model import Jitter, RetryPolicy
from ambry.client.wire.refusals import ConnectFailed, StaleConnection
from ambry.clock import Clock
from ambry.errors import AmbryError, InsufficientStorage, InternalError, QuotaExceeded

RESERVE = 10.0
"""Retries free at the start, and the most that may be saved up: a short-lived client must be able to retry too."""

AVOID_S = 5.0
"""How long an endpoint that failed is only tried after the others."""

STALE_MAX = 2

LEAST_DELAY: dict[Jitter, float] = {"full": 0.0, "equal": 0.5, "none": 1.0}
"""Of the longest delay, what nothing is drawn of."""

OnRetry = Callable[[AmbryError, float, float], None]
"""Told of an attempt that failed, the seconds until the next, and those since the call began."""


class RetryBudget:
    """A bucket of retries: every call adds `share`, every retry takes 1, `RESERVE` is the most it holds."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._tokens = RESERVE

    def call(self) -> None:
        self._tokens = min(RESERVE, self._tokens + self._share)

    def take(self) -> bool:
        """Whether a retry may be made; takes it when so."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Endpoints:
    """The frontends in order of preference, and which of them failed lately."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self._avoid_until = dict.fromkeys(self.urls, float("-inf"))

    def choose(self, now: float, tried: Sequence[str]) -> str:
        """The first that is well and new to this call; else the new one that failed longest ago; else start over."""
        fresh = [url for url in self.urls if url not in tried] or list(self.urls)
        for url in fresh:
            if self._avoid_until[url] <= now:
                return url
        return min(fresh, key=self._avoid_until.__getitem__)

    def failed(self, url: str, now: float) -> None:
        self._avoid_until[url] = now + AVOID_S

    def succeeded(self, url: str) -> None:
        self._avoid_until[url] = float("-inf")


class Attempts:
    """The attempts of one call. `begin` says where to go; `failed` how long to wait before the next, or raises."""

    def __init__(
        self,
        *,
        policy: RetryPolicy,
        budget: RetryBudget,
        endpoints: Endpoints,
        clock: Clock,
        source: random.Random,
        deadline: float | None,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._endpoints = endpoints
        self._clock = clock
        self._source = source
        self._tried: list[str] = []
        self._stale = 0
        self._since_progress = 0
        self._unheard = False
        self._on_retry = on_retry
        self._began = clock.monotonic()
        self.count = 0
        self.endpoint = ""
        self.deadline = deadline
        budget.call()

    def begin(self) -> str:
        """Count one more attempt and choose its endpoint."""
        self.count += 1
        self._since_progress += 1
        if len(self._tried) >= len(self._endpoints.urls):
            self._tried.clear()
        self.endpoint = self._endpoints.choose(self._clock.monotonic(), self._tried)
        self._tried.append(self.endpoint)
        return self.endpoint

    def remaining(self) -> float | None:
        """Seconds until the call's deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock.monotonic())

    def without_deadline(self) -> None:
        """The caller now sets the pace, so the call's deadline is over."""
        self.deadline = None

    def succeeded(self) -> None:
        self._endpoints.succeeded(self.endpoint)

    def progressed(self) -> None:
        """Bytes arrived: a long transfer may break more often than a request may fail. The budget still bounds it."""
        self._since_progress = 0

    def describe(self, error: AmbryError) -> None:
        """Note in an error at which endpoint and after how many attempts it happened."""
        error.endpoint = self.endpoint
        error.attempts = self.count
        error.repeated = self._unheard

    def failed(self, error: AmbryError, *, repeatable: bool = True) -> float:
        """Seconds to wait before the next attempt. Raises `error`, filled in, when there is none.

        `repeatable` says that sending the request again does no harm and that its body can be had again.
        """
        try:
            delay_s = self._delay_s(error, repeatable)
            if delay_s is None:
                raise error
            return delay_s
        finally:
            # Its traceback has this frame, and the frame would have it: with the body of the call, until a collection.
            del error

    def _delay_s(self, error: AmbryError, repeatable: bool) -> float | None:
        """None where there is no next attempt."""
        self.describe(error)
        if not isinstance(error, ConnectFailed | QuotaExceeded):
            # Also a kept connection may have been closed right after the request was carried out. Who is over a rate was
            # heard, and nothing was done.
            self._unheard = True
        if isinstance(error, StaleConnection) and repeatable and self._stale < STALE_MAX:
            # Not a failure of the server, which never saw the request.
            self._stale += 1
            self.count -= 1
            self._since_progress -= 1
            self._tried.remove(self.endpoint)
            return 0.0
        if not repeatable or not self._may_help(error):
            return None
        if isinstance(error, InsufficientStorage) and len(self._tried) >= len(self._endpoints.urls):
            return None  # Room does not come within seconds; elsewhere there may be some.
        now = self._clock.monotonic()
        same_place = isinstance(error, QuotaExceeded) or len(self._tried) >= len(self._endpoints.urls)
        if isinstance(error, QuotaExceeded):
            self._tried.remove(self.endpoint)
        else:
            self._endpoints.failed(self.endpoint, now)
        if self._since_progress >= self._policy.max_attempts:
            return None
        # Going elsewhere after a refused connection costs no server anything.
        if not (isinstance(error, ConnectFailed) and not same_place) and not self._budget.take():
            return None
        delay = self._backoff() if same_place else 0.0
        if same_place and error.retry_after_s is not None:
            if error.retry_after_s > self._policy.retry_after_max:
                return None
            delay += error.retry_after_s
        if self.deadline is not None and now + delay >= self.deadline:
            return None
        if self._on_retry is not None:
            self._on_retry(error, delay, now - self._began)
        return delay

    def _backoff(self) -> float:
        ceiling = min(self._policy.cap, self._policy.base * 2 ** (self._since_progress - 1))
        return float(self._source.uniform(ceiling * LEAST_DELAY[self._policy.jitter], ceiling))

    def _may_help(self, error: AmbryError) -> bool:
        if self._policy.retry_on is not None:
            return isinstance(error, self._policy.retry_on)
        # A 500 is a bug of that frontend; another one, or another moment, may not have it.
        return error.retriable or isinstance(error, InternalError) or type(error) is AmbryError
