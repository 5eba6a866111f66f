"""Several sources as one: each feature is asked of the source that has it; what cannot be served is refused at the start.

LinkedIn's features are ONLINE, OFFLINE or BOTH, and so are stores. Whoever serves makes a `reader` of the features of its model
once; a feature that its source does not have, has in another type, or that must not be served from there, is an error then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.snapshots.schema import ENTITY_KEY, column_names
from ambry.ml.sources.answers import FeatureSource, Keys, Urns


class WrongSource(InvalidRequest):
    """A feature is asked of a source that must not serve it, or that has it as something else."""


class FeatureStore:
    """Sources by URN, or by namespace for all of its features that have none of their own. Usable by threads.

    Raises WrongSource and FeatureNotDefined for a URN whose source cannot serve it.
    """

    def __init__(self, metadata: FeatureMetadata, sources: Mapping[str, FeatureSource]) -> None:
        self.metadata = metadata
        self._sources: dict[str, FeatureSource] = {}
        for name, source in sources.items():
            if name.startswith("urn:"):
                self._sources[str(FeatureUrn.parse(name))] = source
                self.resolve(name)
                continue
            self._sources[name] = source
            if name not in metadata.namespaces:
                known = ", ".join(metadata.namespaces) or "none"
                raise FeatureNotDefined(f"{name!r} is neither a URN nor a namespace of the definitions ({known})")

    def source(self, urn: FeatureUrn | str) -> FeatureSource:
        """Which one has a feature. Raises FeatureNotDefined."""
        urn = FeatureUrn.parse(urn) if isinstance(urn, str) else urn
        found = self._sources.get(str(urn)) or self._sources.get(urn.namespace)
        if found is None:
            raise FeatureNotDefined(f"there is no source for {urn}; name one for it, or for {urn.namespace!r}")
        return found

    def resolve(self, urn: FeatureUrn | str) -> TensorType:
        """What a feature is, as its source has it. Raises FeatureNotDefined, WrongSource."""
        defined = self.metadata.tensor_type(urn)
        source = self.source(urn)
        if not _serves(source.availability, defined.availability):
            raise WrongSource(
                f"{defined.urn} is {defined.availability.value}, and its source {type(source).__name__} is "
                f"{source.availability.value}; give it another source"
            )
        there = source.resolve(defined.urn)
        if _form(there) != _form(defined):
            raise WrongSource(
                f"{defined.urn} is {_words(defined)}, and {_words(there)} in its source {type(source).__name__}: "
                "one of both has definitions that were not published"
            )
        return there

    def reader(self, urns: Urns) -> FeatureReader:
        """What reads these features again and again. Raises FeatureNotDefined, WrongSource; reading does not any more."""
        return FeatureReader(self, urns)

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Once: see FeatureReader.read."""
        return self.reader(urns).read(keys)


class FeatureReader:
    """Some features of a store, each known to be served by its source. Usable by threads."""

    def __init__(self, store: FeatureStore, urns: Urns) -> None:
        self.kinds = tuple(store.resolve(urn) for urn in urns)
        if not self.kinds:
            raise InvalidRequest("nothing is read without a feature; name at least one URN")
        told = [str(kind.urn) for kind in self.kinds]
        if twice := next((urn for urn in told if told.count(urn) > 1), None):
            raise InvalidRequest(f"{twice} is asked for twice")
        self._names = column_names([kind.urn for kind in self.kinds])
        self._by_source: dict[int, tuple[FeatureSource, list[FeatureUrn]]] = {}
        for kind in self.kinds:
            source = store.source(kind.urn)
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


def _serves(source: Availability, feature: Availability) -> bool:
    return (source.online and feature.online) or (source.offline and feature.offline)


def _form(kind: TensorType) -> tuple[object, ...]:
    """What never changes within a version of a feature; vocabularies grow."""
    return (kind.value_type, tuple((axis.name, axis.dimension) for axis in kind.axes))


def _words(kind: TensorType) -> str:
    over = f" over {', '.join(f'{axis.name} ({axis.dimension})' for axis in kind.axes)}" if kind.axes else ""
    return f"{kind.value_type.value}{over}"
