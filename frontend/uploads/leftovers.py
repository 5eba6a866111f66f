"""What upload sessions leave behind in the metadata store, for the janitor (janitor.py beside this)."""

from __future__ import annotations

from ambry.clock import Clock
from frontend.metadata.pages import all_rows
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import PAGE_MAX, Change, LocalDelete, LocalPut, MetadataStore
from frontend.uploads.open_session import OpenSession, SessionRow
from frontend.uploads.rows import (
    SessionState,
    ended_key,
    open_key,
    part_prefix,
    place_of,
    session_key,
    without_refs,
)

DONE_FOR_S = 7 * 86_400
"""So long a session that made a blob says so, to whoever did not hear it, and lets its name have the blob."""
ABORTED_FOR_S = 86_400
"""So long one that was aborted, or that nobody went on with, says so."""
MARGIN_S = 3_600
CHANGES_PER_GROUP = 500


class Leftovers:
    """Those of one datacenter. All methods raise what the store raises."""

    def __init__(self, store: MetadataStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def drop_parts(self, found: OpenSession) -> None:
        """Forget all parts of a session that ended, but what those were like that it made its blob of."""
        completion = found.session.completion
        made = found.session.state is SessionState.DONE and completion is not None
        kept = set(completion.parts) if made and completion is not None else set[int]()
        # As long as `note_cleaned` has it say how it ended, and a little longer.
        end_ms = self._clock.wall_ms() + (DONE_FOR_S + MARGIN_S) * 1000
        changes: list[Change] = []
        async for row in all_rows(self._store, LocalSpace.PART, prefix=part_prefix(found.id)):
            number, place = place_of(row.key)
            if number not in kept or place:
                changes.append(LocalDelete(LocalSpace.PART, row.key))
            else:
                changes.append(LocalPut(LocalSpace.PART, row.key, without_refs(row.key, row.value), end_ms))
        for start in range(0, len(changes), CHANGES_PER_GROUP):
            await self._store.write(changes[start : start + CHANGES_PER_GROUP])

    async def note_cleaned(self, found: OpenSession) -> None:
        """Nothing of it is left to be let go; for a while it says how it ended."""
        kept_s = DONE_FOR_S if found.session.state is SessionState.DONE else ABORTED_FOR_S
        end_ms = self._clock.wall_ms() + kept_s * 1000
        await self._store.write(
            [
                LocalDelete(LocalSpace.SESSION, session_key(found.id), found.row),
                LocalPut(LocalSpace.SESSION, ended_key(found.id), found.row, end_ms),
            ]
        )

    async def page(self, after: bytes | None) -> list[SessionRow]:
        """Sessions that may need to be seen to, by id beyond `after`; an empty page is the end."""
        rows = await self._store.locals(
            LocalSpace.SESSION, prefix=session_key(b""), after=None if after is None else session_key(after)
        )
        if not rows:
            return []
        # No more of them are open than there are, but some may have begun since.
        busy: set[bytes] = set()
        last, seen = rows[-1].key[1:], after
        while seen is None or seen < last:
            page = await self._store.locals(
                LocalSpace.SESSION, prefix=open_key(b""), after=None if seen is None else open_key(seen)
            )
            busy.update(row.key[1:] for row in page)
            if len(page) < PAGE_MAX:
                break
            seen = page[-1].key[1:]
        return [SessionRow(row.key[1:], row.value, row.key[1:] not in busy) for row in rows]
