"""Several sources as one: each feature is asked of the source that has it; what cannot be served is refused at the start.

LinkedIn's features are ONLINE, OFFLINE or BOTH, and so are stores. Whoever serves makes a `reader` of the features of its model
once; a feature that its source does not have, has in another type, or that must not be served from there, is an error then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ambry.ml.features.availability import WrongSource, check_served
from ambry.ml.features.axes import TensorType
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.snapshots.asked import urn_list
from ambry.ml.sources.answers import FeatureSource, Keys, Urns
from ambry.ml.sources.reader import OTHER_SOURCE, FeatureReader


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
        whose = f"its source {source!r}"
        check_served(defined.urn, defined.availability, source.availability, whose, OTHER_SOURCE)
        there = source.resolve(defined.urn)
        if _form(there) != _form(defined):
            raise WrongSource(
                f"{defined.urn} is {_words(defined)}, and {_words(there)} in its source {type(source).__name__}: "
                "one of both has definitions that were not published"
            )
        return there

    def reader(self, urns: Urns) -> FeatureReader:
        """What reads these features again and again. Raises FeatureNotDefined, WrongSource; reading does not any more."""
        return FeatureReader((self.resolve(urn), self.source(urn)) for urn in urn_list(urns))

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Once: see FeatureReader.read."""
        return self.reader(urns).read(keys)


def _form(kind: TensorType) -> tuple[object, ...]:
    """What never changes within a version of a feature; vocabularies grow."""
    return (kind.value_type, tuple((axis.name, axis.dimension) for axis in kind.axes))


def _words(kind: TensorType) -> str:
    over = f" over {', '.join(f'{axis.name} ({axis.dimension})' for axis in kind.axes)}" if kind.axes else ""
    return f"{kind.value_type.value}{over}"
