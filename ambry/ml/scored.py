"""What a service was given and what it said, as a table: the lines that `ambry serve --log-features` keeps beside a model.

fraud.scored                        of all days
fraud.scored/2026-11-27             of a day, or of one file of it
fraud.scored@1.2.0/2026-11-27       what that version scored, or the one that an alias points to

A column for each feature of the model, called and typed as in the snapshot that it was trained on, or as its definitions say,
so that both are compared by URN; and one for each of its outputs, `output.NAME`. What nobody says the type of is numbers or
texts by its first values, and a column for each of its cells, `NAME[0]`. Lines of models with other features are not mixed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.client.refs import NameRef, VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import MALFORMED, BlobNotFound, DataCorrupt, InvalidRequest
from ambry.ml.features.publishing import load
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.models.columns import Columns
from ambry.ml.models.loading import open_model
from ambry.ml.models.manifest import ModelManifest
from ambry.ml.models.publishing import is_elsewhere
from ambry.ml.places import dataset_text, in_dataset
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.schema import URN_KEY, column_names, columns_of, feature_field

SUFFIX = ".scored"
ROWS_MAX, CELLS_MAX = 10_000, 500_000
"""Of a batch."""
HEAD_MAX = 1_000
"""Lines by which it is told whether a column has numbers or texts."""
WIDTH_MAX = 1_000
"""Cells of an input of which nobody says the type, each of which is a column."""
_DEPTH_MAX = 64
_NAMED = re.compile(r"(?P<dataset>.+)\.scored(?:@(?P<version>[^/@]+))?(?:/(?P<below>.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPlace:
    """Which lines are meant."""

    dataset: VersionRef
    version: str = ""
    """Of the model; empty for any."""
    below: str = ""
    """A day, or the beginning of the names of files."""

    def __str__(self) -> str:
        folder = scored_folder(self.dataset)
        at = f"@{self.version}" if self.version else ""
        below = f"/{self.below}" if self.below else ""
        return f"{(str(folder) if folder.account else folder.name).removesuffix('/')}{at}{below}"


def scored_place(said: str) -> ScoredPlace | None:
    """What a text names; None where it is no place of lines."""
    found = _NAMED.fullmatch(said)
    if found is None:
        return None
    place = in_dataset(found["dataset"])
    return ScoredPlace(dataset=place, version=found["version"] or "", below=(found["below"] or "").strip("/"))


def scored_folder(place: VersionRef) -> NameRef:
    """Where the lines of a model lie."""
    return NameRef(f"{place.dataset}{SUFFIX}/", place.account, place.container)


def read_scored(client: AmbryClient, place: ScoredPlace) -> tuple[Any, Iterator[Any]]:
    """The schema, and record batches of it, to be read once.

    Raises InvalidRequest where there are none, or of models with other features; DataCorrupt, also of batches.
    """
    version = ""
    if place.version:
        version = str(open_model(client, f"{dataset_text(place.dataset)}@{place.version}"))
    lines = _Lines(client, place, version)
    head = list(islice(lines, HEAD_MAX))
    if not head:
        raise InvalidRequest(
            f"there is nothing in {place}; `ambry serve --log-features 0.01` keeps a part of what it scores, and stores it "
            "every ten seconds. `ambry ls` shows the days of a name"
        )
    shape = _Shape(client, place, head)
    return shape.schema, shape.batches(chain(head, lines))


@dataclass(frozen=True, slots=True)
class _Line:
    """A request and its answer."""

    model: str
    inputs: Mapping[str, list[Any]]
    outputs: Mapping[str, list[Any]]


class _Lines:
    """Those that are meant, a file at a time."""

    def __init__(self, client: AmbryClient, place: ScoredPlace, version: str) -> None:
        self._found = self._read(client, place, version)

    def __iter__(self) -> Iterator[_Line]:
        return self._found

    @staticmethod
    def _read(client: AmbryClient, place: ScoredPlace, version: str) -> Iterator[_Line]:
        folder = scored_folder(place.dataset)
        below = NameRef(f"{folder.name}{place.below}", folder.account, folder.container)
        for entry in client.list(str(below) if below.account else below.name):
            with client.get(entry.ref) as reader:
                for number, line in enumerate(reader.read().splitlines(), 1):
                    found = _parsed(line, entry.name, number)
                    if not version or found.model == version:
                        yield found


def _parsed(line: bytes, name: str, number: int) -> _Line:
    """Raises DataCorrupt."""
    try:
        said = json.loads(line)
        found = _Line(said["model"], said["inputs"], said["outputs"])
        if not isinstance(found.model, str):
            raise TypeError("a model is a text")
        for arrays in (found.inputs, found.outputs):
            if not all(isinstance(rows, list) for rows in arrays.values()):
                raise TypeError("inputs and outputs are lists by name")
        if len({len(rows) for rows in found.inputs.values()}) != 1:
            raise ValueError("its inputs have as many rows as each other")
        return found
    except MALFORMED as error:
        raise DataCorrupt(f"{name}: line {number} is nothing that was scored: {error!r:.200}") from error


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table: some cells of each row."""

    field: Any
    width: int = 1

    def called(self, name: str, urn: str) -> _Column:
        """The same as the column of a feature, if that is its URN."""
        metadata = {URN_KEY: urn} if urn.startswith("urn:") else None
        return _Column(pa.field(name, self.field.type, metadata=metadata), self.width)

    def array(self, rows: list[list[Any]]) -> Any:
        """Raises ValueError, TypeError, OverflowError for cells that are not of its type."""
        kind = self.field.type
        cells = [cell for row in rows for cell in row]
        if pa.types.is_string(kind):
            return pa.array([None if cell is None else _as_text(cell) for cell in cells], kind)
        numbers = np.array([np.nan if cell is None else _as_number(cell) for cell in cells], dtype=np.float64)
        if not isinstance(kind, pa.FixedShapeTensorType):
            return pa.array(numbers, kind, mask=np.isnan(numbers))
        typed = kind.value_type.to_pandas_dtype()
        missing = np.isnan(numbers)
        if np.dtype(typed).kind in "iu":
            limits = np.iinfo(typed)
            numbers = np.rint(numbers)
            missing |= ~((numbers >= limits.min) & (numbers <= limits.max))
        flat = pa.array(np.where(missing, 0, numbers).astype(typed), kind.value_type, mask=missing)
        return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, self.width))


