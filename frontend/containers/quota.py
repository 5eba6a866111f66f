"""Quotas: what is put where a container or its account has one is taken from it before it is written (contract F40).

A process takes some at a time from its count in the metadata store, and hands it to its uploads without asking
anybody; what nobody wants it gives back a moment later. The less is left the less is taken, so that nobody waits for what lies
elsewhere. An upload of known size takes all of it before its body is asked for, any other takes each piece before that is
written. What fails gives back what it took. Deleted blobs come off when the data nodes have counted (recount.py beside this).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from ambry.clock import Clock
from ambry.errors import AmbryError, QuotaExceeded, Unavailable
from ambry.service.logs import get_logger
from frontend.container import Container
from frontend.containers.quota_bounds import Bound, amount_of, bounds_of
from frontend.containers.quota_rows import (
    NOTHING,
    QuotaAmount,
    QuotaCount,
    count_key,
    decode_count,
    encode,
    grants_key,
)
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Change, Conflict, Expect, LocalDelete, LocalPut, MetadataStore
from frontend.metadata.unreadable import passing_over

log = get_logger()

Counted = Callable[[], Awaitable[Mapping[int, QuotaAmount]]]
"""What containers have by the data nodes' word, by number. Raises Unavailable where some of them say nothing."""

GRANT_BYTES_MAX = 64 << 20
GRANT_BLOBS_MAX = 4096
SHARE = 8
"""Taken beyond what is wanted: at most this part of what is left, and at most those."""
GRANT_LIFE_S = 300.0
"""A process that could not say for so long what it holds, by its own clock, hands nothing of it out any more."""
ROW_LIFE_S = 3600.0
"""What a process holds that nobody heard of for so long, by the wall clock, is counted no more. Long, for clocks differ."""
IDLE_S = 2.0
LOOK_EVERY_S = 1.0
RETRY_AFTER_S = 60.0
ATTEMPTS = 50
"""A take that others' takes came before is tried again so often."""


class _Ledger:
    """What this process holds of one quota."""

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.lock = asyncio.Lock()
        self.taking = 0
        """Uploads that wait for more of it: a lock that is being handed on is nobody's for a moment."""
        self.unspent = NOTHING
        self.in_flight = NOTHING
        """Taken by uploads that have not ended."""
        self.used_at = now
        self.written_at = now

    @property
    def held(self) -> QuotaAmount:
        return self.unspent + self.in_flight


