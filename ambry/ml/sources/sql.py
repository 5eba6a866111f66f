"""Features out of a table of a SQL database, through SQLAlchemy: SQLite, PostgreSQL, MySQL and whatever else it speaks to.

A row is an entity. A scalar is a column of the database's own type, so that any program can write it. A tensor is JSON in a
column of texts (snapshots/json_cells.py).

Needs SQLAlchemy: pip install 'ambry[sources]'.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability, ValueType
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.snapshots.columns import conform_keys
from ambry.ml.snapshots.grown import conform_stored
from ambry.ml.snapshots.json_cells import plain_values, value_of
from ambry.ml.snapshots.rows import conformed
from ambry.ml.snapshots.schema import Layout
from ambry.ml.sources.answers import Keys, TypedColumns, Urns, answer, asked_keys
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.reader import StoredFeatures

KEYS_PER_QUERY = 500
"""Parameters of one statement; SQLite took 999 for a long time."""

DIGITS_MAX = 40
"""Of a NUMERIC that is taken for a whole number; no type of a feature has as many."""


def write_sql(
    database: Any,
    table: str,
    rows: Any,
    features: Urns,
    *,
    metadata: FeatureMetadata,
    entity: str,
    columns: Mapping[str, str] | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> int:
    """Make a table with the features of entities, all rows in one transaction. Returns how many.

    `database` is a URL of SQLAlchemy or an Engine. Raises InvalidRequest for what does not fit, for a table that is there, for
    an entity that stands twice, and for what this database does not take (NUL in a text, for PostgreSQL); no table is left
    then. SQLite keeps a number of -0.0 as 0.0.
    """
    alchemy = needed("sqlalchemy")
    engine = _engine(database)
    typed = TypedColumns(metadata, entity, dict(columns or {}), dict(layouts or {}))
    kinds = typed.kinds(features)
    _told_apart(table, kinds, typed, engine.dialect.name)
    if alchemy.inspect(engine).has_table(table):
        raise InvalidRequest(f"there is a table {table!r}; features are written to one of their own")
    made: Any = None
    try:
        with engine.begin() as connection:
            count = 0
            for batch in conformed(
                rows, kinds, entity, lambda key: typed.schema(kinds, key), typed.columns, typed.layouts
            ):
                if made is None:
                    wanted = _table(alchemy, table, batch.schema, kinds, typed)
                    wanted.create(connection)
                    # Only now is it ours: one that somebody else made meanwhile is not taken away.
                    made = wanted
                columns_of_rows = [batch.column(0).to_pylist()]
                columns_of_rows += [
                    _plain(*each) for each in zip(batch.columns[1:], kinds, list(batch.schema)[1:], strict=True)
                ]
                names = [column.name for column in made.columns]
                found = [dict(zip(names, row, strict=True)) for row in zip(*columns_of_rows, strict=True)]
                if found:
                    connection.execute(alchemy.insert(made), found)
                count += len(found)
            if made is None:
                _table(alchemy, table, typed.schema(kinds, pa.int64()), kinds, typed).create(connection)
    except BaseException as error:
        if made is not None:
            # Not every database takes a table back with its transaction.
            made.drop(engine, checkfirst=True)
        if isinstance(error, alchemy.exc.IntegrityError):
            raise InvalidRequest(f"an entity stands twice in the rows for {table!r}: {error.orig}") from None
        if isinstance(error, alchemy.exc.DataError):
            raise InvalidRequest(
                f"the database does not take a value of the rows for {table!r}: {error.orig}"
            ) from None
        raise
    finally:
        if engine is not database:
            engine.dispose()
    return count


class SqlSource(StoredFeatures):
    """`database` is a URL of SQLAlchemy or an Engine; `table` may be a view. Columns are called as their features, or as
    `columns` says.
    """

    def __init__(
        self,
        database: Any,
        table: str,
        metadata: FeatureMetadata,
        *,
        entity: str,
        columns: Mapping[str, str] | None = None,
        layouts: Mapping[str, Layout] | None = None,
        availability: Availability = Availability.BOTH,
    ) -> None:
        """Raises InvalidRequest for a table that is not there, or has no column of the entities."""
        alchemy = needed("sqlalchemy")
        self.availability = availability
        self._engine = _engine(database)
        self._typed = TypedColumns(metadata, entity, dict(columns or {}), dict(layouts or {}))
        try:
            with foreign(f"the table {table!r} cannot be looked at", "read a view of it"):
                self._table = alchemy.Table(table, alchemy.MetaData(), autoload_with=self._engine)
        except alchemy.exc.NoSuchTableError:
            raise InvalidRequest(f"there is no table {table!r} in {self._engine.url!r}") from None
        names = [column.name for column in self._table.columns]
        if entity not in names:
            raise InvalidRequest(f"the table {table!r} has no column {entity!r}; it has {', '.join(names)}")
        self._names = self._typed.found_among(names)
        self._key_type = _key_type(self._table.columns[entity], self._engine)

    def __repr__(self) -> str:
        return f"SqlSource(the table {self._table.name!r})"

    def _found(self, urn: FeatureUrn | str) -> TensorType:
        """Raises FeatureNotDefined."""
        kind = self._typed.metadata.tensor_type(urn)
        if str(kind.urn) not in self._names:
            raise FeatureNotDefined(
                f"the table {self._table.name!r} has no column for {kind.urn}; say `columns` if it is called otherwise"
            )
        return kind

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Raises FeatureNotDefined, InvalidRequest."""
        kinds = [self.resolve(urn) for urn in urns]
        asked = asked_keys(keys, self._typed.entity, self._key_type)
        rows = self._rows(asked.unique().to_pylist(), [self._names[str(kind.urn)] for kind in kinds])
        with foreign(
            f"the table {self._table.name!r}: the column {self._typed.entity!r} has other keys than {asked.type}",
            "read a view that casts it",
            pa.ArrowException,
        ):
            found = conform_keys(pa.array([_number(row[0]) for row in rows], asked.type), self._typed.entity)
        columns = [
            conform_stored(_values([row[place] for row in rows], kind), kind, self._typed.layouts.get(str(kind.urn)))
            for place, kind in enumerate(kinds, start=1)
        ]
        return answer(kinds, self._typed.schema(kinds, asked.type), asked, found, columns)

    def _rows(self, keys: list[Any], names: list[str]) -> list[Any]:
        """All of one moment, as far as the database gives that to a transaction."""
        alchemy = needed("sqlalchemy")
        entity = self._table.columns[self._typed.entity]
        chosen = alchemy.select(entity, *(self._table.columns[name] for name in names))
        told = ", ".join([entity.name, *names])
        found: list[Any] = []
        with self._engine.connect() as connection:
            for piece in _pieces(keys):
                try:
                    with foreign(
                        f"the table {self._table.name!r}: a value of {told} is not of its column's type",
                        "mend it, or read a view that casts it",
                    ):
                        found += connection.execute(chosen.where(entity.in_(piece))).fetchall()
                except alchemy.exc.DataError as error:
                    raise InvalidRequest(
                        f"the database takes one of the keys for none of its own: {error.orig}"
                    ) from None
        return found


