"""What reads some features again and again, and what all sources of ours have in common: who asks for what is refused first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.availability import check_served
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.snapshots.asked import urn_list
from ambry.ml.snapshots.schema import ENTITY_KEY, column_names
from ambry.ml.sources.answers import FeatureSource, Keys, Urns

OTHER_SOURCE = "ask another source for it, or publish definitions in which it is BOTH"


class StoredFeatures(ABC):
    """A place with features, on one side or on both."""

    availability: Availability

    @abstractmethod
    def _found(self, urn: FeatureUrn | str) -> TensorType:
        """What a feature is that lies here. Raises FeatureNotDefined."""

    @abstractmethod
    def read(self, urns: Urns, keys: Keys) -> Any:
        """As FeatureSource.read."""

    def resolve(self, urn: FeatureUrn | str) -> TensorType:
        """What a feature is that it has. Raises FeatureNotDefined, WrongSource for one that must not be served from here."""
        kind = self._found(urn)
        check_served(kind.urn, kind.availability, self.availability, f"its source {self!r}", OTHER_SOURCE)
        return kind

    def reader(self, urns: Urns) -> FeatureReader:
        """What reads these features again and again. Raises FeatureNotDefined, WrongSource; reading does not any more."""
        return FeatureReader((self.resolve(urn), self) for urn in urn_list(urns))


class FeatureReader:
    """Some features, each known to be served by its source. Usable by threads."""

    def __init__(self, served: Iterable[tuple[TensorType, FeatureSource]]) -> None:
        """Raises InvalidRequest for none, and for one that stands twice."""
        told = list(served)
        self.kinds = tuple(kind for kind, _ in told)
        if not self.kinds:
            raise InvalidRequest("nothing is read without a feature; name at least one URN")
        urns = [str(kind.urn) for kind in self.kinds]
        if twice := next((urn for urn in urns if urns.count(urn) > 1), None):
            raise InvalidRequest(f"{twice} is asked for twice")
        self._names = column_names([kind.urn for kind in self.kinds])
        self._by_source: dict[int, tuple[FeatureSource, list[FeatureUrn]]] = {}
        for kind, source in told:
            self._by_source.setdefault(id(source), (source, []))[1].append(kind.urn)

    def read(self, keys: Keys) -> Any:
        """A pyarrow Table: the entity, called as the first feature's source calls it, and a column for each feature.

        Raises InvalidRequest for keys that are not of the type of a source.
        """
        entity: Any = None
        found: dict[str, tuple[Any, Any]] = {}
        for source, urns in self._by_source.values():
            table = source.read(urns, keys)
            entity = entity or (table.schema.field(0), table.column(0))
            for place, urn in enumerate(urns, start=1):
                found[str(urn)] = (table.schema.field(place), table.column(place))
        fields, columns = [entity[0]], [entity[1]]
        for kind in self.kinds:
            field, column = found[str(kind.urn)]
            fields.append(field.with_name(self._names[str(kind.urn)]))
            columns.append(column)
        return pa.Table.from_arrays(columns, schema=pa.schema(fields, {ENTITY_KEY: entity[0].name.encode()}))
