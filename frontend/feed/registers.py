"""What changed in the metadata of one container: its names, datasets, versions and aliases, read from the metadata log.

Of a register all versions are told, in the order in which this store recorded them. Those that were made here come in the order
of its history. One of another datacenter may come late, behind a newer one: then the newer one is told again behind it, so that
the last that was told of a name is what holds.
"""

from __future__ import annotations

import msgspec

from ambry.clustermap.model import ClusterMap
from ambry.rest.versions import VersionSchema
from frontend.datasets.rows import decode_dataset, newest_key
from frontend.datasets.versions import pack
from frontend.feed.events import FeedEvent, blob_of, register_event
from frontend.following.wire import read_progress
from frontend.metadata import queries
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import PAGE_MAX, LogCursor, MetadataStore, Query, Stamp, Version, order
from frontend.metadata.unreadable import passing_over
from frontend.names.rows import NamedBlob

SPACES = frozenset({Space.NAME, Space.DATASET, Space.VERSION, Space.ALIAS})
SCAN_MAX = 10_000
"""Versions of whatever container that one page looks at."""
SEMANTIC_SIZE = len(pack((0, 0, 0)))


class RegisterChange(msgspec.Struct, frozen=True):
    """One event, and the blob that must be told before it."""

    event: FeedEvent
    blob: NamedBlob | None


class RegisterPage(msgspec.Struct, frozen=True):
    """`logs` are where to go on, in this datacenter's store and, as far as it has followed them, in those of others."""

    changes: list[RegisterChange]
    logs: tuple[LogCursor, ...]
    at_end: bool
    started_over: bool


class RegisterChanges:
    """Of one datacenter's store."""

    def __init__(self, store: MetadataStore, map: ClusterMap) -> None:
        self._store = store
        self._alone = len(map.datacenters) == 1
        self._id: bytes | None = None
        """Of the store, as it was last seen."""

    async def now(self) -> tuple[LogCursor, ...]:
        """Where the logs end by now."""
        followed = await self._followed()
        rows = await self._store.rows(Query(queries.LAST, ()))
        return (*(LogCursor(bytes(store), seq, Stamp(*stamp)) for store, seq, *stamp in rows), *followed)

    async def page(self, scope: int, logs: tuple[LogCursor, ...], limit: int) -> RegisterPage:
        """Up to `limit` changes of a container, after what these places tell. Raises MetadataUnavailable and the like."""
        # Before the log: what was followed of others by now is before the end that is read to.
        followed = await self._followed()
        since = await self._own(logs)
        cursor, started_over, at_end = since, False, False
        found: list[Version] = []
        scanned = 0
        while len(found) < limit and scanned < SCAN_MAX and not at_end:
            page = await self._store.log(cursor, limit=PAGE_MAX)
            if page.started_over:
                found, started_over = [], True
            at_end = len(page.versions) < PAGE_MAX
            scanned += len(page.versions)
            cursor = page.cursor
            for version in page.versions:
                if version.scope != scope or version.space not in SPACES or _internal(version):
                    continue
                if len(found) == limit:
                    # The page ends behind the last one that it tells.
                    at_end = False
                    if cursor is not None:
                        cursor = LogCursor(cursor.store, found[-1].seq, found[-1].stamp)
                    break
                found.append(version)
        if cursor is not None:
            self._id = cursor.store
        others = followed if at_end else tuple(log for log in logs if log.store != self._id)
        changes = await self._told(scope, found)
        over = started_over or (since is None and bool(logs))
        return RegisterPage(changes, others if cursor is None else (cursor, *others), at_end, over)

    async def _own(self, logs: tuple[LogCursor, ...]) -> LogCursor | None:
        """That of the places which is in this store's log."""
        if not logs:
            return None
        if self._id is None or all(log.store != self._id for log in logs):
            self._id = (await self._store.head()).store
        return next((log for log in logs if log.store == self._id), None)

    async def _followed(self) -> tuple[LogCursor, ...]:
        """How far the logs of other datacenters are in this one."""
        if self._alone:
            return ()
        rows = await self._store.locals(LocalSpace.CURSOR)
        read = (read_progress(row.value) for row in rows)
        return tuple(progress.cursor for progress in read if progress is not None)

    async def _told(self, scope: int, found: list[Version]) -> list[RegisterChange]:
        """What is told of versions: behind each that came late the newest one of its register, which was told before it."""
        newest: dict[tuple[int, bytes], Version] = {}
        for space in {version.space for version in found}:
            keys = list(dict.fromkeys(version.key for version in found if version.space == space))
            for at in range(0, len(keys), PAGE_MAX):
                some = keys[at : at + PAGE_MAX]
                versions = await self._store.get_many(Space(space), scope, some)
                newest |= {(space, key): each for key, each in zip(some, versions, strict=True) if each is not None}
        told: list[RegisterChange] = []
        for version in found:
            now = newest.get((version.space, version.key))
            late = now is not None and now.seq < version.seq and order(now) > order(version)
            told.append(await self._change(version, late=late))
            if late and now is not None:
                told.append(await self._change(now))
        return told

    async def _change(self, version: Version, *, late: bool = False) -> RegisterChange:
        event = register_event(version, await self._parts(version))
        return RegisterChange(msgspec.structs.replace(event, late=True) if late else event, blob_of(version))

    async def _parts(self, version: Version) -> int:
        """Of how many numbers a version of a dataset is."""
        if version.space != Space.VERSION:
            return 0
        raw_name, _, packed = version.key.partition(b"\0")
        if len(packed) == SEMANTIC_SIZE:
            return VersionSchema.SEMANTIC.parts
        # Of the others one number and four take as many bytes.
        parts = 1
        newest = await self._store.get(Space.DATASET, version.scope, newest_key(raw_name.decode()))
        if newest is not None and newest.value:
            parts = newest.value[0]
        else:
            dataset = await self._store.get(Space.DATASET, version.scope, raw_name)
            with passing_over("dataset", raw_name):
                if dataset is not None and dataset.value is not None:
                    parts = decode_dataset(dataset.value).schema.parts
        return parts if parts == VersionSchema.SEMANTIC_LONG.parts else 1


def _internal(version: Version) -> bool:
    """Whether it is the note of a dataset's newest version, and no dataset."""
    return version.space == Space.DATASET and b"\0" in version.key
