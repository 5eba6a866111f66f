"""Accounts and containers that are not known here yet, and may be in another datacenter: it is asked before it is said that
there are none (contract C3).

What another one has comes by itself, in the order in which it was written there. So where one says that it has an account, that
is waited for; a part of it alone would be taken for all that holds for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ambry.clock import Clock
from ambry.errors import Unavailable
from frontend.containers.registers import ACCOUNTS, ID_SIZE, NAME, account_scope
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Version

T = TypeVar("T")
AskAll = Callable[[Space, int, bytes], Awaitable[Version | None]]
"""The newest version of a register, here or elsewhere. Raises Unavailable where one cannot be asked that may know it."""


class ContainersElsewhere:
    """What others know; an answer waits `within_s` for what they have to come."""

    def __init__(self, store: MetadataStore, ask_all: AskAll, *, clock: Clock, within_s: float) -> None:
        self._store = store
        self._ask_all = ask_all
        self._clock = clock
        self._within_s = within_s

    async def account(self, name: str, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """What `look` finds of an account once that is here; None: there is none anywhere. Raises Unavailable."""
        return await self._come(f"account {name}", Space.ACCOUNT_NAME, ACCOUNTS, name.encode(), look)

    async def account_id(self, id: int, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """The same by its id."""
        key = id.to_bytes(ID_SIZE, "big") + NAME.encode()
        return await self._come(f"account {id}", Space.ACCOUNT, ACCOUNTS, key, look)

    async def container(self, account: int, name: str, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """The same of a container of an account."""
        return await self._come(f"container {name}", Space.CONTAINER_NAME, account_scope(account), name.encode(), look)

    async def _come(
        self, what: str, space: Space, scope: int, key: bytes, look: Callable[[], Awaitable[T | None]]
    ) -> T | None:
        if await self._ask_all(space, scope, key) is None:
            return None
        end = self._clock.monotonic() + self._within_s
        while True:
            seq = (await self._store.head()).seq
            found = await look()
            if found is not None:
                return found
            left_s = end - self._clock.monotonic()
            if left_s <= 0:
                raise Unavailable(
                    f"the {what[:160]} is known in another datacenter, and what holds for it is not here yet; retry",
                    retry_after_s=1,
                )
            await self._store.wait(seq, left_s)