class _Shape:
    """Which columns there are, by the model of the first line and its first lines."""

    def __init__(self, client: AmbryClient, place: ScoredPlace, head: Sequence[_Line]) -> None:
        self._client = client
        self._place = place
        self._first = head[0]
        self._known: dict[str, tuple[str, ...] | None] = {}
        manifest = _manifest(client, self._first.model)
        features = self._features(self._first.model, manifest)
        self._columns = Columns(features if features is not None else tuple(self._first.inputs))
        self._inputs = (_typed(client, manifest) if manifest is not None else []) or self._guessed(head)
        self._outputs = {
            name: _untyped(f"output.{name}", [each.outputs.get(name) for each in head]) for name in self._first.outputs
        }
        self._all = [*self._inputs, *chain.from_iterable(self._outputs.values())]
        self.schema = pa.schema([each.field for each in self._all])

    def batches(self, lines: Iterable[_Line]) -> Iterator[Any]:
        """Raises DataCorrupt, InvalidRequest."""
        gathered: list[list[list[Any]]] = [[] for _ in self._all]
        rows_max = min(ROWS_MAX, -(-CELLS_MAX // max(1, sum(each.width for each in self._all))))
        for line in lines:
            for into, found in zip(gathered, self._rows(line), strict=True):
                into.extend(found)
            if gathered and len(gathered[0]) >= rows_max:
                yield self._batch(gathered)
                gathered = [[] for _ in self._all]
        if gathered and gathered[0]:
            yield self._batch(gathered)

    def _batch(self, gathered: list[list[list[Any]]]) -> Any:
        arrays = []
        for column, rows in zip(self._all, gathered, strict=True):
            try:
                arrays.append(column.array(rows))
            except (ValueError, TypeError, OverflowError) as error:
                raise DataCorrupt(f"{self._place}: {column.field.name} is not {column.field.type}: {error}") from error
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _features(self, model: str, manifest: ModelManifest | None) -> tuple[str, ...] | None:
        """What its manifest says that it takes; None where it says nothing, or is gone."""
        self._known[model] = found = manifest.features or None if manifest is not None else None
        return found

    def _check_alike(self, line: _Line) -> None:
        """Raises InvalidRequest for a line of a model with other features or outputs."""
        if line.model not in self._known:
            self._features(line.model, _manifest(self._client, line.model))
        if (
            self._known[line.model] != self._known[self._first.model]
            or line.outputs.keys() != self._first.outputs.keys()
        ):
            version = line.model.rpartition("@")[2]
            example = ScoredPlace(dataset=self._place.dataset, version=version, below=self._place.below)
            raise InvalidRequest(
                f"{self._place} has lines of {self._first.model} and of {line.model}, whose inputs or outputs are others; "
                f"say whose are meant, as {example}"
            )

    def _rows(self, line: _Line) -> Iterator[list[list[Any]]]:
        """The cells of each row, by column."""
        self._check_alike(line)
        count = len(next(iter(line.inputs.values())))
        yield from self._cut([_flat_rows(rows) for rows in self._ordered(line)], self._inputs, count, line.model)
        for name, columns in self._outputs.items():
            yield from self._cut([_flat_rows(line.outputs[name][:count])], columns, count, line.model)

    def _ordered(self, line: _Line) -> list[Any]:
        try:
            return self._columns.ordered(line.inputs)
        except InvalidRequest as error:
            raise DataCorrupt(
                f"{self._place}: a line of {line.model} has other inputs than the first: {error}"
            ) from error

    def _cut(
        self, parts: list[list[list[Any]]], columns: Sequence[_Column], count: int, model: str
    ) -> Iterator[list[list[Any]]]:
        """Parts beside each other, cut into columns. Raises DataCorrupt where they are not as wide together."""
        rows = [list(chain.from_iterable(cells)) for cells in zip(*parts, strict=True)] if len(parts) > 1 else parts[0]
        width = sum(each.width for each in columns)
        if len(rows) != count or any(len(row) != width for row in rows):
            found = next((len(row) for row in rows if len(row) != width), len(rows))
            raise DataCorrupt(f"{self._place}: a line of {model} has rows of {found} cells, and not of {width}")
        place = 0
        for column in columns:
            yield [row[place : place + column.width] for row in rows]
            place += column.width

    def _guessed(self, head: Sequence[_Line]) -> list[_Column]:
        """By the first lines, where nobody says the types."""
        names, shown = self._columns.names, _names_of(self._columns.names)
        alike = [self._ordered(line) for line in head if line.inputs.keys() == self._first.inputs.keys()]
        if len(alike[0]) == len(names):
            found: list[_Column] = []
            for place, name in enumerate(names):
                columns = _untyped(shown[name], [parts[place] for parts in alike])
                found += columns if len(columns) > 1 else [columns[0].called(shown[name], name)]
            return found
        # One matrix with all features, each of which is a column where there are as many.
        columns = _untyped(next(iter(self._first.inputs)), [parts[0] for parts in alike])
        if len(columns) != len(names):
            return columns
        return [column.called(shown[name], name) for column, name in zip(columns, names, strict=True)]


def _manifest(client: AmbryClient, model: str) -> ModelManifest | None:
    with suppress(BlobNotFound, InvalidRequest):
        return open_model(client, model).manifest
    return None


def _typed(client: AmbryClient, manifest: ModelManifest) -> list[_Column]:
    """The features of a model as its snapshot has them, or its definitions; none where one of them is not known, or sparse."""
    fields = _fields(client, manifest)
    found = []
    for urn in manifest.features:
        field = fields.get(urn)
        if field is None:
            return []
        if isinstance(field.type, pa.FixedShapeTensorType):
            found.append(_Column(field, prod(field.type.shape)))
        elif pa.types.is_nested(field.type):
            return []
        else:
            is_text = pa.types.is_string(field.type) or pa.types.is_binary(field.type)
            found.append(
                _Column(pa.field(field.name, pa.string() if is_text else pa.float64())).called(field.name, urn)
            )
    return found


def _fields(client: AmbryClient, manifest: ModelManifest) -> dict[str, Any]:
    with suppress(BlobNotFound, InvalidRequest, DataCorrupt):
        if manifest.snapshot:
            with open_snapshot(client, manifest.snapshot) as snapshot:
                return {urn: snapshot.schema.field(name) for urn, name in columns_of(snapshot.schema).items()}
    with suppress(BlobNotFound, InvalidRequest, DataCorrupt):
        if manifest.definitions and not is_elsewhere(manifest.definitions):
            metadata = load(client, manifest.definitions).metadata
            names = _names_of(manifest.features)
            return {urn: feature_field(metadata.tensor_type(urn), names[urn]) for urn in manifest.features}
    return {}


def _untyped(name: str, arrays: Iterable[list[Any] | None]) -> list[_Column]:
    """A column for each cell, of texts where one of the first values is a text."""
    rows = [row for array in arrays for row in _flat_rows(array or [])]
    width = max((len(row) for row in rows), default=1)
    if width > WIDTH_MAX:
        raise InvalidRequest(
            f"{name} has {width} cells in a row, and nobody says what they are; publish the model with the features that it "
            "takes"
        )
    is_text = any(isinstance(cell, str) for row in rows for cell in row)
    kind = pa.string() if is_text else pa.float64()
    names = [name] if width == 1 else [f"{name}[{place}]" for place in range(width)]
    return [_Column(pa.field(each, kind)) for each in names]


def _names_of(names: Iterable[str]) -> dict[str, str]:
    """What columns are called, by URN or name."""
    names = list(names)
    urns = []
    for name in names:
        with suppress(InvalidRequest):
            urns.append(FeatureUrn.parse(name))
    told = column_names(urns)
    return {name: told.get(name, name) for name in names}


def _flat_rows(rows: Sequence[Any]) -> list[list[Any]]:
    """The cells of each row, whatever its shape. Raises DataCorrupt."""
    return [_flat(row) for row in rows]


def _flat(row: Any) -> list[Any]:
    cells = row if isinstance(row, list) else [row]
    for _ in range(_DEPTH_MAX):
        if not any(isinstance(cell, list) for cell in cells):
            return cells
        cells = [each for cell in cells for each in (cell if isinstance(cell, list) else [cell])]
    raise DataCorrupt("a row that was scored has lists in lists in lists")


def _as_number(cell: Any) -> float:
    if not isinstance(cell, int | float):
        raise TypeError(f"{cell!r:.60} is no number")
    return float(cell)


def _as_text(cell: Any) -> str:
    if not isinstance(cell, str | int | float):
        raise TypeError(f"{cell!r:.60} is no text")
    return str(cell)
