"""How many upload sessions are open in a container, what their headers take, and whose they are: bounded, and counted exactly.

A session takes its place in the group that begins it, and gives it back in the one that ends it, so no kill leaves a place
taken, nor one that is had by nobody. What a container has is in STRIPES rows, of which each change writes one, so that many
who begin at once seldom meet. The bound is compared with all of them together as they were read: those who begin in the same
moment may pass it by STRIPES - 1.

    space    key                                         value
    SESSION  "c", container (8 bytes), stripe (1 byte)   PlaceCount in msgpack

What a row says is compared with the sessions there are (`Counting`), since an earlier release gives no place back.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping

import msgspec

from ambry.errors import DataCorrupt, QuotaExceeded
from frontend.container import Container, scope_of
from frontend.metadata.pages import all_rows
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Change, Conflict, Expect, LocalDelete, LocalPut, LocalRow, MetadataStore
from frontend.metadata.unreadable import passing_over
from frontend.uploads.rows import CountedPlace, Session, count_key, count_prefix

STRIPES = 16
KEY_SHARE = 4
"""One key has at most this part of what a container has room for, so that the others' uploads begin."""
OWNERS_MAX = 1_000
"""Keys that a row tells apart; a row has at most 64 KiB. Those beyond count for the container alone."""
RETRY_AFTER_S = 60.0


class OpenAmount(msgspec.Struct, frozen=True, array_like=True):
    """Of some open sessions: how many, and the bytes of their rows."""

    sessions: int = 0
    bytes: int = 0

    def __add__(self, other: OpenAmount) -> OpenAmount:
        return OpenAmount(self.sessions + other.sessions, self.bytes + other.bytes)

    def less(self, other: OpenAmount) -> OpenAmount:
        """Never less than nothing."""
        return OpenAmount(max(0, self.sessions - other.sessions), max(0, self.bytes - other.bytes))


