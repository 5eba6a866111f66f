"""Counting anew what containers with a quota have: what was deleted or has expired comes off, and what a dead process took.

The data nodes tell what a container had at their last checkpoints, and what was put since then must not get lost:

1. A mark is set: from now on the count says how much it grew `since`, and what all processes held then is noted (`at_mark`).
2. When every checkpoint is later than the mark, the data nodes are asked. All that was put before the mark is in what they say,
   or was deleted; all else is in `since`, or was held at the mark. So their sum is the new count, and is never too low.

One process of a datacenter does so at a time, by lease. It trusts its own monotonic clock alone: a mark that it did not set
itself, it sets again.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from ambry.clock import Clock
from ambry.service.logs import get_logger
from frontend.container import scope_of
from frontend.containers.quota import Counted
from frontend.containers.quota_bounds import amount_of, has_quota, is_accounts
from frontend.containers.quota_rows import (
    NOTHING,
    QuotaAmount,
    QuotaCount,
    count_key,
    decode_amount,
    decode_count,
    encode,
    grants_key,
)
from frontend.containers.resolver import Containers
from frontend.metadata.leases import Leases
from frontend.metadata.pages import all_rows
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Conflict, LocalDelete, LocalPut, LocalRow, MetadataStore
from frontend.metadata.unreadable import passing_over
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.usage import used_at_least

log = get_logger()

LEASE = "recount"
LEASE_S = 60.0
LOOK_EVERY_S = 10.0
NOTHING_EVERY_S = 30.0
"""How often to look while no container with a quota was put into."""
TIMEOUT_S = 30.0


def counted_by(router: RouterContext, random_source: random.Random) -> Counted:
    """What the data nodes say."""

    async def counted() -> Mapping[int, QuotaAmount]:
        found = await used_at_least(RequestContext.of_ours(random_source, timeout_s=TIMEOUT_S), router)
        return {
            scope_of(container.account, container.container): QuotaAmount(space.live_bytes, space.live_blobs)
            for container, space in found.items()
        }

    return counted


class Recount:
    """The loop that does so."""

    def __init__(
        self,
        store: MetadataStore,
        containers: Containers,
        counted: Counted,
        leases: Leases,
        *,
        clock: Clock,
        random_source: random.Random,
        settled_after_s: float,
    ) -> None:
        """`settled_after_s`: every data node writes a checkpoint of what changed within this time."""
        self._store = store
        self._containers = containers
        self._counted = counted
        self._clock = clock
        self._random = random_source
        self._settled_after_s = settled_after_s
        self._leases = leases
        self._marked_at: dict[bytes, float] = {}
        """By mark: when we set it, monotonic."""

    async def tick(self) -> float:
        """One look; seconds until the next."""
        if not await self._store.locals(LocalSpace.USAGE, prefix=b"c", limit=1):
            return NOTHING_EVERY_S
        if not await self._leases.hold(LEASE, LEASE_S):
            self._marked_at.clear()
        else:
            due: list[LocalRow] = []
            async for row in all_rows(self._store, LocalSpace.USAGE, prefix=b"c"):
                with passing_over("quota", row.key):
                    if await self._is_due(row):
                        due.append(row)
            if due:
                counted = await self._counted()
                for row in due:
                    with passing_over("quota", row.key):
                        await self._set(row.key, decode_count(row.value).mark, amount_of(counted, _number(row.key)))
        return LOOK_EVERY_S

    async def _is_due(self, row: LocalRow) -> bool:
        """Whether a container is to be counted now. Sets a mark where there is none of ours."""
        number = _number(row.key)
        if self._is_over(number):
            await self._try(LocalDelete(LocalSpace.USAGE, row.key, row.value))
            return False
        count = decode_count(row.value)
        at = self._marked_at.get(count.mark)
        if at is not None:
            return self._clock.monotonic() - at >= self._settled_after_s
        held = NOTHING
        async for grant in all_rows(self._store, LocalSpace.USAGE, prefix=grants_key(number)):
            held += decode_amount(grant.value)
        # Whoever takes or gives back changes the count too: if somebody did since it was read, this is done again.
        mark = self._random.randbytes(8)
        marked = QuotaCount(count.used, mark, NOTHING, held)
        if await self._try(LocalPut(LocalSpace.USAGE, row.key, encode(marked), condition=row.value)):
            self._marked_at[mark] = self._clock.monotonic()
        return False

    def _is_over(self, number: int) -> bool:
        """Whether what is counted under a number has no quota any more."""
        if is_accounts(number):
            account = self._containers.directory.accounts.get(number >> 32)
            return account is not None and not has_quota(account.settings)
        container = self._containers.known_id(number >> 32, number & 0xFFFF_FFFF)
        return container is not None and not has_quota(container.settings)

    async def _set(self, key: bytes, mark: bytes, counted: QuotaAmount) -> None:
        """Put what the data nodes counted in place of what the count was at its mark."""
        row = await self._store.local(LocalSpace.USAGE, key)
        if row is None:
            return
        count = decode_count(row.value)
        if count.mark != mark:
            return
        used = counted + count.since + count.at_mark
        if await self._try(LocalPut(LocalSpace.USAGE, key, encode(QuotaCount(used)), condition=row.value)):
            self._marked_at.pop(mark, None)
            if used != count.used:
                log.info("quota counted anew", container=_number(key), bytes=used.bytes, bytes_before=count.used.bytes)

    async def _try(self, change: LocalPut | LocalDelete) -> bool:
        try:
            await self._store.write([change])
        except Conflict:
            return False
        return True


def _number(key: bytes) -> int:
    """The container that a count's key names."""
    return int.from_bytes(key[len(count_key(0)) - 8 :], "big")