class Quotas:
    """All quotas, as one process keeps to them."""

    def __init__(self, store: MetadataStore, counted: Counted, *, clock: Clock, random_source: random.Random) -> None:
        self._store = store
        self._counted = counted
        self._clock = clock
        self._owner = random_source.randbytes(8)
        self._ledgers: dict[int, _Ledger] = {}

    async def take(self, bound: Bound, wanted: QuotaAmount) -> None:
        """Raises QuotaExceeded where there is no room, Unavailable where nobody can tell. Whoever took calls `ended`, once."""
        number = bound.number
        ledger = self._ledgers.get(number)
        if ledger is None:
            ledger = self._ledgers[number] = _Ledger(number, self._clock.monotonic())
        ledger.used_at = self._clock.monotonic()
        self._forget_old(ledger)
        if not ledger.unspent.covers(wanted):
            ledger.taking += 1
            try:
                async with ledger.lock:
                    await self._take_more(ledger, bound, wanted)
            finally:
                ledger.taking -= 1
        # Nobody else has run since it was seen that there is enough.
        ledger.unspent -= wanted
        ledger.in_flight += wanted

    def ended(self, bound: Bound, taken: QuotaAmount, *, stored: bool) -> None:
        """An upload has ended that took so much; what was not stored is there for others."""
        ledger = self._ledgers[bound.number]
        ledger.in_flight -= taken
        if not stored:
            ledger.unspent += taken
        ledger.used_at = self._clock.monotonic()

    def _forget_old(self, ledger: _Ledger) -> None:
        """What this process may have lost meanwhile, as it was stopped or the store away, it must not hand out."""
        if self._clock.monotonic() - ledger.written_at > GRANT_LIFE_S:
            ledger.unspent = NOTHING

    async def _take_more(self, ledger: _Ledger, bound: Bound, wanted: QuotaAmount) -> None:
        for _ in range(ATTEMPTS):
            # Others may have used of it while this was waiting.
            missing = (wanted - ledger.unspent).positive
            if missing == NOTHING:
                return
            before, count = await self._count_of(ledger.number)
            left = bound.quota - count.used
            if not left.covers(missing):
                raise QuotaExceeded(bound.sentence(count.used - ledger.unspent, wanted), retry_after_s=RETRY_AFTER_S)
            spare = left - missing
            more = missing + QuotaAmount(
                min(GRANT_BYTES_MAX, spare.bytes // SHARE), min(GRANT_BLOBS_MAX, spare.blobs // SHARE)
            )
            await self._write(ledger, before, count, more)
        raise Unavailable(f"the quota of {bound.whose} is taken from by too many at once; retry", retry_after_s=1)

    async def _count_of(self, number: int) -> tuple[bytes, QuotaCount]:
        """The count as it is kept, and what it says. The first who asks has the data nodes count."""
        key = count_key(number)
        row = await self._store.local(LocalSpace.USAGE, key)
        if row is None:
            first = QuotaCount(amount_of(await self._counted(), number))
            try:
                await self._store.write([LocalPut(LocalSpace.USAGE, key, encode(first), condition=Expect.ABSENT)])
                return encode(first), first
            except Conflict:
                row = await self._store.local(LocalSpace.USAGE, key)
                if row is None:
                    raise Unavailable("the quota's count went away; retry", retry_after_s=1) from None
        return row.value, decode_count(row.value)

    async def _write(self, ledger: _Ledger, before: bytes, count: QuotaCount, more: QuotaAmount) -> bool:
        """Take so much more, or give back where it is less than nothing. False where others were first."""
        # What is given back is nobody's while it is on its way, and what is taken only when it is here.
        ledger.unspent += QuotaAmount(min(0, more.bytes), min(0, more.blobs))
        held = ledger.held + more.positive
        grant = grants_key(ledger.number) + self._owner
        held_row: Change = LocalDelete(LocalSpace.USAGE, grant)
        if held != NOTHING:
            ends_ms = self._clock.wall_ms() + int(ROW_LIFE_S * 1000)
            held_row = LocalPut(LocalSpace.USAGE, grant, encode(held), ends_ms)
        counted = LocalPut(LocalSpace.USAGE, count_key(ledger.number), encode(count.plus(more)), condition=before)
        began = self._clock.monotonic()
        try:
            await self._store.write([counted, held_row])
        except Conflict:
            ledger.unspent -= QuotaAmount(min(0, more.bytes), min(0, more.blobs))
            return False
        ledger.unspent += more.positive
        ledger.written_at = began
        return True

    # --- what nobody wants ---

    async def tick(self) -> float:
        """Give back what is not used, and say that the rest is; seconds until the next look."""
        for ledger in list(self._ledgers.values()):
            now = self._clock.monotonic()
            idle = now - ledger.used_at >= IDLE_S
            if ledger.held == NOTHING and idle and not ledger.taking and not ledger.lock.locked():
                del self._ledgers[ledger.number]
            elif (idle and ledger.unspent != NOTHING) or now - ledger.written_at >= GRANT_LIFE_S / 5:
                async with ledger.lock:
                    with passing_over("quota", count_key(ledger.number)):
                        await self._settle(ledger, give_back=idle)
        return LOOK_EVERY_S

    async def _settle(self, ledger: _Ledger, *, give_back: bool) -> None:
        self._forget_old(ledger)
        row = await self._store.local(LocalSpace.USAGE, count_key(ledger.number))
        if row is None:
            ledger.unspent = NOTHING  # there is no quota any more
            ledger.written_at = self._clock.monotonic()
            return
        more = NOTHING - ledger.unspent if give_back else NOTHING
        await self._write(ledger, row.value, decode_count(row.value), more)

    async def close(self) -> None:
        """Give all back that is not used."""
        for ledger in list(self._ledgers.values()):
            async with ledger.lock:
                try:
                    await self._settle(ledger, give_back=True)
                except AmbryError as error:
                    log.warning("some of a quota is given back by its end alone", error=error.message)


class Hold:
    """What one upload takes of the quotas of its container and its account; nothing where they have none.

    Enter it before the body is taken, and leave it when that is stored, or with what kept it from being so. Entering it and
    reading `over` raise QuotaExceeded, Unavailable.
    """

    __slots__ = ("_blobs", "_quotas", "_size", "_taken")

    def __init__(self, quotas: Quotas | None, container: Container, size: int | None, *, blobs: int = 1) -> None:
        """`size` in bytes, None where it is not known. Without `quotas` there is no store that could say there is one."""
        self._quotas = quotas
        self._size = size
        self._blobs = blobs
        self._taken = {} if quotas is None else dict.fromkeys(bounds_of(container), NOTHING)
        """Of each of them."""

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(stored=kind is None)

    async def begin(self) -> None:
        """Enter; `end` leaves."""
        try:
            await self._take_all(QuotaAmount(self._size or 0, self._blobs))
        except BaseException:
            self.end(stored=False)  # of the container's, where the account's has no room
            raise

    def end(self, *, stored: bool) -> None:
        """Leave; may be called twice."""
        for bound, taken in self._taken.items():
            self._taken[bound] = NOTHING
            if self._quotas is not None and taken != NOTHING:
                self._quotas.ended(bound, taken, stored=stored)

    async def take(self, size: int) -> None:
        """So many bytes more."""
        await self._take_all(QuotaAmount(size, 0))

    async def _take_all(self, wanted: QuotaAmount) -> None:
        """Take it of each."""
        for bound in self._taken:
            await self._take(bound, wanted)

    async def _take(self, bound: Bound, wanted: QuotaAmount) -> None:
        if self._quotas is not None:
            await self._quotas.take(bound, wanted)
            self._taken[bound] += wanted

    async def renew(self, container: Container, size: int) -> None:
        """The container was changed meanwhile: of what it is bound by since then take `size` bytes, which were put."""
        known = {bound.number for bound in self._taken}
        for bound in () if self._quotas is None else bounds_of(container):
            if bound.number not in known:
                self._taken[bound] = NOTHING
                await self._take(bound, QuotaAmount(size, self._blobs))

    def over(self, body: AsyncIterator[bytes | None]) -> AsyncIterator[bytes | None]:
        """The body, of which each piece is taken before anybody has it; as it is where its size was known."""
        return body if not self._taken or self._size is not None else _Taking(body, self)


class _Taking(AsyncIterator[bytes | None]):
    """A body of unknown size, of which each piece is taken first."""

    def __init__(self, body: AsyncIterator[bytes | None], hold: Hold) -> None:
        self._body = body
        self._hold = hold

    async def __anext__(self) -> bytes | None:
        piece = await anext(self._body)
        if piece:
            await self._hold.take(len(piece))
        return piece
