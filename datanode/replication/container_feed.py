"""What changed in one container after a place: the giving side of the change feed (ambry/protocol/messages/feed.py).

It is read from the order of changes that replication reads, and is state as that is: a blob stands once, at its latest change.
Nothing is kept for it, and nothing of who follows. A replica tells of its log where it is sure to lack nothing: what was
acknowledged by others alone comes into its own log by replication, behind everything that it has told before.

Bounds: a request looks at so many changes (SCAN_MAX) whatever it finds, in steps between which others have their turn, and so
many requests look at changes at a time (SCANS_AT_ONCE).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ambry.errors import AmbryError, ReplicaUnavailable
from ambry.format.properties import decode_properties
from ambry.ids import IdKind
from ambry.protocol.messages.feed import (
    FeedAnswer,
    FeedChange,
    FeedOutcome,
    FeedPartition,
    FeedPlace,
    FeedReply,
    FeedRequest,
    place_tag,
)
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.replication.cursor import Cursors
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry

SCAN_MAX = 10_000
"""Changes that one request looks at, of whatever container: some ten milliseconds."""
STEP = 500
SCANS_AT_ONCE = 4
SIZE_UNKNOWN = -1


class Tags:
    """The tags of one replica's log: how far places of each may go. Made anew with each opening."""

    def __init__(self, node: str, store: BlobStore) -> None:
        self.store = store
        self.own = place_tag(node, store.incarnation, store.lineage.epoch_bytes)
        self._ends = {
            place_tag(node, store.incarnation, bytes.fromhex(epoch.name)): epoch.end_lsn for epoch in store.lineage.past
        }

    def known(self, place: FeedPlace) -> bool:
        """Whether it is a place of this log."""
        end_lsn = self.store.end_lsn if place.tag == self.own else self._ends.get(place.tag, -1)
        return place.lsn <= end_lsn


