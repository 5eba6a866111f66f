"""What the schema of a snapshot says of its columns, compared with what they are: the file may be anybody's.

A column is read by its declared type, over its memory: of another type in Arrow, every value would be another one. So a schema
is compared once, before anything is read by it. How long an axis is belongs to the type that it was written with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ambry.errors import MALFORMED, DataCorrupt, InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability, ValueType
from ambry.ml.snapshots.schema import (
    NO_TENSORS,
    TYPE_KEY,
    URN_KEY,
    VALUE,
    SnapshotAbout,
    about_of,
    arrow_type,
    cell_type,
    columns_of,
    description_of,
    index_type,
)


@dataclass(frozen=True, slots=True)
class DescribedAxis:
    """An axis as a field tells of it. `size` is None where it has no length."""

    name: str
    dimension: str
    kind: str
    size: int | None


@dataclass(frozen=True, slots=True)
class DescribedType:
    """The type of a feature as its field tells of it."""

    value_type: ValueType
    axes: tuple[DescribedAxis, ...]
    availability: Availability = Availability.BOTH

    def __str__(self) -> str:
        """Without lengths: a vocabulary grows, and old columns are read with its later versions."""
        axes = [f"{axis.name} ({axis.kind} {axis.dimension})" for axis in self.axes]
        return f"{self.value_type.value} [{', '.join(axes)}]" if axes else self.value_type.value

    @property
    def sized(self) -> str:
        """With lengths, `?` where there is none."""
        axes = " x ".join(f"{axis.name}: {axis.size or '?'}" for axis in self.axes)
        return f"{self.value_type.value} [{axes}]" if axes else self.value_type.value


def type_of(field: Any) -> DescribedType | None:
    """What a field says of its feature, and is; None for a column of no feature.

    Raises DataCorrupt for one that does not say it, or is of another type.
    """
    said = (field.metadata or {}).get(TYPE_KEY)
    if said is None and URN_KEY not in (field.metadata or {}):
        return None
    try:
        if said is None:
            raise ValueError("there is none")
        described = _read(json.loads(said))
    except MALFORMED as error:
        raise DataCorrupt(
            f"the column {field.name!r} does not say what it holds ({TYPE_KEY.decode()}: {error!r}); write the snapshot again"
        ) from error
    if not lies_as(field.type, described):
        raise DataCorrupt(
            f"the column {field.name!r} says that it is {described.sized}, and is {field.type}; write the snapshot again"
        )
    return described


def holds_booleans(field: Any) -> bool:
    """Whether the cells of a dense column are booleans, which lie as bytes there. Raises DataCorrupt."""
    described = type_of(field)
    return described is not None and described.value_type is ValueType.BOOLEAN


def _read(told: Mapping[str, Any]) -> DescribedType:
    """Raises MALFORMED."""
    axes = []
    for axis in told["axes"]:
        name, dimension, kind, size = axis["name"], axis["dimension"], axis["kind"], axis["size"]
        if not all(isinstance(text, str) for text in (name, dimension, kind)):
            raise ValueError(f"{axis} is no axis")
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError(f"{size!r} is no length of an axis")
        axes.append(DescribedAxis(name, dimension, kind, size))
    return DescribedType(ValueType(told["valType"]), tuple(axes), Availability(told.get("availability", "BOTH")))


def check_schema_of(schema: Any) -> SnapshotAbout:
    """Whether a schema is one of a snapshot, whose columns are what they say. Gives what it says of the whole.

    Raises DataCorrupt, InvalidRequest for a schema of no snapshot or of a later format.
    """
    about = about_of(schema)
    names = schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataCorrupt(f"two columns are called {twice!r}")
    if not names or names[0] != about.entity or schema.types[0] not in (pa.int64(), pa.string()):
        raise DataCorrupt(
            f"its first column is no key: the entities are {about.entity!r}, int64 or string, and the columns "
            + ", ".join(f"{field.name} ({field.type})" for field in list(schema)[:5])
        )
    columns_of(schema)
    for field in schema:
        if type_of(field) is not None and URN_KEY not in field.metadata:
            raise DataCorrupt(f"the column {field.name!r} has a type, and does not say of which feature")
    return about


def lies_as(column_type: Any, described: DescribedType) -> bool:
    """Whether a column of Arrow has that type: scalar, dense or sparse."""
    value = described.value_type
    if not described.axes:
        return bool(column_type == arrow_type(value))
    names = [axis.name for axis in described.axes]
    if isinstance(column_type, pa.FixedShapeTensorType):
        order = list(range(len(names)))
        return (
            value not in NO_TENSORS
            and column_type.value_type == cell_type(value)
            and list(column_type.shape) == [axis.size for axis in described.axes]
            and list(column_type.dim_names or names) == names
            and list(column_type.permutation or order) == order
        )
    if not pa.types.is_list(column_type) or not pa.types.is_struct(column_type.value_type):
        return False
    told = [(cell.name, cell.type) for cell in column_type.value_type]
    wanted = [(axis.name, index_type(is_wide=axis.kind == "entity")) for axis in described.axes]
    return told == [*wanted, (VALUE, arrow_type(value))]


def check_described(kind: TensorType, field: Any) -> None:
    """Raises InvalidRequest where definitions have another type than a field of a snapshot.

    How long an axis is may differ: a vocabulary grows, and old columns are read with its later versions.
    """
    told, known = type_of(field), _read(description_of(kind))
    if str(told) != str(known):
        raise InvalidRequest(
            f"{kind.urn} is {known} by the definitions, and was written as {told}; read it with those it was written by"
        )
