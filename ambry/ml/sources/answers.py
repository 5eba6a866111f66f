"""What every source of features answers, and how rows that were found anywhere become that answer.

    entity        int64 or string: the keys as they were asked for, in that order, also twice
    a column      for each URN, in the order asked, called as its feature, in the form of a snapshot (snapshots/schema.py)

An entity that the source has not, and one without a value, has the default of the feature's definition, or null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.snapshots.columns import conform_keys
from ambry.ml.snapshots.defaults import filled
from ambry.ml.snapshots.schema import ENTITY_KEY, Layout, column_names, feature_field

Keys = Sequence[int] | Sequence[str] | Any
"""Entities: numbers or texts, as a list, a numpy array or an Arrow array."""
Urns = Iterable[FeatureUrn | str]


class FeatureSource(Protocol):
    """Where features lie. Usable by threads."""

    @property
    def availability(self) -> Availability:
        """Which side it serves: ONLINE, OFFLINE or BOTH."""

    def resolve(self, urn: FeatureUrn | str) -> TensorType:
        """What a feature is that it has. Raises FeatureNotDefined for one that it has not."""

    def read(self, urns: Urns, keys: Keys) -> Any:
        """A pyarrow Table as above. Raises FeatureNotDefined, InvalidRequest for keys of another type."""


@dataclass(frozen=True, slots=True)
class TypedColumns:
    """Which features are meant, what the columns with them are called in a store, and how they lie in an answer."""

    metadata: FeatureMetadata
    entity: str
    columns: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[str, Layout] = field(default_factory=dict)

    def kinds(self, urns: Urns) -> list[TensorType]:
        """Raises FeatureNotDefined."""
        return [self.metadata.tensor_type(urn) for urn in urns]

    def schema(self, kinds: Sequence[TensorType], key_type: Any) -> Any:
        """Of an answer, and of what is written to be read by such."""
        names = column_names([kind.urn for kind in kinds])
        fields = [feature_field(kind, names[str(kind.urn)], self.layouts.get(str(kind.urn))) for kind in kinds]
        told = [self.entity, *names.values()]
        if twice := next((name for name in told if told.count(name) > 1), None):
            raise InvalidRequest(f"two columns would be called {twice!r}; name the column of the entities otherwise")
        return pa.schema([pa.field(self.entity, key_type, nullable=False), *fields], {ENTITY_KEY: self.entity.encode()})

    def found_among(self, names: Sequence[str]) -> dict[str, str]:
        """The column of each URN of which the store has one: as `columns` says, or as column_names does with all versions."""
        told = column_names(self.metadata.urns)
        every = {str(urn): self.columns.get(str(urn), told[str(urn)]) for urn in self.metadata.urns}
        return {urn: name for urn, name in every.items() if name in names and name != self.entity}


def key_type_of(column_type: Any, entity: str) -> Any:
    """The type of the keys in a column: int64 or string. Raises InvalidRequest for one that holds no keys."""
    there = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
    if pa.types.is_integer(there):
        return pa.int64()
    if pa.types.is_string(there) or pa.types.is_large_string(there) or str(there) == "string_view":
        return pa.string()
    raise InvalidRequest(f"the column {entity!r} is {column_type}; a key is a whole number or a string")


def asked_keys(keys: Keys, entity: str, key_type: Any | None = None) -> Any:
    """The keys as an Arrow array, of the type of the store's. Raises InvalidRequest."""
    asked = conform_keys(keys, entity)
    if key_type is None or asked.type == key_type:
        return asked
    if not len(asked):
        return asked.cast(key_type)
    raise InvalidRequest(f"the entities are {key_type} in the column {entity!r}, and the keys {asked.type}")


def answer(kinds: Sequence[TensorType], schema: Any, asked: Any, found: Any, arrays: Sequence[Any]) -> Any:
    """The Table for `asked`, of the rows `found` (their keys, in any order) with a column of the schema for each kind.

    Raises InvalidRequest where an entity stands twice.
    """
    if len(pc.unique(found)) != len(found):
        counts = pc.value_counts(found)
        twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
        raise InvalidRequest(f"the entity {twice[0].as_py()!r} stands twice; which of its rows is meant, nothing says")
    places = pc.index_in(asked, value_set=found)
    columns = [asked]
    for kind, array in zip(kinds, arrays, strict=True):
        columns.append(filled(array.take(places), kind))
    return pa.Table.from_arrays(columns, schema=schema)
