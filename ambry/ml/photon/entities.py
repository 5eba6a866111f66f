"""Where the model of each entity lies, so that it is found without looking and read by one range.

An Arrow IPC file, sorted by `hash`, 32 bytes an entity, which is mapped and searched as it lies:

    hash            xxh3-64 of the entity's id in UTF-8
    offset, size    of its record within its part, bytes
    part            which of the parts that the metadata names
    check           xxh3-64 of the record, since a range has no digest of its own

Two ids of one hash stand beside each other; the record says whose it is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from ambry.errors import MALFORMED, DataCorrupt
from ambry.ml.extras import needed
from ambry.special_file import is_file_there

_log = logging.getLogger("ambry.ml")

PARTS_KEY = b"ambry.photon.parts"
PARTS_MAX = 1 << 16
_COLUMNS = ("hash", "offset", "size", "part", "check")


@dataclass(frozen=True, slots=True)
class EntityPlace:
    """Bytes `offset` up to `offset + size` of a part."""

    part: str
    offset: int
    size: int
    check: int


@dataclass(slots=True)
class EntityPlaces:
    """Takes places as parts are written."""

    parts: list[str] = field(default_factory=list)
    _rows: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def add(self, part: str, ids: Sequence[str], places: Sequence[tuple[int, int]], records: Sequence[bytes]) -> None:
        """All records of one part."""
        number = len(self.parts)
        self.parts.append(part)
        for id, (offset, size), record in zip(ids, places, records, strict=True):
            self._rows.append((hash_of(id), offset, size, number, xxhash.xxh3_64_intdigest(record)))

    def build(self) -> bytes:
        """The whole index."""
        pa = needed("pyarrow")
        columns = self._columns()
        kinds = (pa.uint64(), pa.uint64(), pa.uint32(), pa.uint32(), pa.uint64())
        arrays = [pa.array(list(column), kind) for column, kind in zip(columns, kinds, strict=True)]
        told = {PARTS_KEY: json.dumps(self.parts).encode()}
        batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(zip(_COLUMNS, kinds, strict=True)), told))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())

    @property
    def check(self) -> str:
        """Of what the index says, as EntityIndex.check."""
        kinds = ("u8", "u8", "u4", "u4", "u8")
        columns = [np.array(column, f"<{kind}") for column, kind in zip(self._columns(), kinds, strict=True)]
        return _check_of(self.parts, columns)

    def _columns(self) -> Any:
        return list(zip(*sorted(self._rows), strict=True)) if self._rows else [() for _ in _COLUMNS]


class EntityIndex:
    """The index, mapped. Immutable, and usable by threads."""

    def __init__(self, path: Path) -> None:
        """Raises DataCorrupt for what is no index."""
        pa = needed("pyarrow")
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            told = json.loads(file.schema.metadata[PARTS_KEY])
            if not isinstance(told, list) or len(told) > PARTS_MAX or not all(isinstance(each, str) for each in told):
                raise ValueError("its parts are no list of paths")
            self.parts = tuple(told)
            if file.num_record_batches != 1 or file.schema.names != list(_COLUMNS):
                raise ValueError("it is no batch of hash, offset, size, part and check")
            batch = file.get_batch(0)
            batch.validate(full=True)
            self._hash, self._offset, self._size, self._part, self._check = (
                column.to_numpy(zero_copy_only=True) for column in batch.columns
            )
            if len(self._hash) and (
                int(self._part.max()) >= len(self.parts) or (self._hash[1:] < self._hash[:-1]).any()
            ):
                raise ValueError("its rows are not in order, or name parts that it has not")
        except (*MALFORMED, pa.ArrowException, OSError) as error:
            raise DataCorrupt(f"the index of entities {path} cannot be read: {error}") from error

    def __len__(self) -> int:
        return len(self._hash)

    def places(self, entity: str) -> Iterator[EntityPlace]:
        """Where its record may be: nowhere, at one place, or at several that have one hash."""
        wanted = np.uint64(hash_of(entity))
        row = int(self._hash.searchsorted(wanted))
        while row < len(self._hash) and self._hash[row] == wanted:
            yield self._place(row)
            row += 1

    def checks(self, part: str) -> tuple[Any, Any, Any]:
        """Offsets, sizes and checks of the records of a part, in the order in which they lie there."""
        numbers = [number for number, name in enumerate(self.parts) if name == part]
        rows = np.flatnonzero(np.isin(self._part, numbers))
        rows = rows[np.argsort(self._offset[rows], kind="stable")]
        return self._offset[rows], self._size[rows], self._check[rows]

    @property
    def check(self) -> str:
        """xxh3-64 in hexadecimal of what it says, whichever release of Arrow wrote it."""
        return _check_of(self.parts, (self._hash, self._offset, self._size, self._part, self._check))

    def _place(self, row: int) -> EntityPlace:
        return EntityPlace(
            self.parts[self._part[row]], int(self._offset[row]), int(self._size[row]), int(self._check[row])
        )

    def __repr__(self) -> str:
        return f"<EntityIndex of {len(self):,} in {len(self.parts)} parts>"


def _check_of(parts: Sequence[str], columns: Sequence[Any]) -> str:
    sum = xxhash.xxh3_64(json.dumps(list(parts)).encode())
    for column in columns:
        sum.update(column.tobytes())
    return sum.hexdigest()


def hash_of(entity: str) -> int:
    """Of an id."""
    return xxhash.xxh3_64_intdigest(entity.encode("utf-8", "surrogatepass"))


def intact(data: bytes | memoryview, check: int) -> bool:
    """Whether a record is what it was when it was written."""
    return bool(xxhash.xxh3_64_intdigest(data) == check)


def index_there(path: Path, *, is_expected: bool) -> EntityIndex | None:
    """The index at a place; None where there is none, which is told where the model was written with one."""
    if is_file_there(path):
        return EntityIndex(path)
    if is_expected:
        _log.warning(
            "there is no %s, which this model was written with: its parts are read whole, and not compared", path
        )
    return None
