"""A provider of master keys for tests: does what it is told to do wrong."""

from __future__ import annotations

import asyncio

from ambry.clock import Clock, system_secret
from frontend.encryption.held import HeldKeys
from frontend.encryption.master import MasterKeys
from frontend.encryption.provider import ProviderFailed, Wrapped


class TroubledProvider:
    """Real keys in memory behind every kind of trouble. `release` lets a call that hangs go on."""

    def __init__(self, *versions: str) -> None:
        self.name = "held"
        self.versions = list(versions or ("1",))
        self.away = False
        self.hanging = False
        self.broken: bytes | None = None
        """Answered in place of each key."""
        self.other = False
        """Its keys are not those that wrapped what there is."""
        self.asked: list[str] = []
        self.released = asyncio.Event()
        self.called = asyncio.Event()
        """Set by the first call that hangs."""
        self.in_call = 0
        self.most_in_call = 0
        self._held = HeldKeys("held", self._text, chance=system_secret)

    def _text(self) -> str:
        digit = "f" if self.other else "a"
        return "\n".join(f"{version} {digit * 56}{int(version):08x}" for version in self.versions)

    async def _pass(self, what: str) -> None:
        self.asked.append(what)
        self.in_call += 1
        self.most_in_call = max(self.most_in_call, self.in_call)
        try:
            if self.hanging:
                self.called.set()
                await self.released.wait()
        finally:
            self.in_call -= 1
        if self.away:
            raise ProviderFailed("nobody is there", away=True)

    async def newest(self) -> str:
        await self._pass("newest")
        return await self._held.newest()

    async def wrap(self, key: bytes, about: bytes) -> Wrapped:
        await self._pass("wrap")
        wrapped = await self._held.wrap(key, about)
        return wrapped if self.broken is None else Wrapped(wrapped.version, self.broken)

    async def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes:
        await self._pass("unwrap")
        return await self._held.unwrap(wrapped, about) if self.broken is None else self.broken


def master_keys(
    provider: TroubledProvider, clock: Clock, *, timeout_s: float = 20.0, retry_s: float = 5.0
) -> MasterKeys:
    return MasterKeys(provider, clock=clock, timeout_s=timeout_s, retry_s=retry_s)
