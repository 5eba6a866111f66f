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

from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.snapshots.schema import about_of

SCHEMA_KEY = b"ambry.schema"
CONTENT_TYPE = "application/vnd.apache.arrow.file"
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
    """The index of a snapshot that is whole, as it was when it was written. Raises pa.ArrowInvalid."""
    builder = IndexBuilder()
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        key = about_of(file.schema).entity
        source.seek(FILE_START)
        pa.ipc.read_message(source)
        for number in range(file.num_record_batches):
            offset = source.tell()
            pa.ipc.read_message(source)
            keys = file.get_batch(number).column(key)
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
    """The index, read. Immutable, and usable by threads."""

    def __init__(self, data: Any) -> None:
        """Raises DataCorrupt for what is no index."""
        try:
            table = pa.ipc.open_file(data).read_all()
            self.schema = pa.ipc.read_schema(pa.py_buffer((table.schema.metadata or {})[SCHEMA_KEY]))
            self._first = table.column("first").to_numpy()
            self._last = table.column("last").to_numpy()
            self._offset = table.column("offset").to_numpy()
            self._size = table.column("size").to_numpy()
            self._rows = table.column("rows").to_numpy()
        except (pa.ArrowInvalid, KeyError, OSError) as error:
            raise DataCorrupt(f"the index of the snapshot cannot be read: {error}") from error

    def __len__(self) -> int:
        return len(self._offset)

    @property
    def rows(self) -> int:
        """Of the whole snapshot."""
        return int(self._rows.sum())

    def batches_of(self, keys: Any) -> Any:
        """Which batches `keys` (a numpy array) may lie in, each once, in order; those of keys that are in none are left out."""
        if not len(self) or not len(keys):
            return np.zeros(0, dtype=np.int64)
        try:
            places = np.searchsorted(self._last, keys, side="left")
        except TypeError:
            raise InvalidRequest("the keys are of another type than the entities of the snapshot") from None
        inside = places < len(self)
        places, keys = places[inside], np.asarray(keys)[inside]
        return np.unique(places[self._first[places] <= keys])

    def place(self, batch: int) -> BatchPlace:
        """Where a batch lies."""
        return BatchPlace(
            first=self._first[batch],
            last=self._last[batch],
            offset=int(self._offset[batch]),
            size=int(self._size[batch]),
            rows=int(self._rows[batch]),
        )
