"""Features for serving, in an LMDB directory of this machine: written by one process, read by many without a server.

One database of LMDB per feature, called by its URN; what stands there for an entity says lmdb_cells.py. The database `ambry`
has the schema of what lies there (`schema`), as Arrow writes it. LMDB has no checksums: what is told of is a directory that is
none of ours, files that were cut short, and values that cannot be read; bytes that changed where they lie are not.

Needs lmdb: pip install 'ambry[sources]'.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import pairwise
from math import prod
from pathlib import Path
from threading import Condition
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.snapshots.described import type_of
from ambry.ml.snapshots.grown import check_stored
from ambry.ml.snapshots.rows import conformed
from ambry.ml.snapshots.schema import Layout, columns_of, layout_there
from ambry.ml.sources.answers import Keys, TypedColumns, Urns, answer, asked_keys
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.lmdb_cells import KEY_BYTES_MAX, column_of, keys_of_entities, row_bytes, values_of
from ambry.ml.sources.reader import StoredFeatures

ABOUT = b"ambry"
SCHEMA = b"schema"
SHAPES_KEY = b"ambry.shapes"
"""In the metadata of a dense field: the shapes of its values, as JSON, where a vocabulary has grown since the first."""
FEATURES_MAX = 1_024
"""Of one directory."""

DATA = "data.mdb"
MAP_BYTES = 64 << 20
"""To begin with; it doubles when it is full."""
WHOLE_TRIES, WHOLE_WAIT_S = 50, 0.01
"""For who opens a directory in the moment in which it is written."""


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
        _check_whole(place, environment)
        for batch in conformed(rows, kinds, entity, schema_of, typed.columns, typed.layouts):
            keys = _lmdb_keys(batch.column(0))
            with _readable(place):
                _enlarging(environment, lambda keys=keys, batch=batch: _put(environment, keys, batch, kinds))
            if lacking := _lacking(place, environment):  # Pages that were taken and let go in one transaction.
                path = Path(place) / DATA
                os.truncate(path, path.stat().st_size + lacking)
            count += batch.num_rows
    return count


class LmdbSource(StoredFeatures):
    """A directory that write_lmdb wrote. Close it, or use it in a `with`; a process opens a directory once at a time."""

    def __init__(
        self, place: str | Path, metadata: FeatureMetadata, *, availability: Availability = Availability.ONLINE
    ) -> None:
        """Raises InvalidRequest for a directory without features."""
        self._place = place
        self._metadata = metadata
        self.availability = availability
        if not (Path(place) / DATA).is_file():
            raise InvalidRequest(f"{place} holds no features; `write_lmdb` puts them there")
        self._turns = Condition()
        self._readers, self._closed = 0, False
        self._environment = _environment(place, readonly=True)
        try:
            _check_whole(place, self._environment)
            with _readable(place):
                schema = self._read_schema()
                self._entity = schema.field(0)
                self._fields = {urn: schema.field(name) for urn, name in columns_of(schema).items()}
                self._databases = {urn: self._environment.open_db(urn.encode(), create=False) for urn in self._fields}
        except BaseException:
            self._environment.close()
            raise

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

    def __repr__(self) -> str:
        return f"LmdbSource({str(self._place)!r})"

    def _found(self, urn: FeatureUrn | str) -> TensorType:
        """Raises FeatureNotDefined."""
        kind = self._metadata.tensor_type(urn)
        if str(kind.urn) not in self._fields:
            raise FeatureNotDefined(f"{kind.urn} is not in {self._place}; it has {', '.join(self._fields)}")
        check_stored(kind, self._fields[str(kind.urn)])
        return kind

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Raises FeatureNotDefined, InvalidRequest."""
        kinds = [self.resolve(urn) for urn in urns]
        asked = asked_keys(keys, self._entity.name, self._entity.type)
        wanted = asked.unique()
        places = [key if 0 < len(key) <= KEY_BYTES_MAX else None for key in keys_of_entities(wanted)]
        layouts = {str(kind.urn): layout_there(self._fields[str(kind.urn)].type) for kind in kinds}
        columns = []
        with _readable(self._place), self._begin() as reading:
            for kind in kinds:
                database = self._databases[str(kind.urn)]
                stored = [None if key is None else reading.get(key, db=database) for key in places]
                shapes = self._shapes(kind, stored, reading)
                columns.append(column_of(stored, kind, layouts[str(kind.urn)], shapes))
        typed = TypedColumns(self._metadata, self._entity.name, {}, layouts)
        return answer(kinds, typed.schema(kinds, asked.type), asked, wanted, columns)

    def _shapes(self, kind: TensorType, stored: list[bytes | None], reading: Any) -> list[tuple[int, ...]]:
        """In which a dense feature lies there; what was written since the directory was opened may have another one."""
        urn = str(kind.urn)
        shapes = shapes_of(self._fields[urn])
        lengths = {row_bytes(kind, shape) for shape in shapes}
        if shapes and any(value is not None and len(value) not in lengths for value in stored):
            schema = pa.ipc.read_schema(pa.py_buffer(reading.get(SCHEMA, db=self._about)))
            self._fields[urn] = schema.field(columns_of(schema)[urn])
            shapes = shapes_of(self._fields[urn])
        return shapes

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
            self._about = self._environment.open_db(ABOUT, create=False)
        except lmdb.NotFoundError:
            raise InvalidRequest(f"{self._place} is an LMDB directory, and holds no features of ours") from None
        with self._begin() as reading:
            return pa.ipc.read_schema(pa.py_buffer(reading.get(SCHEMA, db=self._about)))


