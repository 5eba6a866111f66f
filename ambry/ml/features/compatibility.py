"""What a change of definitions means for who reads with the older ones, and so which part of the version has to rise.

    MAJOR   what was defined is gone, or can be read at fewer places: who uses it has to change
    MINOR   something was added: names, features, dimensions; older readers go on, new ids are 0 to them
    PATCH   words only

Some changes are no new version at all, they are refused: an id of a vocabulary that goes or changes its name, and other dims,
another type or another kind under the same version of a feature or a dimension. Written data would mean something else. That
holds for what was gone meanwhile, too: its data is still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from ambry.ml.features.definitions import Availability, Categorical, Definitions, Dimension, Feature
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.urn import FeatureVersion, Reference
from ambry.ml.features.vocabulary import Vocabulary
from ambry.ml.listed import listed


class Level(IntEnum):
    """Which part of a version has to rise, at least; higher is graver."""

    PATCH = 1
    MINOR = 2
    MAJOR = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """One thing that is different, in words."""

    level: Level
    words: str


def compare(old: FeatureMetadata, new: FeatureMetadata) -> list[DefinitionChange]:
    """All that is different, the gravest first. Empty where both say the same."""
    found: list[DefinitionChange] = []
    for space in sorted({*old.namespaces, *new.namespaces}):
        before = old.namespaces.get(space, Definitions(space))
        after = new.namespaces.get(space, Definitions(space))
        found += _features(space, before.features, after.features)
        found += _dimensions(space, before, after)
    return sorted(found, key=lambda change: -change.level)


def returning(
    older: Iterable[tuple[str, FeatureMetadata]], latest: FeatureMetadata, new: FeatureMetadata
) -> list[DefinitionChange]:
    """What of `new` was defined before `latest`, is not in it, and comes back as something else: all of it is REFUSED.

    `older` are versions by their number, the newest first, of which no more are taken than it needs: each feature and each
    dimension is compared with its last form.
    """
    missing = {space: _beyond(one, latest.namespaces.get(space)) for space, one in new.namespaces.items()}
    found: list[DefinitionChange] = []
    if not any(one.features or one.dimensions for one in missing.values()):
        return found
    for number, metadata in older:
        for space, wanted in missing.items():
            before = metadata.namespaces.get(space)
            if before is None:
                continue
            left = _beyond(wanted, before)
            came = _beyond(wanted, left)
            last = replace(
                before,
                features=tuple(one for one in before.features if came.feature(one.name, one.version)),
                dimensions=tuple(one for one in before.dimensions if came.dimension(one.name, one.version)),
            )
            changes = [*_features(space, last.features, came.features), *_dimensions(space, last, came)]
            found += [
                DefinitionChange(
                    change.level, f"{change.words} (version {number} had it last, and data of that is there)"
                )
                for change in changes
                if change.level is Level.REFUSED
            ]
            missing[space] = left
        if not any(one.features or one.dimensions for one in missing.values()):
            break
    return found


def _beyond(one: Definitions, other: Definitions | None) -> Definitions:
    """What of the one the other does not define, in whatever form."""
    if other is None:
        return one
    return replace(
        one,
        features=tuple(each for each in one.features if other.feature(each.name, each.version) is None),
        dimensions=tuple(each for each in one.dimensions if other.dimension(each.name, each.version) is None),
    )


def level_of(changes: Iterable[DefinitionChange]) -> Level | None:
    """The gravest; None where nothing is different."""
    return max((change.level for change in changes), default=None)


def _features(space: str, old: Iterable[Feature], new: Iterable[Feature]) -> Iterator[DefinitionChange]:
    before = {(one.name, one.version): one for one in old}
    after = {(one.name, one.version): one for one in new}
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        if was is None and now is not None:
            yield DefinitionChange(Level.MINOR, f"{now.urn(space)} is new")
        elif now is None and was is not None:
            yield DefinitionChange(Level.MAJOR, f"{was.urn(space)} is gone")
        elif was is not None and now is not None:
            yield from _feature(space, was, now)


def _feature(space: str, was: Feature, now: Feature) -> Iterator[DefinitionChange]:
    urn = str(now.urn(space))
    other = _beside(now.version)
    if was.value_type is not now.value_type:
        words = f"{urn}: its valType was {was.value_type.value} and is {now.value_type.value}; {other}"
        yield DefinitionChange(Level.REFUSED, words)
    if _dims(space, was) != _dims(space, now):
        dims = [f"[{', '.join(str(dim.dimension) for dim in one.dims)}]" for one in (was, now)]
        named = " under other names" if dims[0] == dims[1] else ""
        yield DefinitionChange(Level.REFUSED, f"{urn}: its dims were {dims[0]} and are {dims[1]}{named}; {other}")
    if was.availability is not now.availability:
        level = Level.MINOR if now.availability is Availability.BOTH else Level.MAJOR
        words = f"{urn}: its availability was {was.availability.value} and is {now.availability.value}"
        yield DefinitionChange(level, words)
    if (type(was.default), was.default) != (type(now.default), now.default):
        yield DefinitionChange(
            Level.MAJOR, f"{urn}: its default was {_shown(was.default)} and is {_shown(now.default)}"
        )
    if was.doc != now.doc:
        yield DefinitionChange(Level.PATCH, f"{urn}: its doc is another one")


def _dims(space: str, feature: Feature) -> list[tuple[Reference, str]]:
    """With their namespace, which a definition leaves out where it is its own, and the names that they have here."""
    return [(dim.dimension.within(space), dim.name) for dim in feature.dims]


def _dimensions(space: str, old: Definitions, new: Definitions) -> Iterator[DefinitionChange]:
    before = {(one.name, one.version): one for one in old.dimensions}
    after = {(one.name, one.version): one for one in new.dimensions}
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        if was is None and now is not None:
            yield DefinitionChange(Level.MINOR, f"dimension {now.reference.within(space)} is new")
        elif now is None and was is not None:
            yield DefinitionChange(Level.MAJOR, f"dimension {was.reference.within(space)} is gone")
        elif was is not None and now is not None:
            yield from _dimension(f"dimension {now.reference.within(space)}", was, now, old, new)


def _dimension(
    what: str, was: Dimension, now: Dimension, old: Definitions, new: Definitions
) -> Iterator[DefinitionChange]:
    if isinstance(was.kind, Categorical) and isinstance(now.kind, Categorical):
        files = was.kind.id_mapping_file, now.kind.id_mapping_file
        yield from _vocabulary(f"{what}: {files[1]}", old.vocabularies[files[0]], new.vocabularies[files[1]])
        if files[0] != files[1]:
            yield DefinitionChange(Level.PATCH, f"{what}: its file was {files[0]} and is {files[1]}")
    elif was.kind != now.kind:
        words = f"{what} was {was.kind} and is {now.kind}; {_beside(now.version)}"
        yield DefinitionChange(Level.REFUSED, words)
    if was.doc != now.doc:
        yield DefinitionChange(Level.PATCH, f"{what}: its doc is another one")


def _vocabulary(what: str, was: Vocabulary, now: Vocabulary) -> Iterator[DefinitionChange]:
    if broken := was.broken_by(now):
        words = f"put it back, and give what is new the ids after {max(was.ids)}"
        yield DefinitionChange(Level.REFUSED, f"{what}: {broken}; ids are only ever added: {words}")
    elif added := [name for name in now.names if name not in was.id_of]:
        shown = listed(added, 3)
        # A feature over it gets a longer axis; readers with the older vocabulary see the new ids as 0.
        yield DefinitionChange(Level.MINOR, f"{what} has new names: {shown}")


def _beside(version: FeatureVersion) -> str:
    """What to do where a definition may not change."""
    return f'keep it as it was, and define this one beside it with another version, such as version: "{version.major + 1}.0"'


def _shown(value: object) -> str:
    return "none" if value is None else repr(value)
