"""What was asked for with keys and in containers, over all frontends of a datacenter: local rows, in the space USED.

    key                     value, MessagePack
    "k", key id             UsedCount: of a key; without an id: of clients that had none
    "c", account, container UsedCount: of a container; ids have 4 bytes, big-endian

Each process adds what it saw each WRITE_EVERY_S, and at its end: one that is killed loses what it saw since then. The rows of a
key go when it was revoked, with that of when it was used last (frontend/access/key_use.py): by each process that saw it, and
those that none saw go, once, by each that starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from ambry.clock import Clock
from ambry.errors import AmbryError, DataCorrupt
from ambry.service.logs import get_logger
from frontend.limits.meters import UseTally
from frontend.metadata.pages import all_rows
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Conflict, Expect, LocalDelete, LocalPut, MetadataStore
from frontend.metadata.unreadable import passing_over

log = get_logger()

WRITE_EVERY_S = 10.0
ROWS_MAX = 500
"""Of one look; the others are written at the next."""
ATTEMPTS = 10
"""Others add to the same row."""


class UsedCount(msgspec.Struct, frozen=True, array_like=True):
    """Since `since_ms`, wall clock."""

    since_ms: int = 0
    requests: int = 0
    refused: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def plus(self, other: UsedCount) -> UsedCount:
        return UsedCount(
            self.since_ms or other.since_ms,
            self.requests + other.requests,
            self.refused + other.refused,
            self.bytes_in + other.bytes_in,
            self.bytes_out + other.bytes_out,
        )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UsedCount).decode

Tallies = Callable[[], Iterable[tuple[str | int, UseTally]]]
"""What this process saw, by the id of a key, and by the scope of a container."""


def key_row(id: str) -> bytes:
    return b"k" + id.encode()


def container_row(scope: int) -> bytes:
    return b"c" + scope.to_bytes(8, "big")


def decode_used(value: bytes) -> UsedCount:
    """Raises DataCorrupt."""
    try:
        return _decode(value)
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"what was used cannot be read: {cause}") from cause


class UseCounts:
    """The counts of one datacenter, to which this process adds."""

    def __init__(self, store: MetadataStore, *, clock: Clock, is_key: Callable[[str], bool]) -> None:
        """`is_key` tells whether there is a key with an id, or whether that is not known."""
        self._store = store
        self._clock = clock
        self._is_key = is_key
        self.tallies: Tallies = tuple
        self.forget: Callable[[str], object] = str
        """Has the tally of a key go."""
        self._gone: set[str] | None = None
        """Ids of keys whose rows go at the next tick; None: those that were left behind were not looked for yet."""
        self._pending: dict[bytes, UsedCount] = {}
        """Taken from the tallies, and not written yet."""

    async def tick(self) -> float:
        """Write down what was seen since the last time; seconds until the next."""
        self._take()
        for key in list(self._pending)[:ROWS_MAX]:
            with passing_over("use", key):
                await self._add(key)
        await self._let_go()
        return WRITE_EVERY_S

    async def _let_go(self) -> None:
        """Delete the rows of keys that are gone."""
        if self._gone is None:
            rows = [row.key async for row in all_rows(self._store, LocalSpace.USED, prefix=key_row(""))]
            rows += [b"k" + row.key async for row in all_rows(self._store, LocalSpace.KEY_USED)]
            # Not in this tick: one that was made in this moment may not have been heard of.
            self._gone = {id for key in rows if (id := key[1:].decode()) and not self._is_key(id)}
            return
        for id in sorted(self._gone)[:ROWS_MAX]:
            if not self._is_key(id):
                changes = [LocalDelete(LocalSpace.USED, key_row(id)), LocalDelete(LocalSpace.KEY_USED, id.encode())]
                await self._store.write(changes)
            self._gone.discard(id)

    async def close(self) -> None:
        """The last time."""
        try:
            await self.tick()
        except AmbryError as error:
            log.warning("some of what was used is not counted", error=error.message)

    async def all(self) -> Mapping[bytes, UsedCount]:
        """All rows, with what this process has not written yet. Raises what the store raises."""
        self._take()
        found = dict(self._pending)
        async for row in all_rows(self._store, LocalSpace.USED):
            with passing_over("use", row.key):
                found[row.key] = decode_used(row.value).plus(self._pending.get(row.key, UsedCount()))
        return found

    def _take(self) -> None:
        now_ms = self._clock.wall_ms()
        for whose, tally in list(self.tallies()):
            if isinstance(whose, str) and whose and not self._is_key(whose):
                self.forget(whose)
                self._pending.pop(key_row(whose), None)
                if self._gone is not None:  # else it is found with those that were left behind
                    self._gone.add(whose)
            elif tally.requests:
                key = key_row(whose) if isinstance(whose, str) else container_row(whose)
                seen = UsedCount(now_ms, *tally.take())
                self._pending[key] = self._pending.get(key, UsedCount()).plus(seen)

    async def _add(self, key: bytes) -> None:
        adding = self._pending.pop(key, None)
        if adding is None:
            return
        try:
            for _ in range(ATTEMPTS):
                row = await self._store.local(LocalSpace.USED, key)
                before = UsedCount() if row is None else decode_used(row.value)
                condition = Expect.ABSENT if row is None else row.value
                value = _encode(before.plus(adding))
                try:
                    await self._store.write([LocalPut(LocalSpace.USED, key, value, condition=condition)])
                except Conflict:
                    continue
                return
        except AmbryError:
            self._pending[key] = adding.plus(self._pending.get(key, UsedCount()))
            raise
        self._pending[key] = adding.plus(self._pending.get(key, UsedCount()))
