"""Everything that is defined, over all namespaces: the one answer to what a URN means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import Axis, TensorType
from ambry.ml.features.definitions import Categorical, Definitions, Dimension, Feature, FeatureDim
from ambry.ml.features.reading import check_references
from ambry.ml.features.text import DefinitionInvalid
from ambry.ml.features.urn import FeatureUrn, Reference, parse_urn
from ambry.ml.features.vocabulary import Vocabulary


class FeatureNotDefined(InvalidRequest, LookupError):
    """No definition has this URN."""


@dataclass(frozen=True)
class FeatureMetadata:
    """Definitions by namespace. Every dimension that a feature names, and every vocabulary, is there."""

    namespaces: Mapping[str, Definitions]

    def __post_init__(self) -> None:
        """Raises DefinitionInvalid."""
        for definitions in self.namespaces.values():
            check_references(definitions, self.namespaces.values())
            for dimension in definitions.dimensions:
                if (
                    isinstance(dimension.kind, Categorical)
                    and dimension.kind.id_mapping_file not in definitions.vocabularies
                ):
                    raise DefinitionInvalid(
                        f"dimension {dimension.name!r}: {dimension.kind.id_mapping_file} was not read", dimension.place
                    )

    @classmethod
    def of(cls, definitions: Iterable[Definitions]) -> FeatureMetadata:
        """Of the definitions of one or more namespaces; those of the same one are put together. Raises DefinitionInvalid."""
        merged: dict[str, Definitions] = {}
        for one in definitions:
            before = merged.get(one.namespace)
            merged[one.namespace] = one if before is None else _merged(before, one)
        return cls({name: _in_order(merged[name]) for name in sorted(merged)})

    @cached_property
    def urns(self) -> tuple[FeatureUrn, ...]:
        """Of all features, in order."""
        return tuple(sorted(feature.urn(space) for space, feature in self.features()))

    def features(self) -> Iterator[tuple[str, Feature]]:
        """Each with its namespace."""
        return ((space, one) for space, definitions in self.namespaces.items() for one in definitions.features)

    def dimensions(self) -> Iterator[tuple[str, Dimension]]:
        """Each with its namespace."""
        return ((space, one) for space, definitions in self.namespaces.items() for one in definitions.dimensions)

    def feature(self, urn: FeatureUrn | str) -> Feature:
        """Raises FeatureNotDefined, InvalidRequest for what is no URN."""
        urn = parse_urn(urn, self.urns) if isinstance(urn, str) else urn
        definitions = self.namespaces.get(urn.namespace)
        found = None if definitions is None else definitions.feature(urn.name, urn.version)
        if found is None:
            near = get_close_matches(str(urn), [str(known) for known in self.urns], n=1)
            raise FeatureNotDefined(f"{urn} is not defined{f'; did you mean {near[0]}?' if near else ''}")
        return found

    def tensor_type(self, urn: FeatureUrn | str) -> TensorType:
        """What a feature's tensors are. Raises FeatureNotDefined, InvalidRequest for what is no URN."""
        urn = parse_urn(urn, self.urns) if isinstance(urn, str) else urn
        feature = self.feature(urn)
        axes = tuple(self._axis(dim, urn.namespace) for dim in feature.dims)
        return TensorType(urn, feature.value_type, axes, feature.availability, feature.default)

    def vocabulary(self, reference: Reference) -> Vocabulary:
        """That of a categorical dimension, named with its namespace. Raises FeatureNotDefined, InvalidRequest for another."""
        return self._vocabulary(reference)[2]

    def with_names(self, reference: Reference, names: Iterable[str]) -> FeatureMetadata:
        """These, with names added to the vocabulary of a categorical dimension. Raises as `vocabulary`, and for names there."""
        definitions, file, vocabulary = self._vocabulary(reference)
        vocabularies = {**definitions.vocabularies, file: vocabulary.with_names(names)}
        changed = Definitions(definitions.namespace, definitions.features, definitions.dimensions, vocabularies)
        return FeatureMetadata({**self.namespaces, definitions.namespace: changed})

    def _vocabulary(self, reference: Reference) -> tuple[Definitions, str, Vocabulary]:
        """With the definitions that it stands in, and its file."""
        definitions, found = self._dimension(reference)
        if not isinstance(found.kind, Categorical):
            raise InvalidRequest(f"the dimension {reference} is not categorical, so it has no vocabulary")
        file = found.kind.id_mapping_file
        return definitions, file, definitions.vocabularies[file]

    def axis(self, reference: Reference) -> Axis:
        """A dimension, named with its namespace, as an axis of its own. Raises FeatureNotDefined."""
        return self._axis(FeatureDim(reference), reference.namespace or "")

    def _axis(self, dim: FeatureDim, namespace: str) -> Axis:
        reference = dim.dimension.within(namespace)
        definitions, found = self._dimension(reference)
        vocabulary = None
        if isinstance(found.kind, Categorical):
            vocabulary = definitions.vocabularies[found.kind.id_mapping_file]
        return Axis(dim.name, reference, found.kind, vocabulary)

    def _dimension(self, reference: Reference) -> tuple[Definitions, Dimension]:
        """With the definitions that it stands in. Raises FeatureNotDefined."""
        definitions = self.namespaces.get(reference.namespace or "")
        found = None if definitions is None else definitions.dimension(reference.name, reference.version)
        if definitions is None or found is None:
            raise FeatureNotDefined(f"the dimension {reference} is not defined")
        return definitions, found


def _merged(one: Definitions, other: Definitions) -> Definitions:
    """Raises DefinitionInvalid for what both define."""
    for mine, theirs in ((one.features, other.features), (one.dimensions, other.dimensions)):
        before: dict[object, Feature | Dimension] = {(each.name, each.version): each for each in mine}
        for each in theirs:
            if first := before.get((each.name, each.version)):
                raise DefinitionInvalid(
                    f"{each.name!r} {each.version} stands twice, first at {first.place}", each.place
                )
    for file, vocabulary in other.vocabularies.items():
        if one.vocabularies.get(file, vocabulary) != vocabulary:
            raise DefinitionInvalid(f"namespace {one.namespace!r}: there are two vocabularies {file}, which differ")
    return Definitions(
        one.namespace,
        one.features + other.features,
        one.dimensions + other.dimensions,
        {**one.vocabularies, **other.vocabularies},
    )


def _in_order(definitions: Definitions) -> Definitions:
    """By name and version, so that the same definitions are the same whichever files they came from."""
    return Definitions(
        definitions.namespace,
        tuple(sorted(definitions.features, key=lambda one: (one.name, one.version))),
        tuple(sorted(definitions.dimensions, key=lambda one: (one.name, one.version))),
        {file: definitions.vocabularies[file] for file in sorted(definitions.vocabularies)},
    )