class ContainerFeed:
    """Answers frontends. `tells` says whether a replica tells anybody of its log (replication/feed.py)."""

    def __init__(
        self, replicas: Replicas, cursors: Cursors, *, own_name: str, disk: Disk, tells: Callable[[Replica], bool]
    ) -> None:
        self._replicas = replicas
        self._cursors = cursors
        self._own_name = own_name
        self._disk = disk
        self._tells = tells
        self._tags: dict[int, Tags] = {}
        self._slots = asyncio.Semaphore(SCANS_AT_ONCE)

    async def changes(self, request: FeedRequest) -> FeedReply:
        """What changed, as much as one answer holds."""
        async with self._slots:
            scan = _Scan(request.container, scan_max=SCAN_MAX)
            answers: list[FeedAnswer] = []
            left = request.limit
            for number, asked in enumerate(request.partitions):
                share = max(1, left // (len(request.partitions) - number)) if left > 0 else 0
                answer = await self._answer(asked, scan, share)
                left -= len(answer.changes)
                answers.append(answer)
            return FeedReply(answers)

    def _replica(self, partition: int) -> Replica | None:
        """The replica here that may tell of its log."""
        replica = self._replicas.get(partition)
        return replica if replica is not None and self._tells(replica) and replica.store.authority else None

    def tags_of(self, store: BlobStore) -> Tags:
        """The tags of a replica that is open."""
        found = self._tags.get(store.partition)
        if found is None or found.store is not store:
            found = self._tags[store.partition] = Tags(self._own_name, store)
        return found

    async def _answer(self, asked: FeedPartition, scan: _Scan, share: int) -> FeedAnswer:
        partition = asked.partition
        replica = self._replica(partition)
        if replica is None:
            return FeedAnswer(partition, FeedOutcome.AWAY)
        store = replica.store
        tags = self.tags_of(store)
        floor = asked.floor
        if asked.places:
            known = [place.lsn for place in asked.places if tags.known(place)]
            if not known:
                return FeedAnswer(partition, FeedOutcome.UNKNOWN)
            lsn = max(known)
            since = _since(asked, lsn, tags)
        elif asked.beginning:
            lsn, floor, since = 0, store.end_lsn, 0
        else:
            lsn, floor, since = store.end_lsn, 0, store.end_lsn
        if max(lsn, floor) < store.lineage.purged_lsn:
            return FeedAnswer(partition, FeedOutcome.PURGED)
        try:
            # Before the changes: what was seen of others by now stands before what will be told.
            seen = self._seen(partition)
            end_lsn = store.end_lsn
            found, next_lsn, still = await self._read(store, lsn, end_lsn, scan, share)
            lacking = await _lacking(replica, asked.ids, next_lsn)
            if self._replica(partition) is not replica:
                return FeedAnswer(partition, FeedOutcome.AWAY)  # what it is by now, the next request meets
            changes = [await self._change(store, entry, since, floor) for entry in found]
        except ReplicaUnavailable:
            return FeedAnswer(partition, FeedOutcome.AWAY)  # its index is being rebuilt
        if next_lsn >= floor:
            floor = 0
        settled = still and not floor
        return FeedAnswer(
            partition,
            FeedOutcome.TOLD,
            changes,
            FeedPlace(tags.own, next_lsn),
            floor,
            next_lsn >= end_lsn,
            seen if settled else [],
            lacking,
            0 if settled or floor else next_lsn - since,
        )

    def _seen(self, partition: int) -> list[FeedPlace]:
        """How far this replica has all that the others' logs have."""
        found: list[FeedPlace] = []
        for name, cursor in self._cursors.of(partition).items():
            token = cursor.token()
            if token.incarnation and token.epoch:
                found.append(FeedPlace(place_tag(name, token.incarnation, token.epoch), token.lsn))
        return found

    async def _read(self, store: BlobStore, lsn: int, end_lsn: int, scan: _Scan, share: int) -> _Read:
        """What the container has from an LSN on up to an end, at most `share` entries; somewhat more where that is at hand."""
        found: list[IndexEntry] = []
        while lsn < end_lsn and scan.left > 0 and len(found) < share:
            past = store.past()
            step = min(STEP, scan.left)
            if lsn >= past.stored_lsn:
                entries = store.changes_since(lsn, step)
            else:
                entries = await self._disk.submit(store.changes_since, lsn, step, past)
            more = scan.of_container(entries)
            if len(found) + len(more) > share:
                more = more[: share - len(found)]
                lsn = more[-1].lsn + 1
            else:
                lsn = (
                    entries[-1].lsn + 1 if entries and (len(entries) == step or entries[-1].lsn >= end_lsn) else end_lsn
                )
            found += more
            await asyncio.sleep(0)
        # A blob that changes while others are looked at goes on to the end of the log, behind what is told here.
        return _Read(found, lsn, lsn >= store.end_lsn)

    async def _change(self, store: BlobStore, entry: IndexEntry, since: int, floor: int) -> FeedChange:
        """How a frontend is told of an entry; puts from the LSN `since` on were not told."""
        put_lsn = store.appended_at(entry)
        if put_lsn is not None:
            put, updated = put_lsn >= since, put_lsn != entry.lsn
        else:
            # Compacted: the segment says about where the put was. From the beginning on, blobs are told as they are.
            put = entry.present and store.may_be_put_since(entry, since)
            updated = not floor
        size = await self._size(store, entry) if put else SIZE_UNKNOWN
        return FeedChange(entry.id, entry.state, entry.changed_at_ms, put, updated, size)

    async def _size(self, store: BlobStore, entry: IndexEntry) -> int:
        """Of the blob as users know it."""
        if entry.id[1] != IdKind.COMPOSITE:
            return entry.payload_size
        try:
            found = store.read(entry, 0, 0, cached_only=True)
            if found is None:
                found = await self._disk.submit(store.read, entry, 0, 0, cached_only=False)
            return SIZE_UNKNOWN if found is None else decode_properties(found.head.properties).size
        except (AmbryError, OSError):
            return SIZE_UNKNOWN  # whoever reads the blob finds out what is wrong with it


class _Read(NamedTuple):
    """Entries, the LSN to go on from, and whether nothing was appended behind that: then no blob before it was left out."""

    entries: list[IndexEntry]
    next_lsn: int
    still: bool


class _Scan:
    """What one request may still look at."""

    def __init__(self, container: bytes, *, scan_max: int) -> None:
        self.left = scan_max
        self._container = container

    def of_container(self, entries: Iterable[IndexEntry]) -> list[IndexEntry]:
        """Those blobs of the container that users see: here, or deleted."""
        entries = list(entries)
        self.left -= len(entries)
        container = self._container
        return [
            entry
            for entry in entries
            if entry.id[4:12] == container and entry.id[1] != IdKind.CHUNK and (entry.present or entry.state.deleted)
        ]


def _since(asked: FeedPartition, lsn: int, tags: Tags) -> int:
    """From where on puts were not told to who goes on at `lsn`: where pages follow each other, from where the first began."""
    if asked.floor:
        return 0
    first = asked.places[0]
    return max(0, first.lsn - asked.behind) if tags.known(first) else lsn


async def _lacking(replica: Replica, ids: list[bytes], next_lsn: int) -> list[bytes]:
    """Those blobs that were not told, in whatever state: they are not here, or came or changed while others were looked at."""
    if not ids:
        return []
    async with replica.lookups.hold(ids) as here:
        return [
            blob_id
            for blob_id in ids
            if (entry := here.get(blob_id)) is None
            or not (entry.present or entry.state.deleted)
            or entry.lsn >= next_lsn
        ]
