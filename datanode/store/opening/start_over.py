"""Putting a fresh replica in the place of one that must be rebuilt. Nothing of the old one is deleted.

    1  build the fresh one beside it, under another name: its identity, and what of the old one nobody else may have; closed
    2  close the old one, and rename its directory to `<name>.set-aside-<its incarnation>`
    3  rename the fresh one to `<name>`

A crash before step 2 leaves the old one in its place, and beside it a fresh one that the next opening deletes: all of it is in
the old one. Between 2 and 3 there is no replica, but one that is finished: the next opening does step 3. It knows it by the
directory that step 2 set aside. A fresh one without that is of another day: it may hold what was deleted since, and is set
aside itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format import record as record_format
from ambry.format.record import Record, RecordKind
from ambry.service.logs import get_logger
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.files import Files
from datanode.store.index_file import INDEX_NAME
from datanode.store.opening.identity import IdentityFile, identity_in
from datanode.store.trouble import passes

log = get_logger()

FRESH_SUFFIX = ".fresh"
SET_ASIDE_SUFFIX = ".set-aside-"
PAGE = 100
PAGE_BYTES = 8 << 20
"""Records that are in memory at once, and one more."""

OpenFresh = Callable[[Path], BlobStore]


def finish(files: Files, directory: Path) -> None:
    """Do step 3 where a crash came before it; clear away what an unfinished step 1 left. Blocking. Raises OSError."""
    fresh = directory.with_name(directory.name + FRESH_SUFFIX)
    if not files.exists(fresh):
        return
    identity = identity_in(files, fresh)
    if files.exists(directory) or identity is None:
        if _clear(files, fresh):
            log.warning("unfinished fresh replica deleted", directory=str(fresh))
    elif any(files.exists(_aside(directory, incarnation)) for incarnation in identity.lineage.former):
        _rename(files, fresh, directory)
    else:
        _rename(files, fresh, _aside(directory, f"fresh-{identity.incarnation}"))
        log.error("fresh replica of nobody set aside", directory=str(fresh))


def _aside(directory: Path, name: str) -> Path:
    return directory.with_name(directory.name + SET_ASIDE_SUFFIX + name)


class DirectoryChange:
    """What becomes of a replica's directory while it is reopened: nothing. Methods block."""

    name = "none"

    def prepare(self) -> None:
        """The replica takes no appends any more, and nothing is on its way. Raises OSError, AmbryError."""

    def carry_out(self) -> None:
        """It is closed. Raises OSError."""


NO_CHANGE = DirectoryChange()


class Renewal(DirectoryChange):
    """A new incarnation."""

    name = "new incarnation"

    def __init__(self, identity: IdentityFile, random_source: random.Random) -> None:
        self._identity = identity
        self._random = random_source

    def carry_out(self) -> None:
        self._identity.renew(self._random)
        log.warning("replica takes a new incarnation", partition=self._identity.partition)


class StartOver(DirectoryChange):
    """A fresh replica, which holds what `old` took in from `keep_lsn` on."""

    name = "fresh replica"

    def __init__(self, files: Files, old: BlobStore, *, keep_lsn: int, open_fresh: OpenFresh) -> None:
        self._files = files
        self._old = old
        self._keep_lsn = keep_lsn
        self._open_fresh = open_fresh

    def prepare(self) -> None:
        """Step 1."""
        directory = self._old.directory
        fresh = directory.with_name(directory.name + FRESH_SUFFIX)
        _clear(self._files, fresh)
        store = self._open_fresh(fresh)
        try:
            store.identity.succeed(self._old.identity)
            for records in pages(kept(self._old, self._keep_lsn)):
                _append(store, records)
            pending = store.begin_checkpoint(clean=True, tokens={})
            store.write_checkpoint(pending)
            store.end_checkpoint(pending)
        finally:
            store.close()

    def carry_out(self) -> None:
        """Steps 2 and 3."""
        directory = self._old.directory
        aside = _aside(directory, self._old.incarnation.hex())
        _rename(self._files, directory, aside)
        finish(self._files, directory)
        log.warning("replica set aside", partition=self._old.partition, directory=str(aside))


def kept(store: BlobStore, since_lsn: int) -> Iterator[Record]:
    """What a replica took in from an LSN on: blobs, and states of blobs that it held before or cannot read.

    Raises AmbryError; OSError, MemoryError where the same may succeed later.
    """
    lsn = since_lsn
    while page := store.changes_since(lsn, PAGE):
        lsn = page[-1].lsn + 1
        for entry in page:
            put_lsn = store.appended_at(entry)
            record = _record_of(store, entry) if put_lsn is not None and put_lsn >= since_lsn else None
            if record is not None:
                yield msgspec.structs.replace(record, state=entry.state)
            else:
                yield Record(kind=RecordKind.UPDATE, id=entry.id, state=entry.state, written_at_ms=entry.changed_at_ms)


def _record_of(store: BlobStore, entry: IndexEntry) -> Record | None:
    """The record of a blob; None where it cannot be read: it stays in the directory that is set aside."""
    if entry.id in store.damaged:
        return None
    try:
        return record_format.decode(store.read_image(entry))
    except (DataCorrupt, FormatUnknown, OSError) as error:
        if passes(error):
            raise
        log.error("record unreadable, its state is kept", blob=entry.id.hex(), error=str(error))
        return None


def pages(records: Iterator[Record]) -> Iterator[list[Record]]:
    """What is appended at once."""
    page: list[Record] = []
    size = 0
    for record in records:
        page.append(record)
        size += record.size
        if len(page) >= PAGE or size >= PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page


def _append(store: BlobStore, records: Sequence[Record]) -> None:
    batch = store.begin(records, sync=True)
    batch.place()
    batch.write()
    store.publish(batch)


def _clear(files: Files, directory: Path) -> bool:
    """Delete what an unfinished try left. Returns whether there was anything."""
    anything = False
    for place in (directory / INDEX_NAME, directory):
        for name in files.list_directory(place) if files.exists(place) else ():
            if name != INDEX_NAME:
                files.unlink(place / name)
                anything = True
    return anything


def _rename(files: Files, source: Path, target: Path) -> None:
    files.rename(source, target)
    files.sync_directory(target.parent)
