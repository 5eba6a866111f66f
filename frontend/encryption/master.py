"""The master keys as everything else sees them: a provider that is asked within bounds, and never believed unseen.

calls at a time     CALLS_MAX; WAITING_MAX more wait, the rest is refused
a call              waits for its turn for `timeout_s` at most, and takes that long at most
an answer           is a key of the right size; what was wrapped is opened again before anybody relies on it
a provider away     is left alone for `retry_s`: calls are refused meanwhile with what it last failed of
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ambry.clock import Clock
from ambry.errors import KeysUnavailable
from ambry.service.logs import get_logger
from frontend import metrics
from frontend.encryption.provider import KEY_SIZE, WRAPPED_BYTES_MAX, Provider, ProviderFailed, Wrapped, check_version

log = get_logger()

T = TypeVar("T")
CALLS_MAX = 4
WAITING_MAX = 256


class MasterKeys:
    """The master keys of one frontend process."""

    def __init__(self, provider: Provider, *, clock: Clock, timeout_s: float, retry_s: float) -> None:
        self.name = provider.name
        self._provider = provider
        self._clock = clock
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._asking = 0
        self._next_try = clock.monotonic()
        self.away: str | None = None
        """Why it is; None: it is not, by what was last heard."""

    async def newest(self) -> str:
        """The version that wraps now. Raises KeysUnavailable."""
        return check_version(await self._call("newest", self._provider.newest))

    async def wrap(self, key: bytes, about: bytes) -> Wrapped:
        """Wrap a key, and see that it opens again. Raises KeysUnavailable."""

        async def wrap() -> Wrapped:
            wrapped = await self._provider.wrap(key, about)
            check_version(wrapped.version)
            if not 0 < len(wrapped.text) <= WRAPPED_BYTES_MAX or key in wrapped.text:
                raise ProviderFailed(f"what it wrapped has {len(wrapped.text)} bytes, and is not usable", away=True)
            if await self._provider.unwrap(wrapped, about) != key:
                raise ProviderFailed("what it wrapped does not open again", away=False)
            return wrapped

        return await self._call("wrap", wrap)

    async def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        """The key. Raises KeysUnavailable, also for what this provider, or its version, does not open."""

        async def unwrap() -> bytes:
            key = await self._provider.unwrap(wrapped, about)
            if len(key) != KEY_SIZE:
                raise ProviderFailed(f"it gave a key of {len(key)} bytes, and not of {KEY_SIZE}", away=True)
            return key

        return await self._call("unwrap", unwrap)

    async def _call(self, what: str, ask: Callable[[], Awaitable[T]]) -> T:
        if self.away is not None and self._clock.monotonic() < self._next_try:
            metrics.ENCRYPTION_CALLS.labels(what, "not_asked").inc()
            raise self._unavailable(self.away)
        if self._asking >= CALLS_MAX + WAITING_MAX:
            metrics.ENCRYPTION_CALLS.labels(what, "not_asked").inc()
            raise self._unavailable(f"{self._asking} calls wait for it already")
        self._asking += 1
        try:
            await self._turn(what)
            try:
                async with asyncio.timeout(self._timeout_s):
                    found = await ask()
            finally:
                self._calls.release()
        except TimeoutError:
            self._failed(what, f"no answer within {self._timeout_s:g} s", away=True)
        except ProviderFailed as error:
            self._failed(what, str(error), away=error.away)
        finally:
            self._asking -= 1
        metrics.ENCRYPTION_CALLS.labels(what, "done").inc()
        if self.away is not None:
            log.info("provider of master keys answers again", provider=self.name)
            self.away = None
        return found

    async def _turn(self, what: str) -> None:
        """Wait to be one of those that ask. Who waits in vain says nothing of the provider, which may be well and slow."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._calls.acquire()
        except TimeoutError:
            metrics.ENCRYPTION_CALLS.labels(what, "not_asked").inc()
            why = f"{self._asking} calls wait for it, which answers more slowly than they come"
            raise self._unavailable(why) from None

    def _failed(self, what: str, why: str, *, away: bool) -> None:
        metrics.ENCRYPTION_CALLS.labels(what, "away" if away else "refused").inc()
        if away:
            self._next_try = self._clock.monotonic() + self._retry_s
            if self.away is None:
                log.warning("provider of master keys does not answer", provider=self.name, error=why)
            self.away = why
        raise self._unavailable(why) from None

    def _unavailable(self, why: str) -> KeysUnavailable:
        return KeysUnavailable(
            f"whoever keeps the master keys ({self.name}) cannot open or make keys now: {why}",
            retry_after_s=self._retry_s,
        )
