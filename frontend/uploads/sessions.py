"""Upload sessions as they stand in the metadata store: any frontend of the datacenter goes on with any of them.

A session is open while parts come, is then completed or aborted, and each step is one atomic group: a part is counted only
while its session is open, and the parts of one that is being completed do not change any more.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from ambry.clock import Clock
from ambry.errors import InvalidRequest, Overloaded, TooLarge, UpdateConflict, UploadGone, UploadNotFound
from frontend.container import Container
from frontend.metadata.pages import all_rows
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Change, Conflict, Expect, LocalDelete, LocalPut, LocalRow, MetadataStore
from frontend.router.sealing_keys import ContainerKeys
from frontend.uploads.leftovers import Leftovers
from frontend.uploads.open_session import OpenSession
from frontend.uploads.places import Places
from frontend.uploads.row_seal import RowSeal
from frontend.uploads.rows import (
    PARTS_MAX,
    REFS_PER_ROW,
    REPLACED,
    ROWS_MAX,
    Completion,
    Session,
    SessionState,
    UploadPart,
    brief,
    decode_part_row,
    decode_session,
    encode_part,
    ended_key,
    named_key,
    open_key,
    open_session,
    part_prefix,
    place_of,
    session_key,
)
from frontend.uploads.sealing import find_sealing

AGAIN = 8
"""Attempts at a part that others write under the same number at the same time."""
BEGUN_AT_ONCE = 50
"""Attempts at a place, or at giving it back, that others take or give back at the same time."""


Admit = Callable[[Session], Awaitable[None]]
"""Whether whoever asks may hear of a session, as it stands there. Raises what they are told instead."""


def unknown_session(session_id: bytes) -> UploadNotFound:
    """What is told of a session that is not here, or that somebody may not hear of."""
    return UploadNotFound(
        f"this datacenter has no upload session {session_id.hex()}: it may be over for long, or be another one's"
    )


class Sessions:
    """Those of one datacenter. All methods raise what the store raises."""

    def __init__(
        self,
        store: MetadataStore,
        keys: ContainerKeys,
        places: Places,
        *,
        clock: Clock,
        random_source: random.Random,
        idle_s: float,
    ) -> None:
        """`keys` open what is sealed. `idle_s`: so long after its last part a session is over."""
        self.places = places
        self.left = Leftovers(store, clock=clock)
        self._store = store
        self._keys = keys
        self._random = random_source
        self._clock = clock
        self._idle_s = idle_s

    async def begin(self, new: OpenSession, container: Container, owner: str, *along: Change) -> OpenSession:
        """Make one under an id that nobody else has, for the key with the id `owner`; `along` happens in the same moment.

        Raises Conflict for these, QuotaExceeded where too many are open.
        """
        size = len(new.over(new.session))
        for _ in range(BEGUN_AT_ONCE):
            place, taken = await self.places.take(container, owner, size)
            begun = replace(new.session, place=place)
            row = new.over(begun)
            put = LocalPut(LocalSpace.SESSION, session_key(new.id), row, condition=Expect.ABSENT)
            try:
                await self._store.write([taken, put, self._stays_open(new.id), *along])
            except Conflict as conflict:
                if conflict.change.key != taken.key:
                    raise
                continue
            return replace(new, session=begun, row=row)
        raise Overloaded(f"too many begin uploads in the container {container} at once; retry", retry_after_s=1)

    async def find(self, session_id: bytes, admit: Admit | None = None) -> OpenSession:
        """One that is open to be gone on with, or looked at.

        `admit` is asked before anything is told of it. Raises UploadNotFound for one that never was here, or that is over for
        long; UploadGone for one that was aborted; what `opened` and `admit` raise.
        """
        found = await self._store.local(LocalSpace.SESSION, session_key(session_id)) or await self._store.local(
            LocalSpace.SESSION, ended_key(session_id)
        )
        if found is None:
            raise unknown_session(session_id)
        session = decode_session(found.value)
        if admit is not None:
            await admit(session)
        if session.state is SessionState.ABORTED:
            raise UploadGone(
                f"the upload session {session_id.hex()} was aborted, or nobody went on with it; begin a new one"
            )
        return await self.opened(OpenSession(session_id, session, found.value))

    async def opened(self, found: OpenSession) -> OpenSession:
        """One that was read as it stands there, with what its row does not show.

        Raises KeysUnavailable, EncryptionKeyDeleted, KeyMismatch, DataCorrupt.
        """
        if found.session.brief and not found.session.metadata:
            return found  # it was aborted, and nothing is left to be opened
        sealing = await find_sealing(self._keys, found.session)
        if sealing is None:
            return found
        return replace(found, session=open_session(found.session, sealing.rows), sealing=sealing)

    async def find_named(
        self, container: Container, owner: str, text: str, new: OpenSession, for_s: float
    ) -> OpenSession:
        """The session that a client calls `text` in a container; `new` where there is none, or it is over.

        The name is kept for `for_s` seconds; the rest as `begin`.
        """
        key = named_key(container.scope, text)
        for _ in range(AGAIN):
            stands = await self._store.local(LocalSpace.SESSION, key)
            if stands is not None:
                with suppress(UploadNotFound):
                    found = await self.find(stands.value)
                    if found.session.state is not SessionState.OPEN or not await self.is_idle(found.id):
                        return found
            end_ms = self._clock.wall_ms() + round(for_s * 1000)
            condition: Expect | bytes = Expect.ABSENT if stands is None else stands.value
            with suppress(Conflict):
                named = LocalPut(LocalSpace.SESSION, key, new.id, end_ms, condition)
                return await self.begin(new, container, owner, named)
        raise UpdateConflict(f"the session {text!r} is begun by many at once; try again")

    async def is_idle(self, session_id: bytes) -> bool:
        """Whether nobody went on with it for so long that it is over."""
        return await self._store.local(LocalSpace.SESSION, open_key(session_id)) is None

    async def check_takes_parts(self, found: OpenSession) -> None:
        """Raises UpdateConflict, UploadGone for a session that is not open."""
        if found.session.state is not SessionState.OPEN:
            raise UpdateConflict(
                f"the upload session {found.id.hex()} is complete: it takes no more parts, and keeps those that it has"
            )
        if await self.is_idle(found.id):
            raise UploadGone(f"the upload session {found.id.hex()} was idle for too long and is over; begin a new one")

    async def note_chunks(self, found: OpenSession, part: UploadPart) -> list[bytes]:
        """Write down which chunks a part has before it counts: whatever happens now, they are let go or belong to it.

        Returns what `add_part` needs. Raises UpdateConflict, UploadGone; TooLarge.
        """
        if len(part.refs) > ROWS_MAX * REFS_PER_ROW:
            raise TooLarge(f"a part has at most {ROWS_MAX * REFS_PER_ROW} chunks; send smaller parts")
        rows = encode_part(found.id, part, replaced=self._random.randbytes(8), seal=found.seal)
        await self._write_while_open(found, [LocalPut(LocalSpace.PART, key, value) for key, value in rows])
        return [key for key, _ in rows]

    async def add_part(self, found: OpenSession, part: UploadPart, noted: Sequence[bytes]) -> None:
        """Count a part whose chunks are durable. What stood under its number before is kept until its chunks are let go.

        Raises UpdateConflict, UploadGone when the session was completed or aborted meanwhile.
        """
        rows = encode_part(found.id, part, seal=found.seal)
        for _ in range(AGAIN):
            stands = await self._part_rows(found.id, part.number)
            first: Expect | bytes = stands[0].value if stands else Expect.ABSENT
            before = _parts_of(stands, found.seal)
            keep_as = self._random.randbytes(8)
            replaced = encode_part(found.id, before[0], replaced=keep_as, seal=found.seal) if before else []
            puts = [
                LocalPut(LocalSpace.PART, key, value, condition=Expect.ANY if row else first)
                for row, (key, value) in enumerate(rows)
            ]
            keep = [LocalPut(LocalSpace.PART, key, value) for key, value in replaced]
            drop = [LocalDelete(LocalSpace.PART, key) for key in noted]
            try:
                await self._write_while_open(found, [*puts, *keep, *drop])
            except Conflict:
                continue  # another one under this number came first; then this one comes last
            return
        raise UpdateConflict(
            f"part {part.number} is being sent by several at once; send each part once, and again only when it failed"
        )

    async def add_somewhere(self, found: OpenSession, part: UploadPart, noted: Sequence[bytes]) -> UploadPart:
        """Count a part under a number of chance that no other has; the part as it is now. Raises as `add_part`."""
        drop = [LocalDelete(LocalSpace.PART, key) for key in noted]
        for _ in range(AGAIN):
            numbered = replace(part, number=self._random.randrange(1, REPLACED))
            puts = [
                LocalPut(LocalSpace.PART, key, value, condition=Expect.ANY if row else Expect.ABSENT)
                for row, (key, value) in enumerate(encode_part(found.id, numbered, seal=found.seal))
            ]
            try:
                await self._write_while_open(found, [*puts, *drop])
            except Conflict:
                continue
            return numbered
        raise UpdateConflict(f"the upload session {found.id.hex()} has as many parts as it can have; complete it")

    async def _write_while_open(self, found: OpenSession, changes: Sequence[Change]) -> None:
        """Raises UpdateConflict, UploadGone for a session that is not open; Conflict where one of `changes` is in one."""
        same = LocalPut(LocalSpace.SESSION, session_key(found.id), found.row, condition=found.row)
        try:
            await self._store.write([same, self._stays_open(found.id, Expect.PRESENT), *changes])
        except Conflict as conflict:
            if conflict.change.space is LocalSpace.SESSION:
                await self.check_takes_parts(await self.find(found.id))
            raise

    async def parts(self, found: OpenSession, *, after: int = 0) -> AsyncIterator[UploadPart]:
        """All that count, by number beyond `after`."""
        async for part in self._all_parts(found.id, found.seal, after=after):
            if part.number != REPLACED:
                yield part

    def all_parts(self, session_id: bytes) -> AsyncIterator[UploadPart]:
        """All that arrived, those too that others took the place of; of what is sealed the digests stay so."""
        return self._all_parts(session_id, None, after=0)

    async def _all_parts(self, session_id: bytes, seal: RowSeal | None, *, after: int) -> AsyncIterator[UploadPart]:
        rows: list[LocalRow] = []
        async for row in all_rows(
            self._store,
            LocalSpace.PART,
            prefix=part_prefix(session_id),
            after=part_prefix(session_id, after) + b"\xff",
        ):
            if rows and rows[-1].key[:-1] != row.key[:-1]:
                for part in _parts_of(rows, seal):
                    yield part
                rows.clear()
            rows.append(row)
        for part in _parts_of(rows, seal):
            yield part

    async def complete(self, found: OpenSession, completion: Completion) -> OpenSession:
        """Decide to what it is completed; from now on it takes no parts. Raises UpdateConflict, UploadGone."""
        session = replace(found.session, state=SessionState.COMPLETING, completion=completion)
        return await self._change(found, session, LocalDelete(LocalSpace.SESSION, open_key(found.id), Expect.PRESENT))

    async def reopen(self, found: OpenSession) -> OpenSession:
        """It takes parts again; nothing was made of it. Raises UpdateConflict."""
        session = replace(found.session, state=SessionState.OPEN, completion=None)
        return await self._change(found, session, self._stays_open(found.id))

    async def finish(self, found: OpenSession, state: SessionState, *, idle: bool = False) -> OpenSession:
        """It is DONE or ABORTED; with `idle` if nobody went on with it meanwhile. Raises UpdateConflict."""
        closed = found.session.key is not None and found.sealing is None
        if closed and state is SessionState.DONE:
            session = replace(found.session, state=state, place=None)  # nobody can tell here what was said of its blob
        else:
            session = brief(found.session, state)
        condition = Expect.ABSENT if idle else Expect.ANY
        open_row = LocalDelete(LocalSpace.SESSION, open_key(found.id), condition)
        for _ in range(BEGUN_AT_ONCE):
            given = await self.places.give(found.session)
            try:
                return await self._change(found, session, open_row, *given)
            except Conflict as conflict:
                if not any(conflict.change.key == change.key for change in given):
                    raise
        raise Overloaded(
            f"too many uploads of the container end at once; {found.id.hex()} did not, retry", retry_after_s=1
        )

    async def _change(self, found: OpenSession, session: Session, *along: Change) -> OpenSession:
        row = found.over(session)
        put = LocalPut(LocalSpace.SESSION, session_key(found.id), row, condition=found.row)
        try:
            await self._store.write([put, *along])
        except Conflict as conflict:
            if conflict.change.key not in (put.key, open_key(found.id)):
                raise
            again = await self.find(found.id)
            if again.row == row or again.session.state is session.state is SessionState.DONE:
                return again  # another frontend did the same
            await self.check_takes_parts(again)
            raise UpdateConflict(
                f"the upload session {found.id.hex()} changed meanwhile; look at it and try again"
            ) from None
        return replace(found, session=session, row=row)

    def _stays_open(self, session_id: bytes, condition: Expect = Expect.ANY) -> LocalPut:
        end_ms = self._clock.wall_ms() + round(self._idle_s * 1000)
        return LocalPut(LocalSpace.SESSION, open_key(session_id), b"", end_ms, condition)

    async def _part_rows(self, session_id: bytes, number: int) -> list[LocalRow]:
        return [row async for row in all_rows(self._store, LocalSpace.PART, prefix=part_prefix(session_id, number))]


def _parts_of(rows: Sequence[LocalRow], seal: RowSeal | None) -> list[UploadPart]:
    """The part that these rows are, all under one number; none where there is none."""
    if not rows:
        return []
    number, _ = place_of(rows[0].key)
    first = decode_part_row(rows[0].key, rows[0].value, seal)
    read = (decode_part_row(row.key, row.value, seal) for row in rows if place_of(row.key)[1] < first.rows)
    refs = tuple(ref for row in read for ref in row.refs)
    return [UploadPart(number, first.size, first.digest, first.arrived_at_ms, refs)]


def check_number(number: int) -> int:
    """The number of a part. Raises TooLarge beyond PARTS_MAX, InvalidRequest below 1."""
    if number < 1:
        raise InvalidRequest(f"parts are numbered from 1 to {PARTS_MAX}, not {number}")
    if number > PARTS_MAX:
        raise TooLarge(f"parts are numbered from 1 to {PARTS_MAX}, not {number}; send larger parts")
    return number