# --- the directory ---


def _environment(place: str | Path, *, readonly: bool) -> Any:
    """Raises InvalidRequest for what is no directory of LMDB, OSError."""
    lmdb = needed("lmdb")
    with _readable(place):
        return lmdb.open(
            str(place),
            readonly=readonly,
            create=not readonly,
            max_dbs=FEATURES_MAX + 1,
            map_size=0 if readonly else MAP_BYTES,
            max_readers=1_024,
        )


def _readable(place: str | Path) -> AbstractContextManager[None]:
    """Raises InvalidRequest for what LMDB says of the directory, and for values that are none of ours."""
    lmdb = needed("lmdb")
    return foreign(
        f"the LMDB directory {place} cannot be read",
        "write the features to a new directory",
        lmdb.Error,
        struct.error,
    )


def _check_whole(place: str | Path, environment: Any) -> None:
    """Raises InvalidRequest for a file that was cut short: a page that it lacks ends the process that reads it (SIGBUS).

    `write_lmdb` leaves a file that has every page that LMDB counts; one that it writes in this moment may lack some yet.
    """
    for _ in range(WHOLE_TRIES):
        if not (lacking := _lacking(place, environment)):
            return
        time.sleep(WHOLE_WAIT_S)
    raise InvalidRequest(
        f"{place}/data.mdb was cut short, it lacks {lacking:,} bytes; copy the directory again, or write it anew"
    )


def _lacking(place: str | Path, environment: Any) -> int:
    """How many bytes the file is shorter than its pages."""
    whole = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    return max(0, int(whole) - (Path(place) / DATA).stat().st_size)


# --- writing ---


def _enlarging(environment: Any, put: Any) -> None:
    """Raises OSError where the disk has no room."""
    lmdb = needed("lmdb")
    while True:
        try:
            put()
            return
        except lmdb.MapFullError:
            environment.set_mapsize(environment.info()["map_size"] * 2)
        except lmdb.MapResizedError:
            environment.set_mapsize(0)  # Another process made it larger.
        except lmdb.DiskError as error:
            raise OSError(errno.ENOSPC, "there is no room for the features", environment.path()) from error


def _put(environment: Any, keys: list[bytes], batch: Any, kinds: list[TensorType]) -> None:
    with environment.begin(write=True) as writing:
        about = environment.open_db(ABOUT, txn=writing)
        stored = writing.get(SCHEMA, db=about)
        schema = batch.schema if stored is None else _merged(pa.ipc.read_schema(pa.py_buffer(stored)), batch.schema)
        writing.put(SCHEMA, schema.serialize().to_pybytes(), db=about)
        for kind, field, column in zip(kinds, list(batch.schema)[1:], batch.columns[1:], strict=True):
            database = environment.open_db(str(kind.urn).encode(), txn=writing)
            for key, value in zip(keys, values_of(column, kind, layout_there(field.type)), strict=True):
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
        fields[urn] = _joined(urn, fields[urn], field) if urn in fields else field
    if len(fields) > FEATURES_MAX:
        raise InvalidRequest(f"{len(fields)} features are more than {FEATURES_MAX} in one directory")
    return pa.schema([now.field(0), *fields.values()], now.metadata)


def _joined(urn: str, before: Any, now: Any) -> Any:
    """The wider field of one feature, with the shapes of both. Raises InvalidRequest for one that lies otherwise."""
    there, other = type_of(before), type_of(now)
    is_same = before.type == now.type
    if not is_same and shapes_of(before) and shapes_of(now) and str(there) == str(other):
        known = shapes_of(before)
        shapes = sorted({*known, *shapes_of(now)}, key=prod)
        # Ids are only added: of two versions of a vocabulary one is at least as wide on each axis.
        if all(one <= next for low, high in pairwise(shapes) for one, next in zip(low, high, strict=True)):
            wider = now if tuple(now.type.shape) == shapes[-1] else before
            return wider.with_metadata({**wider.metadata, SHAPES_KEY: json.dumps(shapes).encode()})
    if not is_same:
        raise InvalidRequest(f"{urn} lies there as {before.type}, and comes as {now.type}; write it elsewhere")
    shapes_before = before.metadata.get(SHAPES_KEY)
    return now if shapes_before is None else now.with_metadata({**now.metadata, SHAPES_KEY: shapes_before})


def shapes_of(field: Any) -> list[tuple[int, ...]]:
    """In which the dense values of a feature lie there; of others none."""
    if layout_there(field.type) != "dense":
        return []
    told = json.loads(field.metadata.get(SHAPES_KEY, b"[]"))
    return [tuple(shape) for shape in told] or [tuple(field.type.shape)]


def _lmdb_keys(column: Any) -> list[bytes]:
    """Raises InvalidRequest for one that LMDB cannot have."""
    keys = keys_of_entities(column)
    for place, key in enumerate(keys):
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise InvalidRequest(f"the key in row {place} has {len(key)} bytes; LMDB has keys of 1 to {KEY_BYTES_MAX}")
    return keys
