"""The index of one replica: blob id -> current state and place, and the order in which blobs last changed.

The newest entries live in memory (a dict, and a journal in LSN order); a checkpoint moves them into LMDB in one transaction,
after the log that they describe was synced. LMDB holds five tables (datanode/store/tables.py):

    entries  uuid (16)        -> entry (datanode/store/entry.py)
    changes  LSN (8, big-end) -> uuid; each blob stands once, at its latest change
    meta     name             -> msgpack: where the checkpoint ends, the replication tokens, whether the stop was clean
    ranges   key (16)         -> digests of the entries from there on (datanode/store/ranges.py)
    usage    container (8), window (8) -> what the container has (datanode/store/usage.py)

Whatever changes it, and `known`, runs on the event loop's thread, and never touches LMDB: a page of it may take as long as its
disk does. What is marked blocking runs on a disk thread while the others go on.
Invariant: look-up order is recent, frozen (being written), LMDB; so a blob is found at every moment of a checkpoint.
The log is the truth: an index that is missing, damaged or of another version is deleted and rebuilt from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ambry.blob import BlobState, join
from ambry.errors import IndexCorrupt, InvariantBroken
from ambry.format.record import RecordKind
from datanode.store.age import Mark
from datanode.store.changes import ChangeReader, Journal, Past
from datanode.store.entry import IndexEntry
from datanode.store.files import Files
from datanode.store.known import UNKNOWN, EntryMemory, Known
from datanode.store.stored_entries import Entries, EntryFile

REMEMBERED_ALONE = 1_000
"""Entries that one remembers which shares no memory with others: see `share`."""


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
    epoch: str = ""
    """That of the log (lineage.py) in which it was written: what an earlier one says of its end holds no more."""
    compacted: list[int] = msgspec.field(default_factory=list)
    """Numbers of the segments that compactions had made: the index points to none that they replaced."""


_checkpoint = msgspec.msgpack.Decoder(Checkpoint)


class Frozen(msgspec.Struct):
    """The entries that one checkpoint writes."""

    entries: Entries
    journal: list[tuple[int, bytes]]


class Held:
    """What is known of some blobs, by the key of their entries: kept until `let_go`, and told as it is at every moment."""

    __slots__ = ("_index", "entries", "unknown")

    def __init__(self, index: Index, entries: dict[bytes, Known]) -> None:
        self._index = index
        self.entries = entries
        self.unknown = [key for key, entry in entries.items() if entry is UNKNOWN]
        """Keys that are to be looked up, see `learn`."""

    def learn(self, found: Entries) -> None:
        """Take in what was looked up of `unknown`, unless a checkpoint told something newer meanwhile."""
        entries = self.entries
        for key, entry in found.items():
            if entries[key] is UNKNOWN:
                entries[key] = entry
        self.unknown = []

    def get(self, blob_id: bytes) -> IndexEntry | None:
        """The entry of one of the blobs, as it is now."""
        found = self._index.known(blob_id)
        if found is UNKNOWN:
            found = self.entries[blob_id[16:32]]
            if found is UNKNOWN:
                raise InvariantBroken(f"what is held of {blob_id.hex()} was never looked up")
            return found if found is None or found.id == blob_id else None
        return found

    def let_go(self) -> None:
        """It is not needed any more; may be said twice."""
        self._index.holds.pop(self, None)


class Index:
    """One replica's index. Opening it may raise IndexCorrupt: delete the files and rebuild. Overloaded, InsufficientStorage
    say nothing about it, here as in every method: try again later.

    Whenever an open index turns out damaged `on_corrupt` hears why, on the thread that found it, before IndexCorrupt is raised.
    """

    def __init__(
        self, files: Files, directory: Path, partition: int, *, on_corrupt: Callable[[str], None] = lambda _reason: None
    ) -> None:
        self._recent: Entries = {}
        self._journal: list[tuple[int, bytes]] = []
        self._frozen = Frozen({}, [])
        self.waiting = (self._recent, self._frozen.entries)
        """Both as of one moment, for disk threads."""
        self.holds: dict[Held, None] = {}
        """Those that were not let go."""
        self._remembered = EntryMemory(REMEMBERED_ALONE).join()
        self.checkpoints = 0
        """How many have ended since it was opened."""
        self._file = EntryFile(files, directory, partition, on_corrupt)
        self._changes = ChangeReader(self.find_all, self._file.changes)
        self.between, self.range_record, self.usage = self._file.between, self._file.range_record, self._file.usage
        self.last_lsn = self._file.last_lsn
        self.write_ranges, self.stored_count = self._file.write_ranges, self._file.count
        try:
            raw = self._file.read_checkpoint()
            self.checkpoint = Checkpoint() if raw is None else _decoded(raw, partition)
            self._stored_key_max = self._file.last_key()
            self.ranges = self._file.read_ranges(empty=not self._stored_key_max)
        except BaseException as error:
            self._file.close()
            if isinstance(error, IndexCorrupt):
                on_corrupt(error.message)
            raise

    @property
    def recent_count(self) -> int:
        """Entries that are not in LMDB yet."""
        return len(self._recent) + len(self._frozen.entries)

    def known(self, blob_id: bytes) -> Known:
        """What memory tells of exactly this blob id: its entry, deleted ones included, that there is none, or UNKNOWN."""
        key = blob_id[16:32]
        found: Known = self._recent.get(key, UNKNOWN)
        if found is UNKNOWN:
            found = self._frozen.entries.get(key, UNKNOWN)
            if found is UNKNOWN:
                if key > self._stored_key_max:
                    # Keys start with the time, so a new blob's lies beyond everything stored: no need to look.
                    return None
                found = self._remembered.newer.get(key, UNKNOWN)
                if found is UNKNOWN:
                    found = self._remembered.recall(key)
                    if found is UNKNOWN:
                        return found
        return found if found is None or found.id == blob_id else None

    def hold(self, ids: Iterable[bytes]) -> Held:
        """What is known of these blobs, which stays known until it is let go; see `look_up` for the rest."""
        known = self.known
        entries = {blob_id[16:32]: known(blob_id) for blob_id in ids}
        held = Held(self, entries)
        self.holds[held] = None
        return held

    def remember(self, entries: Entries, checkpoints: int) -> None:
        """Keep what `look_up` found, begun after so many checkpoints: it may be old where another one ended since."""
        if checkpoints == self.checkpoints:
            self._remembered.note(entries)

    def share(self, memory: EntryMemory) -> None:
        """Remember entries in a memory that bounds those of all indexes of a node."""
        self._remembered.leave()
        self._remembered = memory.join()

    def get(self, blob_id: bytes) -> IndexEntry | None:
        """The entry of exactly this blob id, deleted ones included. Blocking, on any thread. Raises IndexCorrupt."""
        found = self._by_key(blob_id[16:32])
        return found if found is not None and found.id == blob_id else None

    def look_up(self, keys: Collection[bytes]) -> Entries:
        """The entries of these keys in LMDB, None where there is none, of one moment. Blocking. Raises IndexCorrupt."""
        return self._file.look_up(keys)

    def find_all(self, keys: Sequence[bytes]) -> list[IndexEntry | None]:
        """The entries of these keys, as `get`; LMDB is asked for all at once, where memory does not have them."""
        return self._file.find_all(keys, self.waiting)

    def _by_key(self, key: bytes) -> IndexEntry | None:
        for entries in self.waiting:
            found = entries.get(key, UNKNOWN)
            if found is not UNKNOWN:
                return found
        return self._file.look_up((key,))[key] if key <= self._stored_key_max else None

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
        held: Held | None = None,
    ) -> None:
        """Take in one record of the log. Replay at start and publication share this, so they cannot differ.

        Blocking, and raises IndexCorrupt, unless its blob is one of those `held`.
        """
        current = self.get(blob_id) if held is None else held.get(blob_id)
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

    def stored(self, overlay: Entries) -> Iterator[IndexEntry]:
        """Every entry: those of `overlay`, then those of LMDB that it does not replace. Blocking. Raises IndexCorrupt.

        In pages, with no transaction between them: a walk through a large index takes its time, and one that reads for so long
        would keep LMDB from using freed pages again. So what changes behind the overlay
        during the walk may be met as it was or as it is, each blob at most once. It may be gone on with on another thread.
        """
        # What is stored behind this key later was in no checkpoint yet: under appends a walk would never end.
        last = self._stored_key_max
        yield from (entry for entry in overlay.values() if entry is not None)
        yield from self._file.between(b"", last, overlay)

    def past(self) -> Past:
        """What a reader of changes on another thread needs: taken on the event loop's, it is right whatever comes after."""
        frozen, recent = self._frozen.journal, self._journal
        # No further: a blob that was told from LMDB and changes meanwhile would be told twice.
        return Past(self.checkpoint.lsn, (Journal(frozen, len(frozen)), Journal(recent, len(recent))))

    def changes_since(self, lsn: int, limit: int, past: Past | None = None) -> list[IndexEntry]:
        """Blobs whose latest change has an LSN of at least `lsn`, in LSN order, at most `limit`.

        Blocking where `lsn` lies before the last checkpoint's; on another thread with a `past`. Raises IndexCorrupt.
        """
        return self._changes.since(lsn, limit, past or self.past())

    def freeze(self) -> Frozen:
        """Begin a checkpoint: the entries to `write`. No other checkpoint may be on its way."""
        if self._frozen.entries:
            raise InvariantBroken("two checkpoints of one partition at once")
        self._frozen = Frozen(self._recent, self._journal)
        self._recent = {}
        self._journal = []
        self.waiting = (self._recent, self._frozen.entries)
        return self._frozen

    def write(self, frozen: Frozen, checkpoint: Checkpoint) -> None:
        """Write frozen entries and the checkpoint in one durable transaction. Blocking.

        Raises IndexCorrupt; Overloaded and InsufficientStorage with nothing written: `thaw` then, and try again later.
        """
        self._file.write(frozen.entries, frozen.journal, msgspec.msgpack.encode(checkpoint), self.ranges)

    def finish(self, checkpoint: Checkpoint) -> None:
        """End a checkpoint that `write` made durable."""
        written = self._frozen.entries
        self._stored_key_max = max(self._stored_key_max, max(written, default=b""))
        for held in self.holds:
            held.entries.update((key, written[key]) for key in held.entries.keys() & written.keys())
        self._remembered.note(written)
        self.checkpoints += 1
        self._frozen = Frozen({}, [])
        self.waiting = (self._recent, self._frozen.entries)
        self.checkpoint = checkpoint

    def thaw(self) -> None:
        """End a checkpoint of which nothing was written: its entries wait for the next one."""
        self._recent = {**self._frozen.entries, **self._recent}
        self._journal = self._frozen.journal + self._journal
        self._frozen = Frozen({}, [])
        self.waiting = (self._recent, self._frozen.entries)

    def close(self) -> None:
        """Blocking: waits for a reader on another thread."""
        self._remembered.leave()
        self._file.close()


def _decoded(raw: bytes, partition: int) -> Checkpoint:
    try:
        checkpoint = _checkpoint.decode(raw)
    except msgspec.MsgspecError as cause:
        raise IndexCorrupt(f"the checkpoint of partition {partition} cannot be read: {cause}") from cause
    if checkpoint.version != Checkpoint().version:
        raise IndexCorrupt(f"index version {checkpoint.version} is not known to this release")
    return checkpoint
