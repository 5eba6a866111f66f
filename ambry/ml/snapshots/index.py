"""Where each record batch of a snapshot lies, so that a few entities cost a few ranges and nothing is looked for.

An Arrow IPC file of its own, some 40 bytes for 2,048 rows:

    first, last     of the type of the key; both are in the batch
    offset          of the batch's message in the snapshot, bytes
    size            of the message, bytes
    rows            how many

Its metadata has the schema of the snapshot, so that a batch can be read without any other part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.errors import DataCorrupt
from ambry.ml.snapshots.described import check_schema_of
from ambry.ml.snapshots.order import BatchBounds, check_rising

SCHEMA_KEY = b"ambry.schema"
CONTENT_TYPE = "application/vnd.apache.arrow.file"
_ROWS_MAX = 1 << 40
"""Of a batch; the sum of more could pass the end of 64 bits."""
FILE_START = 8
"""Where the messages of an Arrow file begin: after the magic and its padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlace:
    """A record batch: bytes `offset` up to `offset + size` of the snapshot."""

    first: int | str
    last: int | str
    offset: int
    size: int
    rows: int


@dataclass(slots=True)
class IndexBuilder:
    """Takes the places as they are written."""

    places: list[BatchPlace] = field(default_factory=list)

    def build(self, schema: Any, key: str) -> bytes:
        """The whole index."""
        kind = schema.field(key).type
        columns = {
            "first": pa.array([place.first for place in self.places], kind),
            "last": pa.array([place.last for place in self.places], kind),
            "offset": pa.array([place.offset for place in self.places], pa.int64()),
            "size": pa.array([place.size for place in self.places], pa.int64()),
            "rows": pa.array([place.rows for place in self.places], pa.int64()),
        }
        table = pa.table(columns).replace_schema_metadata({SCHEMA_KEY: schema.serialize().to_pybytes()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())


def index_of_file(path: Path) -> bytes:
    """The index of a snapshot that is whole, as it was when it was written. Raises DataCorrupt, ArrowException, OSError."""
    builder = IndexBuilder()
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        key = check_schema_of(file.schema).entity
        source.seek(FILE_START)
        pa.ipc.read_message(source)
        for number in range(file.num_record_batches):
            offset = source.tell()
            pa.ipc.read_message(source)
            batch = file.get_batch(number)
            batch.validate()
            keys = batch.column(key)
            keys.validate(full=True)
            check_rising(keys, f"batch {number}")
            if not len(keys):
                raise DataCorrupt(f"batch {number} has no entity")
            builder.places.append(
                BatchPlace(
                    first=keys[0].as_py(),
                    last=keys[-1].as_py(),
                    offset=offset,
                    size=source.tell() - offset,
                    rows=len(keys),
                )
            )
        return builder.build(file.schema, key)


class SnapshotIndex:
    """The index, read. Immutable but for what is proved of its bounds, and usable by threads."""

    def __init__(self, data: Any, size: int) -> None:
        """Of a snapshot of `size` bytes. Raises DataCorrupt for what is no index, and for what cannot be true."""
        try:
            table = pa.ipc.open_file(data).read_all()
            table.validate(full=True)
            self.schema = pa.ipc.read_schema(pa.py_buffer((table.schema.metadata or {})[SCHEMA_KEY]))
        except (pa.ArrowException, KeyError, OSError) as error:
            raise DataCorrupt(f"the index of the snapshot cannot be read: {error}") from error
        about = check_schema_of(self.schema)
        key = self.schema.field(about.entity).type
        told = {"first": key, "last": key, "offset": pa.int64(), "size": pa.int64(), "rows": pa.int64()}
        if dict(zip(table.schema.names, table.schema.types, strict=True)) != told or any(
            column.null_count for column in table.columns
        ):
            raise DataCorrupt(
                "the index of the snapshot has nulls, or other columns than "
                + ", ".join(f"{name} ({kind})" for name, kind in told.items())
            )
        self.bounds = BatchBounds(table.column("first").to_numpy(), table.column("last").to_numpy(), are_exact=True)
        self._offset = table.column("offset").to_numpy()
        self._size = table.column("size").to_numpy()
        self._rows = table.column("rows").to_numpy()
        self._check_places(size)

    def __len__(self) -> int:
        return len(self._offset)

    @property
    def rows(self) -> int:
        """Of the whole snapshot."""
        return int(self._rows.sum())

    @property
    def head_size(self) -> int:
        """Bytes of the snapshot before its first batch, which hold its schema."""
        return int(self._offset[0]) if len(self) else 0

    def place(self, batch: int) -> BatchPlace:
        """Where a batch lies."""
        return BatchPlace(
            first=self.bounds.first[batch],
            last=self.bounds.last[batch],
            offset=int(self._offset[batch]),
            size=int(self._size[batch]),
            rows=int(self._rows[batch]),
        )

    def check_batch(self, number: int, batch: Any) -> None:
        """Whether a batch that was read is the one that the index says. Raises DataCorrupt."""
        if batch.num_rows != self._rows[number]:
            raise DataCorrupt(f"batch {number} was said to have {self._rows[number]} rows, and has {batch.num_rows}")
        self.bounds.prove(number, batch.column(self.schema.names[0]))

    def _check_places(self, size: int) -> None:
        """Raises DataCorrupt for batches that lie in each other, or outside of the snapshot."""
        # One bound after the other: the sum of two lies could pass the end of 64 bits.
        outside = (self._offset < FILE_START) | (self._offset > size) | (self._size < 1) | (self._rows < 1)
        outside |= self._size > size - np.clip(self._offset, 0, size)
        outside[:-1] |= self._size[:-1] > self._offset[1:] - self._offset[:-1]
        outside |= self._rows > _ROWS_MAX
        if outside.any():
            number = int(np.argmax(outside))
            raise DataCorrupt(
                f"the index of the snapshot has batch {number} with {self._rows[number]} rows in {self._size[number]} bytes at "
                f"{self._offset[number]}, which cannot be in {size} bytes"
            )