def _engine(database: Any) -> Any:
    return needed("sqlalchemy").create_engine(database) if isinstance(database, str) else database


def _pieces(keys: list[Any]) -> Iterator[list[Any]]:
    rest = iter(keys)
    while piece := list(islice(rest, KEYS_PER_QUERY)):
        yield piece


def _key_type(column: Any, engine: Any) -> Any:
    """As the column says, or, in a view without types, its first value; None where it has none. Raises InvalidRequest."""
    alchemy = needed("sqlalchemy")
    if isinstance(column.type, alchemy.types.NullType):
        with engine.connect() as connection:
            first = connection.execute(alchemy.select(column).where(column.is_not(None)).limit(1)).scalar()
        if first is None:
            return None
        kind: Any = type(_number(first))
    elif isinstance(column.type, alchemy.Numeric) and not isinstance(column.type, alchemy.Float):
        kind = Decimal if column.type.scale else int
    else:
        kind = column.type.python_type
    if kind is int:
        return pa.int64()
    if kind is str:
        return pa.string()
    raise InvalidRequest(f"the column {column.name!r} is {_called(column, kind)}; a key is a whole number or a text")


def _called(column: Any, kind: Any) -> str:
    alchemy = needed("sqlalchemy")
    return kind.__name__ if isinstance(column.type, alchemy.types.NullType) else str(column.type)


def _told_apart(table: str, kinds: list[TensorType], typed: TypedColumns, dialect: str) -> None:
    """Raises InvalidRequest for columns that would have one name; only PostgreSQL tells `a` from `A`."""

    def folded(name: str) -> str:
        return name if dialect == "postgresql" else name.casefold()

    fields = list(typed.schema(kinds, pa.int64()))[1:]
    told: dict[str, str] = {folded(typed.entity): f"the entities, {typed.entity!r}"}
    for kind, field in zip(kinds, fields, strict=True):
        name = typed.columns.get(str(kind.urn), field.name)
        before = told.setdefault(folded(name), f"{kind.urn}, {name!r}")
        if before != f"{kind.urn}, {name!r}":
            raise InvalidRequest(
                f"the table {table!r} would have one column for {before}, and {kind.urn}, {name!r}; "
                "give one of them another name in `columns`"
            )


def _table(alchemy: Any, table: str, schema: Any, kinds: list[TensorType], typed: TypedColumns) -> Any:
    types = {
        ValueType.INT: alchemy.Integer(),
        ValueType.LONG: alchemy.BigInteger(),
        ValueType.FLOAT: alchemy.Double(),
        ValueType.DOUBLE: alchemy.Double(),
        ValueType.STRING: alchemy.Text(),
        ValueType.BOOLEAN: alchemy.Boolean(),
        ValueType.BYTES: alchemy.LargeBinary(),
    }
    key_type = alchemy.BigInteger() if schema.field(0).type == pa.int64() else alchemy.String(255)
    columns = [alchemy.Column(typed.entity, key_type, primary_key=True, autoincrement=False)]
    for kind, field in zip(kinds, list(schema)[1:], strict=True):
        name = typed.columns.get(str(kind.urn), field.name)
        columns.append(alchemy.Column(name, alchemy.Text() if kind.axes else types[kind.value_type]))
    return alchemy.Table(table, alchemy.MetaData(), *columns)


def _plain(column: Any, kind: TensorType, field: Any) -> list[Any]:
    """What the database is given for each row."""
    if kind.axes:
        return [None if row is None else json.dumps(row) for row in plain_values(column, field)]
    return list(column.to_pylist())


def _values(values: list[Any], kind: TensorType) -> Any:
    """What was read, for `conform`. Raises InvalidRequest for what is no JSON."""
    if kind.axes:
        return [value_of(value, kind) for value in values]
    if kind.value_type is ValueType.BOOLEAN:
        values = [bool(value) if value in (0, 1) else value for value in values]
    values = [_number(value) for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return values


def _number(value: Any) -> Any:
    """NUMERIC as the whole number that it is, or the nearest float, which is finite if it is."""
    if not isinstance(value, Decimal):
        return value
    if value.is_finite() and value.adjusted() < DIGITS_MAX and value == value.to_integral_value():
        return int(value)
    number = float(value)
    return value if value.is_finite() and math.isinf(number) else number
