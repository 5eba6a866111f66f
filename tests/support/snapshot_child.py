"""A process that writes or reads a snapshot when it is told to, so that somebody else may look at its memory.

    python -m tests.support.snapshot_child URL NAME KIND ROWS STEP

It says `ready`, waits for a line, does the step, and says what came of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from ambry import AmbryClient
from ambry.ml import snapshots
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.writing import GROUP_ROWS

MEMORY_MAX = 4 << 20
BATCH_ROWS = 2_048
CHUNK = 4_096
"""Rows that come at once."""
NUMBERS = 16
TEXT = "".join(f"f{number}: {{valType: DOUBLE}}\n" for number in range(NUMBERS)) + (
    "week: {valType: FLOAT, dims: [days-1-0]}\ndays: {type: discrete : {size: 7}}\n"
)
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
URNS = [str(urn) for urn in METADATA.urns]
ROW_BYTES = 8 + 8 * NUMBERS + 4 * 7
WHEN = datetime(2026, 11, 28, 12, tzinfo=UTC)


def rows_of(count: int) -> Iterator[Any]:
    """In no order, and made when they are asked for."""
    draw = np.random.default_rng(7)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        # An odd factor modulo a power of two: each key once, and far from its neighbours.
        keys = (np.arange(start, start + size, dtype=np.int64) * 0x9E3779B1) % (1 << 40)
        columns: dict[str, Any] = {f"f{number}": draw.random(size) for number in range(NUMBERS)}
        week = pa.FixedSizeListArray.from_arrays(pa.array(draw.random(7 * size, dtype=np.float32)), 7)
        yield pa.table({"member": keys, **columns, "week": week})


def write(client: AmbryClient, name: str, kind: Any, rows: int) -> int:
    return snapshots.write(
        client,
        name,
        rows_of(rows),
        URNS,
        metadata=METADATA,
        entity="member",
        as_of=WHEN,
        file_format=kind,
        rows_per_batch=BATCH_ROWS,
        memory_max=MEMORY_MAX,
    ).rows


def read_by_key(client: AmbryClient, name: str, kind: str, rows: int) -> int:
    """All of them, so many keys at a time, from the cluster: a batch or two, or a row group or two."""
    step = BATCH_ROWS if kind == "arrow" else GROUP_ROWS
    keys = np.sort(np.concatenate([batch.column("member").to_numpy() for batch in rows_of(rows)]))
    with snapshots.open(client, name, metadata=METADATA) as snapshot:
        return sum(snapshot.read(URNS, keys[start : start + step]).num_rows for start in range(0, rows, step))


def read_batches(client: AmbryClient, name: str, kind: str, rows: int) -> int:
    with snapshots.open(client, name, metadata=METADATA) as snapshot:
        return sum(batch.num_rows for batch in snapshot.batches())


STEPS = {"write": write, "keys": read_by_key, "batches": read_batches}


def main(url: str, name: str, kind: str, rows: str, step: str) -> None:
    assert parquet  # Loaded before anybody looks.
    with AmbryClient([url]) as client:
        list(rows_of(CHUNK))
        print("ready", flush=True)
        sys.stdin.readline()
        print(STEPS[step](client, name, kind, int(rows)), flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
