"""Ids, records and replicas for tests: small, and the same in every run."""

from __future__ import annotations

import random
from pathlib import Path

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import block_checks, digest
from ambry.format.record import Record, RecordKind
from ambry.ids import BlobId, IdKind
from datanode.store.blob_store import BlobStore
from datanode.store.compaction.copy import Copied
from datanode.store.files import Files
from datanode.store.index import FindToken, Held
from datanode.store.known import EntryMemory
from datanode.store.opening.steps import open_store
from datanode.store.retention import Retention
from datanode.store.tables import Table
from tests.support.fake_clock import SettableClock
from tests.support.pieces import all_of

CLUSTER = "test"
PARTITION = 7
SEGMENT_SIZE = 64 << 10
ALIVE = BlobState(0, False, NEVER_MS)
DELETED = BlobState(0, True, NEVER_MS)


def blob_id(number: int, *, partition: int = PARTITION, kind: IdKind = IdKind.SIMPLE) -> bytes:
    """The raw id of blob `number`; larger numbers have larger keys."""
    uuid = number.to_bytes(6, "big") + b"\x70\x00\x80" + bytes(7)
    return BlobId.make(kind=kind, datacenter=1, account=2, container=3, partition=partition, uuid=uuid).raw


def content(number: int, size: int) -> bytes:
    """The bytes of blob `number`: incompressible, and not those of any other."""
    return random.Random(number * 1_000_003 + size).randbytes(size)


def put_record(
    raw_id: bytes,
    payload: bytes,
    *,
    state: BlobState = ALIVE,
    properties: bytes = b"\x01\x80",
    metadata: bytes = b"",
    kind: RecordKind = RecordKind.BLOB,
) -> Record:
    return Record(
        kind=kind,
        id=raw_id,
        state=state,
        written_at_ms=1_700_000_000_000,
        properties=properties,
        metadata=metadata,
        digest=digest(payload),
        checks=block_checks(payload),
        payload=payload,
    )


def update_record(raw_id: bytes, state: BlobState) -> Record:
    return Record(kind=RecordKind.UPDATE, id=raw_id, state=state, written_at_ms=1_700_000_000_000)


def open_replica(
    files: Files,
    directory: Path,
    *,
    cluster: str = CLUSTER,
    partition: int = PARTITION,
    segment_size_bytes: int = SEGMENT_SIZE,
    rebuild: bool = False,
    seed: int = 1,
    clock: SettableClock | None = None,
) -> BlobStore:
    return open_store(
        files,
        directory,
        cluster=cluster,
        partition=partition,
        segment_size_bytes=segment_size_bytes,
        clock=clock or SettableClock(),
        random_source=random.Random(seed),
        rebuild=rebuild,
    )


def append(store: BlobStore, *records: Record, sync: bool = True) -> list[int]:
    """What the committer does with one batch, in this thread. Returns the LSNs."""
    batch = store.begin(records, sync=sync)
    batch.place()
    batch.write()
    store.publish(batch)
    return [place.lsn for place in batch.places]


def checkpoint(store: BlobStore, *, clean: bool = False, tokens: dict[str, FindToken] | None = None) -> None:
    """What the checkpointer does for one checkpoint, in this thread."""
    pending = store.begin_checkpoint(clean=clean, tokens=tokens or {})
    store.write_checkpoint(pending)
    store.end_checkpoint(pending)


def stop_cleanly(store: BlobStore, *, tokens: dict[str, FindToken] | None = None) -> None:
    checkpoint(store, clean=True, tokens=tokens)
    store.close()


def rot_index(store: BlobStore, raw_id: bytes) -> None:
    """Turn what LMDB has of a blob into garbage; a checkpoint must have put it there. Memory forgets it."""
    index = store.index  # LMDB may be opened once per process, so the damage goes in through the same door
    index._file.tables.write(lambda writing: writing.put(Table.ENTRIES, raw_id[16:32], b"rotten" * 9))
    forget(store)


def forget(store: BlobStore) -> None:
    """Let memory know of nothing that stands in LMDB."""
    store.index.share(EntryMemory(100))


def read_all(store: BlobStore, raw_id: bytes) -> bytes:
    """The whole payload of a blob that must be present."""
    entry = store.lookup(raw_id)
    if entry is None or not entry.present:
        raise LookupError(f"{raw_id.hex()} is not here")
    payload = store.read(entry, 0, entry.payload_size, cached_only=False)
    if payload is None:
        raise LookupError("a waiting read returned nothing")
    return bytes(payload.data)


def hold(store: BlobStore, copied: Copied) -> Held:
    """What is known of the blobs of a compaction."""
    ids = [item.id for item in copied.dropped] + [item.id for item in copied.forgotten]
    held = store.index.hold(ids + [item.id for item in copied.moved])
    held.learn(store.index.look_up(held.unknown))
    return held


def copy_segments(store: BlobStore, numbers: list[int], retention: Retention) -> Copied:
    """The copy of a compaction, not in place yet."""
    inputs, output = store.compaction.plan_output(numbers)
    return all_of(store.compaction.copier(retention).run(inputs, output))


def put_copy_in_place(store: BlobStore, copied: Copied, retention: Retention) -> None:
    """What the compactor does with a copy up to its checkpoint, in this thread."""
    compaction = store.compaction
    if not compaction.may_switch(copied, retention):
        raise AssertionError("a blob came back to life")
    compaction.put_in_place(copied)
    compaction.begin_switch(copied)
    here = hold(store, copied)
    if revived := compaction.switch_dropped(copied.dropped, retention, here):
        raise AssertionError(f"{len(revived)} blobs came back to life")
    compaction.switch_forgotten(copied.forgotten, here)
    compaction.switch_moved(copied, copied.moved, here)
    here.let_go()
    checkpoint(store)


def compact(store: BlobStore, numbers: list[int], retention: Retention) -> Copied:
    """A whole compaction, in this thread."""
    copied = copy_segments(store, numbers, retention)
    put_copy_in_place(store, copied, retention)
    store.compaction.delete_files(store.compaction.retire(numbers))
    return copied
