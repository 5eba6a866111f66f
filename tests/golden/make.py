"""Makes the files of a released format version, once: `python -m tests.golden.make 1`. They are never made again.

A replica that has seen everything: records of each kind, of no bytes and over several blocks, deleted, undeleted and extended
blobs, sealed segments, a compacted one, one that still takes appends.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from ambry.blob import NEVER_MS, BlobState
from ambry.format.record import RecordKind
from ambry.ids import IdKind
from datanode.store.blob_store import BlobStore
from datanode.store.files import OsFiles
from datanode.store.index import FindToken
from datanode.store.retention import Retention
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    checkpoint,
    compact,
    content,
    open_replica,
    put_record,
    stop_cleanly,
    update_record,
)

HERE = Path(__file__).parent
SEGMENT_SIZE = 16 << 10
SIZES = {1: 0, 2: 1, 3: 5_000, 4: 70_000, 5: 3_000, 6: 200, 7: 9_000, 8: 9_000, 9: 300, 20: 4_000}
KINDS = {8: (RecordKind.COMPOSITE, IdKind.COMPOSITE), 9: (RecordKind.CHUNK, IdKind.CHUNK)}
WRITTEN = 1_700_000_000_000
TOKENS = {"dc1-n2": FindToken(b"n" * 16, 77)}


def golden_id(number: int) -> bytes:
    """The id of blob `number`; its content is `content(number, SIZES[number])`."""
    return blob_id(number, kind=KINDS[number][1] if number in KINDS else IdKind.SIMPLE)


def fill(store: BlobStore) -> None:
    for number, size in SIZES.items():
        if number < 20:
            kind = KINDS[number][0] if number in KINDS else RecordKind.BLOB
            record = put_record(golden_id(number), content(number, size), kind=kind, metadata=b"\x01\x81\xa1k\xa1v")
            append(store, record)
    append(store, update_record(golden_id(5), DELETED))
    append(store, update_record(golden_id(6), DELETED))
    append(store, update_record(golden_id(6), BlobState(1, False, NEVER_MS)))
    append(store, update_record(golden_id(15), DELETED))
    append(store, put_record(golden_id(20), content(20, SIZES[20]), state=BlobState(0, False, WRITTEN + 10)))
    append(store, update_record(golden_id(20), BlobState(0, False, WRITTEN + 1_000_000)))
    checkpoint(store)
    numbers = store.scrub.segment_numbers()[:1]
    kept = Retention(now_ms=WRITTEN, deleted_ms=10, tombstone_ms=10, horizon_lsn=0)
    for segment in compact(store, numbers, kept).inputs:
        segment.close()


def listing(store: BlobStore) -> list[dict[str, object]]:
    """All that a replica says about its blobs, in LSN order."""
    return [
        {
            "id": entry.id.hex(),
            "lsn": entry.lsn,
            "present": entry.present,
            "payload_size": entry.payload_size,
            "state": [entry.state.life_version, entry.state.deleted, entry.state.expires_at_ms],
        }
        for entry in store.changes_since(0, 1_000)
    ]


def main(version: str) -> None:
    target = HERE / f"v{version}"
    if target.exists():
        raise SystemExit(f"{target} is there already, and golden files never change")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "replica"
        store = open_replica(
            OsFiles(), directory, segment_size_bytes=SEGMENT_SIZE, seed=random.Random(7).randrange(1000)
        )
        fill(store)
        expected = listing(store)
        stop_cleanly(store, tokens=TOKENS)
        (directory / "lock").unlink()
        (directory / "index" / "lock.mdb").unlink()
        shutil.copytree(directory, target / "replica")
    (target / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
