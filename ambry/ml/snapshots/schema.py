"""The Arrow schema of a snapshot: what a stranger's pyarrow, polars or pandas sees of typed features.

    entity column    int64 or string, sorted, each entity once
    scalar           a column of the type
    dense            arrow.fixed_shape_tensor with the names of the axes, where each has a length: numbers, booleans as uint8
    sparse           list<struct<axis: int32 or int64, ..., value: type>>, the cells that are there

Features with a width come before those without (aligned.py).

Metadata of a field says the URN and the type as JSON, that of the schema which definitions these are, and the point in time.
Fixed-shape tensors: https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from typing import Any, Literal

import pyarrow as pa

from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.urn import FeatureUrn

Layout = Literal["scalar", "dense", "sparse"]

FORMAT = "1"
URN_KEY = b"ambry.urn"
TYPE_KEY = b"ambry.type"
FORMAT_KEY = b"ambry.snapshot"
ENTITY_KEY = b"ambry.entity"
AS_OF_KEY = b"ambry.as_of"
DEFINITIONS_KEY = b"ambry.features"
DIGEST_KEY = b"ambry.features.sha256"
VALUE = "value"
"""The last field of a sparse cell."""
DENSE_CELLS_MAX = 4_096
"""More cells than this are sparse unless the writer says otherwise: 16 KiB of a row."""

_TYPES: dict[ValueType, Any] = {
    ValueType.INT: pa.int32(),
    ValueType.LONG: pa.int64(),
    ValueType.FLOAT: pa.float32(),
    ValueType.DOUBLE: pa.float64(),
    ValueType.STRING: pa.string(),
    ValueType.BOOLEAN: pa.bool_(),
    ValueType.BYTES: pa.binary(),
}
NO_TENSORS = (ValueType.STRING, ValueType.BYTES)
"""Arrow's tensors hold what has a width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotAbout:
    """What a whole snapshot is of."""

    entity: str
    """The column with the key."""
    as_of: datetime
    definitions: str = ""
    """The version that defines its features, such as `features@1.2.0`; empty where only the digest is known."""
    digest: str = ""
    """Of the definitions (features/package.py)."""


def arrow_type(value_type: ValueType) -> Any:
    """Of one value."""
    return _TYPES[value_type]


def cell_type(value_type: ValueType) -> Any:
    """Of one cell of a dense tensor: Arrow has none of bits."""
    return pa.uint8() if value_type is ValueType.BOOLEAN else _TYPES[value_type]


def index_type(*, is_wide: bool) -> Any:
    """Of an index of a sparse cell."""
    return pa.int64() if is_wide else pa.int32()


def layout_of(kind: TensorType, asked: Layout | None = None) -> Layout:
    """How a feature lies in a snapshot. Raises InvalidRequest for a layout that it cannot have."""
    if not kind.axes:
        if asked not in (None, "scalar"):
            raise InvalidRequest(f"{kind.urn} has no dims, so it is a scalar and not {asked}")
        return "scalar"
    can_be_dense = kind.is_dense and kind.value_type not in NO_TENSORS
    if asked == "dense" and not can_be_dense:
        why = "its values have no width" if kind.is_dense else "an axis has no length"
        raise InvalidRequest(f"{kind.urn} cannot be dense: {why}; leave it sparse")
    if asked == "scalar":
        raise InvalidRequest(f"{kind.urn} has {len(kind.axes)} dims, so it is dense or sparse and no scalar")
    if asked is not None:
        return asked
    return "dense" if can_be_dense and prod(shape_of(kind)) <= DENSE_CELLS_MAX else "sparse"


def layout_there(column_type: Any) -> Layout:
    """How a column of a feature lies."""
    if isinstance(column_type, pa.FixedShapeTensorType):
        return "dense"
    return "sparse" if pa.types.is_list(column_type) else "scalar"


def has_width(kind: TensorType, asked: Layout | None = None) -> bool:
    """Whether all rows of its column are of the same size. Raises InvalidRequest as `layout_of`."""
    return kind.value_type not in NO_TENSORS and layout_of(kind, asked) != "sparse"


def shape_of(kind: TensorType) -> tuple[int, ...]:
    """Of a dense tensor."""
    return tuple(size for size in kind.shape if size is not None)


def row_size(kinds: Iterable[TensorType], layouts: Mapping[str, Layout]) -> int:
    """How many bytes of a row have a width, and 8 for each feature that has none."""
    size = 0
    for kind in kinds:
        is_dense = layout_of(kind, layouts.get(str(kind.urn))) == "dense"
        size += 8 * prod(shape_of(kind)) if is_dense else 8
    return size


