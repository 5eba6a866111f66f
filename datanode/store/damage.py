"""Which blobs of a replica count as damaged: those whose present record could not be read."""

from __future__ import annotations

from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.known import UNKNOWN


def successor(store: BlobStore, entry: IndexEntry) -> IndexEntry | None:
    """The entry that has taken the place of one which was read, where its bytes stand elsewhere by now, or nowhere.

    A repair appends a good copy, and what a read of the old one finds out says nothing about that. None: it is as it was, or
    memory does not tell.
    """
    current = store.index.known(entry.id)
    if current is UNKNOWN:
        return None
    if current is None:
        return _without_bytes(entry)
    return None if current.present and current.location == entry.location else current


def note_damaged(store: BlobStore, entry: IndexEntry) -> bool:
    """Count a blob as damaged whose record could not be read where `entry` says; False where it has a `successor`."""
    if successor(store, entry) is not None:
        return False
    store.damaged.add(entry.id)
    return True


def _without_bytes(entry: IndexEntry) -> IndexEntry:
    return IndexEntry(entry.id, entry.lsn, 0, 0, 0, 0, entry.state, entry.changed_at_ms)
