"""Features for serving, in an LMDB directory of this machine: written by one process, read by many without a server.

One database of LMDB per feature, called by its URN; a key is an entity, a value its tensor. Numbers are little-endian.

    key of an int64      8 bytes, big-endian, the sign bit turned over, so that keys stand in order
    key of a string      its UTF-8, at most 511 bytes
    scalar, dense        the cells, one after the other; texts and bytes as they are; a boolean is one byte
    sparse               count (4 bytes), `count` indices of each axis (int32; int64 of entities), and the values:
                         `count` cells, or `count` lengths (4 bytes) and then the texts

An entity without a value has no entry. The database `ambry` has the schema of what lies there (`schema`), as Arrow writes it.

Needs lmdb: pip install 'ambry[server]'.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability, ValueType
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.snapshots.cells import NUMPY_TYPES, parts_of, sparse_column, tensor_view
from ambry.ml.snapshots.dense import dense_column
from ambry.ml.snapshots.rows import conformed
from ambry.ml.snapshots.schema import Layout, arrow_type, columns_of, feature_field, shape_of
from ambry.ml.sources.answers import Keys, TypedColumns, Urns, answer, asked_keys

ABOUT = b"ambry"
SCHEMA = b"schema"
FEATURES_MAX = 1_024
"""Of one directory."""
KEY_BYTES_MAX = 511
MAP_BYTES = 64 << 20
"""To begin with; it doubles when it is full."""


def write_lmdb(
    place: str | Path,
    rows: Any,
    features: Urns,
    *,
    metadata: FeatureMetadata,
    entity: str,
    columns: Mapping[str, str] | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> int:
    """Put the features of entities; what they had before is replaced, other entities and features stay. Returns how many.

    `rows` is any frame or an iterator of such (snapshots/frames.py), so also `snapshot.table()`. Each piece of some ten
    thousand rows is there whole or not at all. Raises InvalidRequest for what does not fit, and for a directory whose entities
    are of another type, or where a feature lies otherwise.
    """
    typed = TypedColumns(metadata, entity, dict(columns or {}), dict(layouts or {}))
    kinds = typed.kinds(features)
    count = 0

    def schema_of(key_type: Any) -> Any:
        return typed.schema(kinds, key_type)

    Path(place).mkdir(parents=True, exist_ok=True)
    with _environment(place, readonly=False) as environment:
        for batch in conformed(rows, kinds, entity, schema_of, typed.columns, typed.layouts):
            keys = _lmdb_keys(batch.column(0))
            _enlarging(environment, lambda keys=keys, batch=batch: _put(environment, keys, batch, kinds))
            count += batch.num_rows
    return count


class LmdbSource:
    """A directory that write_lmdb wrote. Close it, or use it in a `with`; a process opens a directory once at a time."""

    def __init__(
        self, place: str | Path, metadata: FeatureMetadata, *, availability: Availability = Availability.ONLINE
    ) -> None:
        """Raises InvalidRequest for a directory without features."""
        self._place = place
        self._metadata = metadata
        self.availability = availability
        if not (Path(place) / "data.mdb").is_file():
            raise InvalidRequest(f"{place} holds no features; `write_lmdb` puts them there")
        self._turns = Condition()
        self._readers, self._closed = 0, False
        self._environment = _environment(place, readonly=True)
        try:
            schema = self._read_schema()
        except BaseException:
            self._environment.close()
            raise
        self._entity = schema.field(0)
        self._fields = {urn: schema.field(name) for urn, name in columns_of(schema).items()}
        self._databases = {urn: self._environment.open_db(urn.encode(), create=False) for urn in self._fields}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go the directory, when those who read in it are done."""
        with self._turns:
            self._turns.wait_for(lambda: not self._readers)
            self._closed = True
            self._environment.close()

    def resolve(self, urn: FeatureUrn | str) -> TensorType:
        """Raises FeatureNotDefined."""
        kind = self._metadata.tensor_type(urn)
        if str(kind.urn) not in self._fields:
            raise FeatureNotDefined(f"{kind.urn} is not in {self._place}; it has {', '.join(self._fields)}")
        there = self._fields[str(kind.urn)]
        if feature_field(kind, "x", _layout(there)).type != there.type:
            raise InvalidRequest(
                f"{kind.urn} was written to {self._place} as {there.type}, which a vocabulary of another size gave it; "
                "read it with those definitions, or write it again to a new directory"
            )
        return kind

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Raises FeatureNotDefined, InvalidRequest."""
        kinds = [self.resolve(urn) for urn in urns]
        asked = asked_keys(keys, self._entity.name, self._entity.type)
        wanted = asked.unique()
        places = [key if 0 < len(key) <= KEY_BYTES_MAX else None for key in _encoded(wanted)]
        layouts = {str(kind.urn): _layout(self._fields[str(kind.urn)]) for kind in kinds}
        columns = []
        with self._begin() as reading:
            for kind in kinds:
                database = self._databases[str(kind.urn)]
                stored = [None if key is None else reading.get(key, db=database) for key in places]
                columns.append(_column_of(stored, kind, layouts[str(kind.urn)]))
        typed = TypedColumns(self._metadata, self._entity.name, {}, layouts)
        return answer(kinds, typed.schema(kinds, asked.type), asked, wanted, columns)

    @contextmanager
    def _begin(self) -> Iterator[Any]:
        """A transaction, also after the writer made the map larger. Raises InvalidRequest for a source that was closed."""
        lmdb = needed("lmdb")
        while True:
            with self._turns:
                if self._closed:
                    raise InvalidRequest(f"the source of {self._place} was closed; open another")
                self._readers += 1
            try:
                with suppress(lmdb.MapResizedError), self._environment.begin() as reading:
                    yield reading
                    return
            finally:
                with self._turns:
                    self._readers -= 1
                    self._turns.notify_all()
            with self._turns:  # LMDB must not move a map under a transaction.
                if self._turns.wait_for(lambda: not self._readers) and not self._closed:
                    self._environment.set_mapsize(0)

    def _read_schema(self) -> Any:
        lmdb = needed("lmdb")
        try:
            about = self._environment.open_db(ABOUT, create=False)
        except lmdb.NotFoundError:
            raise InvalidRequest(f"{self._place} is an LMDB directory, and holds no features of ours") from None
        with self._begin() as reading:
            return pa.ipc.read_schema(pa.py_buffer(reading.get(SCHEMA, db=about)))


# --- writing ---


def _environment(place: str | Path, *, readonly: bool) -> Any:
    lmdb = needed("lmdb")
    return lmdb.open(
        str(place),
        readonly=readonly,
        create=not readonly,
        max_dbs=FEATURES_MAX + 1,
        map_size=0 if readonly else MAP_BYTES,
        max_readers=1_024,
    )


def _enlarging(environment: Any, put: Any) -> None:
    lmdb = needed("lmdb")
    while True:
        try:
            put()
            return
        except lmdb.MapFullError:
            environment.set_mapsize(environment.info()["map_size"] * 2)
        except lmdb.MapResizedError:
            environment.set_mapsize(0)  # Another process made it larger.


def _put(environment: Any, keys: list[bytes], batch: Any, kinds: list[TensorType]) -> None:
    with environment.begin(write=True) as writing:
        about = environment.open_db(ABOUT, txn=writing)
        stored = writing.get(SCHEMA, db=about)
        schema = batch.schema if stored is None else _merged(pa.ipc.read_schema(pa.py_buffer(stored)), batch.schema)
        writing.put(SCHEMA, schema.serialize().to_pybytes(), db=about)
        for kind, field, column in zip(kinds, list(batch.schema)[1:], batch.columns[1:], strict=True):
            database = environment.open_db(str(kind.urn).encode(), txn=writing)
            for key, value in zip(keys, _values_of(column, kind, _layout(field)), strict=True):
                if value is None:
                    writing.delete(key, db=database)
                else:
                    writing.put(key, value, db=database)


def _merged(before: Any, now: Any) -> Any:
    """The schema of what lies there and of what comes. Columns are told apart by their URN. Raises InvalidRequest."""
    if before.field(0) != now.field(0):
        raise InvalidRequest(f"the entities there are {before.field(0)}, and these are {now.field(0)}")
    fields = {urn: before.field(name).with_name(urn) for urn, name in columns_of(before).items()}
    for urn, name in columns_of(now).items():
        field = now.field(name).with_name(urn)
        if urn in fields and not fields[urn].equals(field, check_metadata=False):
            raise InvalidRequest(
                f"{urn} lies there as {fields[urn].type}, and comes as {field.type}; write it elsewhere"
            )
        fields[urn] = field
    if len(fields) > FEATURES_MAX:
        raise InvalidRequest(f"{len(fields)} features are more than {FEATURES_MAX} in one directory")
    return pa.schema([now.field(0), *fields.values()], now.metadata)


def _lmdb_keys(column: Any) -> list[bytes]:
    """Raises InvalidRequest for one that LMDB cannot have."""
    keys = _encoded(column)
    for place, key in enumerate(keys):
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise InvalidRequest(f"the key in row {place} has {len(key)} bytes; LMDB has keys of 1 to {KEY_BYTES_MAX}")
    return keys


def _encoded(column: Any) -> list[bytes]:
    if column.type == pa.string():
        return [key.encode() for key in column.to_pylist()]
    numbers = column.to_numpy(zero_copy_only=False).view("u8") ^ np.uint64(1 << 63)
    raw = numbers.astype(">u8").tobytes()
    return [raw[start : start + 8] for start in range(0, len(raw), 8)]


def _layout(field: Any) -> Layout:
    if isinstance(field.type, pa.FixedShapeTensorType):
        return "dense"
    return "sparse" if pa.types.is_list(field.type) else "scalar"


def _values_of(column: Any, kind: TensorType, layout: Layout) -> Iterator[bytes | None]:
    """What is stored for each row; None where there is no value."""
    missing = column.is_null().to_numpy(zero_copy_only=False)
    stored: Iterable[bytes]
    if layout == "dense":
        stored = (row.tobytes() for row in tensor_view(column, kind))
    elif layout == "sparse":
        stored = _sparse_values(column, kind)
    elif kind.value_type not in NUMPY_TYPES:
        stored = (_bytes(value) if value is not None else b"" for value in column.to_pylist())
    else:
        values = column.fill_null(False if kind.value_type is ValueType.BOOLEAN else 0)
        stored = (value.tobytes() for value in values.to_numpy(zero_copy_only=False))
    return (None if none else value for none, value in zip(missing, stored, strict=True))


def _sparse_values(column: Any, kind: TensorType) -> Iterator[bytes]:
    rows, axes, values = parts_of(column)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(column)))])
    texts = [_bytes(value) for value in values.to_pylist()] if kind.value_type not in NUMPY_TYPES else None
    cells: Any = None if texts is not None else values.to_numpy(zero_copy_only=False)
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        parts = [struct.pack("<I", end - start), *(axis[start:end].tobytes() for axis in axes)]
        if texts is not None:
            own = texts[start:end]
            parts += [struct.pack(f"<{len(own)}I", *map(len, own)), *own]
        else:
            parts.append(cells[start:end].tobytes())
        yield b"".join(parts)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


# --- reading ---


def _column_of(stored: list[bytes | None], kind: TensorType, layout: Layout) -> Any:
    """The Arrow column of what was stored."""
    missing = np.array([value is None for value in stored], dtype=bool)
    if layout == "sparse":
        return _sparse_column(stored, kind, missing)
    dtype = NUMPY_TYPES.get(kind.value_type)
    if dtype is None:
        texts = [
            value.decode() if value is not None and kind.value_type is ValueType.STRING else value for value in stored
        ]
        return pa.array(texts, arrow_type(kind.value_type))
    shape = shape_of(kind) if layout == "dense" else ()
    empty = bytes(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    cells = np.frombuffer(b"".join(empty if value is None else value for value in stored), dtype=dtype)
    if layout == "scalar":
        return pa.array(cells, arrow_type(kind.value_type), mask=missing)
    return dense_column(cells.reshape(len(stored), *shape), missing, kind)


def _sparse_column(stored: list[bytes | None], kind: TensorType, missing: Any) -> Any:
    counts: list[int] = []
    axes: list[list[Any]] = [[] for _ in kind.axes]
    values: list[Any] = []
    texts: list[str | bytes] = []
    widths = [np.dtype("<i8") if axis.is_wide else np.dtype("<i4") for axis in kind.axes]
    for value in stored:
        count = 0 if value is None else struct.unpack_from("<I", value)[0]
        counts.append(count)
        if value is None or not count:
            continue
        at = 4
        for indices, width in zip(axes, widths, strict=True):
            indices.append(np.frombuffer(value, width, count, at))
            at += count * width.itemsize
        if kind.value_type in NUMPY_TYPES:
            values.append(np.frombuffer(value, NUMPY_TYPES[kind.value_type], count, at))
            continue
        at += 4 * count
        for length in struct.unpack_from(f"<{count}I", value, at - 4 * count):
            text = value[at : at + length]
            texts.append(text.decode() if kind.value_type is ValueType.STRING else text)
            at += length
    rows = np.repeat(np.arange(len(stored)), counts)
    indices = [np.concatenate(each) if each else np.zeros(0, width) for each, width in zip(axes, widths, strict=True)]
    cells: Any = pa.array(texts, arrow_type(kind.value_type))
    if kind.value_type in NUMPY_TYPES:
        cells = pa.array(
            np.concatenate(values) if values else np.zeros(0, NUMPY_TYPES[kind.value_type]), arrow_type(kind.value_type)
        )
    return sparse_column(kind, rows, indices, cells, len(stored), missing)