def feature_field(kind: TensorType, column: str, asked: Layout | None = None) -> Any:
    """The pyarrow Field of a feature. Raises InvalidRequest."""
    value = _TYPES[kind.value_type]
    match layout_of(kind, asked):
        case "scalar":
            stored = value
        case "dense":
            cell = cell_type(kind.value_type)
            stored = pa.fixed_shape_tensor(cell, shape_of(kind), dim_names=[axis.name for axis in kind.axes])
        case "sparse":
            if any(axis.name == VALUE for axis in kind.axes):
                raise InvalidRequest(
                    f"{kind.urn}: an axis named {VALUE!r} cannot lie in a snapshot; give it a local name"
                )
            axes = [pa.field(axis.name, index_type(is_wide=axis.is_wide), nullable=False) for axis in kind.axes]
            cells = pa.struct([*axes, pa.field(VALUE, value, nullable=False)])
            stored = pa.list_(pa.field("item", cells, nullable=False))
    described = json.dumps(description_of(kind), sort_keys=True)
    return pa.field(column, stored, metadata={URN_KEY: str(kind.urn), TYPE_KEY: described})


def snapshot_schema(
    kinds: Iterable[TensorType],
    about: SnapshotAbout,
    entity_type: Any,
    layouts: Mapping[str, Layout] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Any:
    """The pyarrow Schema. `layouts` and `columns` say, by URN, how a feature lies and what its column is called.

    A column is called as its feature; with its version, or its whole URN, where two would be called the same.
    Raises InvalidRequest.
    """
    kinds = list(kinds)
    names = {**column_names([kind.urn for kind in kinds]), **(columns or {})}
    if entity_type not in (pa.int64(), pa.string()):
        raise InvalidRequest(
            f"the column {about.entity!r} is {entity_type}; a key is a whole number (int64) or a string"
        )
    fields = [pa.field(about.entity, entity_type, nullable=False)]
    fields += [feature_field(kind, names[str(kind.urn)], (layouts or {}).get(str(kind.urn))) for kind in kinds]
    told = [field.name for field in fields]
    if twice := next((name for name in told if told.count(name) > 1), None):
        raise InvalidRequest(f"two columns would be called {twice!r}; say `columns` for one of them")
    if about.as_of.tzinfo is None:
        raise InvalidRequest(f"the point in time {about.as_of} has no time zone; write datetime(..., tzinfo=UTC)")
    metadata = {
        FORMAT_KEY: FORMAT,
        ENTITY_KEY: about.entity,
        AS_OF_KEY: about.as_of.astimezone(UTC).isoformat(timespec="milliseconds"),
        DEFINITIONS_KEY: about.definitions,
        DIGEST_KEY: about.digest,
    }
    return pa.schema(fields, metadata=metadata)


def column_names(urns: Iterable[FeatureUrn]) -> dict[str, str]:
    """What the columns are called, by URN."""
    urns = list(urns)
    chosen: dict[str, str] = {}
    for urn in urns:
        same = [one for one in urns if one.name == urn.name]
        spaces = {one.namespace for one in same}
        if len(same) == 1:
            name = urn.name
        elif len(spaces) == 1:
            name = f"{urn.name}-{urn.version.major}-{urn.version.minor}"
        else:
            name = str(urn)
        chosen[str(urn)] = name
    return chosen


def about_of(schema: Any) -> SnapshotAbout:
    """What a schema says of its snapshot. Raises InvalidRequest for one that is none, or of a later format, DataCorrupt."""
    said = schema.metadata or {}
    version = said.get(FORMAT_KEY, b"")
    if not version:
        raise InvalidRequest("this is no snapshot of features: its schema does not say so")
    if version != FORMAT.encode():
        raise InvalidRequest(
            f"this is a snapshot of the format {version.decode(errors='replace')}, which this release does not read"
        )
    try:
        about = SnapshotAbout(
            entity=said[ENTITY_KEY].decode(),
            as_of=datetime.fromisoformat(said[AS_OF_KEY].decode()),
            definitions=said.get(DEFINITIONS_KEY, b"").decode(),
            digest=said.get(DIGEST_KEY, b"").decode(),
        )
        if about.as_of.tzinfo is None:
            raise ValueError(f"{about.as_of} has no time zone")
    except (KeyError, ValueError) as error:
        raise DataCorrupt(f"its schema does not say of which entities and which time it is ({error!r})") from error
    return about


def columns_of(schema: Any) -> dict[str, str]:
    """The column of each URN, in the order of the schema. Raises DataCorrupt for two of one URN, and for what is none."""
    found: dict[str, str] = {}
    for field in schema:
        said = (field.metadata or {}).get(URN_KEY)
        if said is None:
            continue
        try:
            urn = str(FeatureUrn.parse(said.decode()))
        except (ValueError, InvalidRequest) as error:
            raise DataCorrupt(f"the column {field.name!r} says {said!r}, which is no URN of a feature") from error
        if urn in found:
            raise DataCorrupt(f"the columns {found[urn]!r} and {field.name!r} are both of {urn}")
        found[urn] = field.name
    return found


def description_of(kind: TensorType) -> dict[str, Any]:
    """What a field says of its feature (described.py reads it)."""
    axes = [
        {"name": axis.name, "dimension": str(axis.dimension), "kind": _kind(axis.kind), "size": axis.size}
        for axis in kind.axes
    ]
    return {"valType": kind.value_type.value, "availability": kind.availability.value, "axes": axes}


def _kind(kind: object) -> str:
    return {"EntityKey": "entity"}.get(type(kind).__name__, type(kind).__name__.lower())
