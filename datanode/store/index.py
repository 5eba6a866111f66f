"""The index of one replica: blob id -> current state and place, and the order in which blobs last changed.

The newest entries live in memory (a dict, and a journal in LSN order); a checkpoint moves them into LMDB in one transaction,
after the log that they describe was synced. LMDB holds four tables (datanode/store/tables.py):

    entries  uuid (16)        -> entry (datanode/store/entry.py)
    changes  LSN (8, big-end) -> uuid; each blob stands once, at its latest change
    meta     name             -> msgpack: where the checkpoint ends, the replication tokens, whether the stop was clean
    ranges   key (16)         -> digests of the entries from there on (datanode/store/ranges.py)

All methods but `write` run on the event loop's thread; `write` may run on a disk thread while the others go on.
Invariant: look-up order is recent, frozen (being written), LMDB; so a blob is found at every moment of a checkpoint.
The log is the truth: an index that is missing, damaged or of another version is deleted and rebuilt from it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ambry.blob import BlobState, join
from ambry.errors import IndexCorrupt, InvariantBroken
from ambry.format.record import RecordKind
from datanode.store import entry as entry_format
from datanode.store.age import Mark
from datanode.store.entry import IndexEntry
from datanode.store.files import Files
from datanode.store.ranges import RangeChange, Records
from datanode.store.stored_entries import META_KEY, Entries, RangeRecords, read_ranges, write_entries
from datanode.store.tables import Pair, Table, Writing

PAGE_ENTRIES = 200
"""Entries that a walk through the index takes at once: under a millisecond."""
ENTRY_BYTES = 128
"""About what an entry takes of the index, both orders together."""

Pause = Callable[[int], object]
"""Called with the size of a piece of work in bytes; blocks the thread for as long as that should take."""


class FindToken(NamedTuple):
    """Everything of the log `incarnation`, in its `epoch` (lineage.py), before `lsn` was seen; `complete`: once, all was."""

    incarnation: bytes
    lsn: int
    epoch: bytes = b""
    complete: bool = False


class LsnRange(NamedTuple):
    """From `start` on, up to `end` and without it."""

    start: int
    end: int


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """What LMDB says about itself. Replay starts at `segment`, `offset`, `lsn`; of a peer's log all before its token is here.

    After a `clean` stop nothing follows them. `resume` says that appends may go on right there: it is false where this
    process found an unclean stop and appended nothing since, for then a peer may have seen LSNs beyond `lsn`.
    """

    version: int = 1
    incarnation: bytes = b""
    segment: int = 0
    offset: int = 0
    lsn: int = 0
    clean: bool = False
    serving: bool = False
    tokens: dict[str, FindToken] = msgspec.field(default_factory=dict)
    resume: bool = False
    holes: list[LsnRange] = msgspec.field(default_factory=list)
    """LSNs that no segment covers, as far as it is known: what was there was fetched from peers, or is looked for."""
    right_ms: int = 0
    open_s: float = 0.0
    marks: list[Mark] = msgspec.field(default_factory=list)
    rounds: dict[str, float] = msgspec.field(default_factory=dict)
    """`right_ms`, `age` and `rounds` of the BlobStore, as they were."""
    partial: bool = False
    """Whether a rebuild was under way: an index before it was lost."""


class Frozen(msgspec.Struct):
    """The entries that one checkpoint writes."""

    entries: Entries
    journal: list[tuple[int, bytes]]


class Journal(NamedTuple):
    """The first `size` changes of a list that grows."""

    changes: list[tuple[int, bytes]]
    size: int


class Past(NamedTuple):
    """Changes up to `stored_lsn` are in LMDB, later ones in the journals."""

    stored_lsn: int
    journals: tuple[Journal, Journal]


class Index:
    """One replica's index. Opening it may raise IndexCorrupt: delete the files and rebuild. Overloaded, InsufficientStorage
    say nothing about it, here as in every method: try again later.

    Whenever an open index turns out damaged `on_corrupt` hears why, on the thread that found it, before IndexCorrupt is raised.
    """

    def __init__(
        self, files: Files, directory: Path, partition: int, *, on_corrupt: Callable[[str], None] = lambda _reason: None
    ) -> None:
        self._partition, self._on_corrupt = partition, on_corrupt
        self._recent: Entries = {}
        self._journal: list[tuple[int, bytes]] = []
        self._frozen = Frozen({}, [])
        with self._telling():
            self._tables = files.open_tables(directory)
            try:
                self.checkpoint = self._read_checkpoint()
                self._stored_key_max = self._tables.last_key(Table.ENTRIES)
                self.ranges = read_ranges(self._tables, empty=not self._stored_key_max)
            except BaseException:
                self._tables.close()
                raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Let `on_corrupt` hear of damage that is found in it."""
        try:
            yield
        except IndexCorrupt as error:
            self._on_corrupt(error.message)
            raise

    def _read_checkpoint(self) -> Checkpoint:
        raw = self._tables.get(Table.META, META_KEY)
        try:
            checkpoint = msgspec.msgpack.decode(raw, type=Checkpoint) if raw else Checkpoint()
        except msgspec.MsgspecError as cause:
            raise IndexCorrupt(f"the checkpoint of partition {self._partition} cannot be read: {cause}") from cause
        if checkpoint.version != Checkpoint().version:
            raise IndexCorrupt(f"index version {checkpoint.version} is not known to this release")
        return checkpoint

    @property
    def recent_count(self) -> int:
        """Entries that are not in LMDB yet."""
        return len(self._recent) + len(self._frozen.entries)

    def get(self, blob_id: bytes) -> IndexEntry | None:
        """The entry of exactly this blob id, deleted ones included. Raises IndexCorrupt."""
        found = self._by_key(blob_id[16:32])
        return found if found is not None and found.id == blob_id else None

    def _by_key(self, key: bytes) -> IndexEntry | None:
        if key in self._recent:
            return self._recent[key]
        if key in self._frozen.entries:
            return self._frozen.entries[key]
        if key > self._stored_key_max:
            # Keys start with the time, so a new blob's lies beyond everything stored: no need to look.
            return None
        try:
            value = self._tables.get(Table.ENTRIES, key)
            return None if value is None else entry_format.decode(key, value, self._partition)
        except IndexCorrupt as error:
            self._on_corrupt(error.message)
            raise

    def apply(
        self,
        *,
        kind: int,
        blob_id: bytes,
        state: BlobState,
        lsn: int,
        segment: int,
        offset: int,
        size: int,
        payload_size: int,
        written_at_ms: int,
    ) -> None:
        """Take in one record of the log. Replay at start and publication share this, so they cannot differ.

        Raises IndexCorrupt.
        """
        current = self.get(blob_id)
        joined = state if current is None else join(current.state, state)
        changed_at_ms = written_at_ms if current is None else max(current.changed_at_ms, written_at_ms)
        if kind != RecordKind.UPDATE:
            # The latest put record of a blob is the one to read: a repair appends a good copy.
            repaired = current is not None and (current.present or current.repaired)
            entry = IndexEntry(blob_id, lsn, segment, offset, size, payload_size, joined, changed_at_ms, repaired)
        elif current is None:
            entry = IndexEntry(blob_id, lsn, 0, 0, 0, 0, joined, changed_at_ms)
        else:
            entry = msgspec.structs.replace(current, lsn=lsn, state=joined, changed_at_ms=changed_at_ms)
        self.set(entry)

    def set(self, entry: IndexEntry) -> None:
        """Take in a change; LSNs come in growing order."""
        key = entry.id[16:32]
        self._recent[key] = entry
        self._journal.append((entry.lsn, key))

    def move(self, entry: IndexEntry) -> None:
        """Replace an entry by one that differs only in its place."""
        self._recent[entry.id[16:32]] = entry

    def remove(self, blob_id: bytes) -> None:
        """Forget a blob."""
        self._recent[blob_id[16:32]] = None

    def overlay(self) -> Entries:
        """The entries that LMDB does not have yet; with `stored` it makes up the whole index at this moment."""
        return {**self._frozen.entries, **self._recent}

    def stored(self, overlay: Entries, pause: Pause = lambda _size: None) -> Iterator[IndexEntry]:
        """Every entry: those of `overlay`, then those of LMDB that it does not replace. Blocking. Raises IndexCorrupt.

        In pages, with `pause` called between them with the size of each: a walk through a large index takes its time, and a
        transaction that reads for so long would keep LMDB from using freed pages again. So what changes behind the overlay
        during the walk may be met as it was or as it is, each blob at most once. It may be gone on with on another thread.
        """
        # What is stored behind this key later was in no checkpoint yet: under appends a walk would never end.
        last = self._stored_key_max
        yield from (entry for entry in overlay.values() if entry is not None)
        yield from self.between(b"", last, overlay, pause)

    def between(
        self, after: bytes, last: bytes, but: Container[bytes] = (), pause: Pause = int
    ) -> Iterator[IndexEntry]:
        """Entries of LMDB with keys behind `after` and up to `last`, in order, without those keys. As `stored` otherwise."""
        while page := self._stored_page(after, last):
            with self._telling():
                found = [entry_format.decode(*pair, self._partition) for pair in page if pair.key not in but]
            yield from found
            after = page[-1].key
            pause(len(page) * ENTRY_BYTES)

    def _stored_page(self, after: bytes, last: bytes) -> list[Pair]:
        """The next entries of LMDB behind key `after`, up to `last`, as they stand there."""
        # The least key behind `after`: no other lies between them.
        with self._telling():
            page = self._tables.page(Table.ENTRIES, after + b"\0", PAGE_ENTRIES)
        return [pair for pair in page if pair.key <= last]

    def range_record(self, start: bytes) -> bytes | None:
        """The digest of the range that starts there, as it stands in LMDB."""
        with self._telling():
            return self._tables.get(Table.RANGES, start)

    def write_ranges(self, change: Callable[[Records], None]) -> None:
        """Change digests in one durable transaction, in which `change` may be called again from the start. As `write`."""
        with self._telling():
            self._tables.write(lambda writing: change(RangeRecords(writing)))

    def past(self) -> Past:
        """What a reader of changes on another thread needs: taken on the event loop's, it is right whatever comes after."""
        frozen, recent = self._frozen.journal, self._journal
        # No further: a blob that was told from LMDB and changes meanwhile would be told twice.
        return Past(self.checkpoint.lsn, (Journal(frozen, len(frozen)), Journal(recent, len(recent))))

    def changes_since(self, lsn: int, limit: int, past: Past | None = None) -> list[IndexEntry]:
        """Blobs whose latest change has an LSN of at least `lsn`, in LSN order, at most `limit`.

        Blocking where `lsn` lies before the last checkpoint's; on another thread with a `past`. Raises IndexCorrupt.
        """
        stored_lsn, journals = past or self.past()
        found = self._stored_changes(lsn, stored_lsn, limit) if lsn < stored_lsn else []
        for journal, size in journals:
            for position in range(bisect_left(journal, (lsn, b""), 0, size), size):
                if len(found) >= limit:
                    return found
                change_lsn, key = journal[position]
                entry = self._by_key(key)
                if entry is not None and entry.lsn == change_lsn:
                    found.append(entry)
        return found

    def _stored_changes(self, lsn: int, end: int, limit: int) -> list[IndexEntry]:
        """Up to `end`: a checkpoint may have put later ones there since, which the journals give."""
        found: list[IndexEntry] = []
        start, stop = lsn.to_bytes(8, "big"), end.to_bytes(8, "big")
        while len(found) < limit:
            with self._telling():
                page = self._tables.page(Table.CHANGES, start, min(PAGE_ENTRIES, limit - len(found)))
            for raw_lsn, key in page:
                if raw_lsn >= stop:
                    return found
                entry = self._by_key(key)
                if entry is not None and entry.lsn == int.from_bytes(raw_lsn, "big"):
                    found.append(entry)
            if not page:
                break
            start = page[-1].key + b"\0"
        return found

    def freeze(self) -> Frozen:
        """Begin a checkpoint: the entries to `write`. No other checkpoint may be on its way."""
        if self._frozen.entries:
            raise InvariantBroken(f"two checkpoints of partition {self._partition} at once")
        self._frozen = Frozen(self._recent, self._journal)
        self._recent = {}
        self._journal = []
        return self._frozen

    def write(self, frozen: Frozen, checkpoint: Checkpoint) -> None:
        """Write frozen entries and the checkpoint in one durable transaction. Blocking.

        Raises IndexCorrupt; Overloaded and InsufficientStorage with nothing written: `thaw` then, and try again later.
        """
        raw = msgspec.msgpack.encode(checkpoint)

        def change(writing: Writing) -> None:
            ranges = RangeChange(self.ranges)  # anew each time: it gathers what changes
            write_entries(writing, self._partition, frozen.entries, frozen.journal, raw, ranges)

        with self._telling():
            self._tables.write(change)

    def finish(self, checkpoint: Checkpoint) -> None:
        """End a checkpoint that `write` made durable."""
        self._stored_key_max = max(self._stored_key_max, max(self._frozen.entries, default=b""))
        self._frozen = Frozen({}, [])
        self.checkpoint = checkpoint

    def thaw(self) -> None:
        """End a checkpoint of which nothing was written: its entries wait for the next one."""
        self._recent = {**self._frozen.entries, **self._recent}
        self._journal = self._frozen.journal + self._journal
        self._frozen = Frozen({}, [])

    def stored_count(self) -> int:
        """Blobs in LMDB."""
        return self._tables.count(Table.ENTRIES)

    def close(self) -> None:
        """Blocking: waits for a reader on another thread."""
        self._tables.close()