class PlaceCount(msgspec.Struct, frozen=True, array_like=True):
    """One stripe of a container."""

    tag: bytes
    """Of chance, another one with each change, so that what stands there is never what stood there before."""
    by: dict[str, OpenAmount]
    """By the id of the key that began them; empty where no keys are asked for."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(PlaceCount).decode


def decode_count(value: bytes) -> PlaceCount:
    """Raises DataCorrupt."""
    try:
        return _decode(value)
    except msgspec.MsgspecError as cause:
        raise DataCorrupt(f"the count of open upload sessions cannot be read: {cause}") from cause


class Places:
    """Those of one datacenter. All methods raise what the store raises."""

    def __init__(
        self, store: MetadataStore, *, random_source: random.Random, sessions_max: int, bytes_max: int
    ) -> None:
        """Bounds of each container: of sessions that are open, and of what their rows take."""
        self._store = store
        self._random = random_source
        self._sessions_max = sessions_max
        self._bytes_max = bytes_max

    async def take(self, container: Container, owner: str, size: int) -> tuple[CountedPlace, LocalPut]:
        """A place for a session whose row has `size` bytes, of the key with the id `owner`; had once the change is written.

        A Conflict of that means that others came first: ask again. Raises QuotaExceeded.
        """
        rows = {row.key[-1]: row async for row in self._rows(container.scope)}
        counts = {stripe: decode_count(row.value) for stripe, row in rows.items()}
        had, own = OpenAmount(), OpenAmount()
        for count in counts.values():
            had = sum(count.by.values(), had)
            own += count.by.get(owner, OpenAmount())
        self._check(f"in the container {container}", had, size, 1)
        if owner:
            self._check(f"of the key {owner} in the container {container}", own, size, KEY_SHARE)
        stripe = self._random.randrange(STRIPES)
        by = counts[stripe].by if stripe in counts else {}
        counted_for = owner if owner in by or len(by) < OWNERS_MAX else ""
        more = {**by, counted_for: by.get(counted_for, OpenAmount()) + OpenAmount(1, size)}
        before = rows[stripe].value if stripe in rows else Expect.ABSENT
        return CountedPlace(stripe, counted_for, size), self._put(count_key(container.scope, stripe), more, before)

    def _check(self, where: str, had: OpenAmount, size: int, share: int) -> None:
        sessions_max, bytes_max = -(-self._sessions_max // share), -(-self._bytes_max // share)
        if had.sessions < sessions_max and had.bytes + size <= bytes_max:
            return
        raise QuotaExceeded(
            f"{had.sessions} uploads in parts are open {where}, which may be {sessions_max}, and what was said of their blobs "
            f"takes {had.bytes} of {bytes_max} bytes: complete or abort some of them (DELETE /uploads/<upload>), or wait until "
            "those that nobody goes on with are over (uploads.session_idle_s)",
            retry_after_s=RETRY_AFTER_S,
        )

    async def give(self, session: Session) -> list[Change]:
        """What gives the place of a session back, with the change that ends it; ask again at a Conflict of it."""
        place = session.place
        if place is None:
            return []
        key = count_key(scope_of(session.blob_id.account, session.blob_id.container), place.stripe)
        row = await self._store.local(LocalSpace.SESSION, key)
        if row is None:
            return []
        by = decode_count(row.value).by
        left = by.get(place.owner, OpenAmount()).less(OpenAmount(1, place.size))
        others = {owner: amount for owner, amount in by.items() if owner != place.owner}
        return [self._put(key, {**others, place.owner: left} if left.sessions else others, row.value)]

    def _put(self, key: bytes, by: dict[str, OpenAmount], before: Expect | bytes) -> LocalPut:
        return LocalPut(LocalSpace.SESSION, key, _encode(PlaceCount(self._random.randbytes(8), by)), condition=before)

    def _rows(self, scope: int | None = None) -> AsyncIterator[LocalRow]:
        return all_rows(self._store, LocalSpace.SESSION, prefix=count_prefix(scope))

    async def all(self) -> dict[int, dict[str, OpenAmount]]:
        """What is open, by container and by key."""
        found: dict[int, dict[str, OpenAmount]] = {}
        async for row in self._rows():
            with passing_over("count of open upload sessions", row.key):
                by = found.setdefault(int.from_bytes(row.key[1:9], "big"), {})
                for owner, amount in decode_count(row.value).by.items():
                    by[owner] = by.get(owner, OpenAmount()) + amount
        return found

    async def counting(self) -> Counting:
        """Begin to compare what the rows say with the sessions that there are."""
        return Counting(self._store, [row async for row in self._rows()], self._random)


class Counting:
    """Compares it. What changed since this began is left alone: the next one looks at that."""

    def __init__(self, store: MetadataStore, rows: list[LocalRow], random_source: random.Random) -> None:
        self._store = store
        self._stood = {row.key: row.value for row in rows}
        self._random = random_source
        self._seen: dict[bytes, dict[str, OpenAmount]] = {}

    def see(self, session: Session) -> None:
        """One that is open, or being completed, as it was read since."""
        place = session.place
        if place is not None:
            key = count_key(scope_of(session.blob_id.account, session.blob_id.container), place.stripe)
            by = self._seen.setdefault(key, {})
            by[place.owner] = by.get(place.owner, OpenAmount()) + OpenAmount(1, place.size)

    async def end(self) -> int:
        """All were seen: put right what is not so, and drop rows of nothing; how many there were."""
        wrong = 0
        for key in sorted(self._stood.keys() | self._seen.keys()):
            stood, seen = self._stood.get(key), self._seen.get(key, {})
            if seen and stood is not None and self._says(stood, seen):
                continue
            condition: Expect | bytes = Expect.ABSENT if stood is None else stood
            change: LocalPut | LocalDelete = LocalDelete(LocalSpace.SESSION, key, condition)
            if seen:
                value = _encode(PlaceCount(self._random.randbytes(8), seen))
                change = LocalPut(LocalSpace.SESSION, key, value, condition=condition)
            try:
                await self._store.write([change])
            except Conflict:
                continue
            wrong += stood is None or not self._says(stood, seen)
        return wrong

    @staticmethod
    def _says(value: bytes, seen: Mapping[str, OpenAmount]) -> bool:
        try:
            return decode_count(value).by == seen
        except DataCorrupt:
            return False
