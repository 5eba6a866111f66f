"""Which column of a file is which feature, and what is left over on either side.

A snapshot never changes, and who opens the newest one reads it by the features that it has: one that was left out because its
column is misspelt would be missed long after. So nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.urn import FeatureUrn, find_urn
from ambry.ml.snapshots.schema import column_names


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceWords:
    """What is told to somebody who has to choose: by the options of a command, or as another caller has them."""

    entity: str = "--entity"
    feature: str = "--feature"
    whole: str = (
        "Say which it is (--column NAME=COLUMN), which features are meant (--feature NAME), or that these are to be left out "
        "(--allow-missing)"
    )
    some: str = "Say --column NAME=COLUMN"
    clear: str = "say which (--column {urn}={name})"
    """With the columns that would be clear as `columns`, and with one of the features as `urn`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedColumns:
    """`kinds` are the features by their column; `missing` have none, of the namespaces of these; `unused` are no feature."""

    kinds: Mapping[str, TensorType]
    missing: tuple[FeatureUrn, ...]
    unused: tuple[str, ...]
    words: ChoiceWords = ChoiceWords()

    def check_whole(self) -> None:
        """Raises InvalidRequest where a feature has no column."""
        if not self.missing:
            return
        told = "; ".join(self._told(urn) for urn in self.missing)
        raise InvalidRequest(f"no column for {told}. {self.words.whole}")

    def _told(self, urn: FeatureUrn) -> str:
        near = get_close_matches(urn.name, self.unused, n=1)
        return f"{urn} (is it {near[0]!r}?)" if near else str(urn)


def match_columns(
    metadata: FeatureMetadata,
    there: Sequence[str],
    entity: str,
    wanted: Sequence[str],
    said: Mapping[str, str],
    words: ChoiceWords = ChoiceWords(),
) -> MatchedColumns:
    """Of the columns `there`, with the keys in `entity`: the features `wanted`, or all that have a column where none is said.

    `said` is the column of a feature that is not called as it. Features are said by URN or name. Raises InvalidRequest.
    """
    if there and entity not in there:
        raise InvalidRequest(f"no column is called {entity!r}, as {words.entity} says; there are {', '.join(there)}")
    columns = {str(_urn(f"--column {urn}={column}", urn, metadata)): column for urn, column in said.items()}
    chosen = tuple(dict.fromkeys(_urn(words.feature, urn, metadata) for urn in wanted)) or metadata.urns
    if strange := set(columns) - {str(urn) for urn in chosen}:
        raise InvalidRequest(f"--column {min(strange)}: it is no feature that is written")
    if gone := [column for column in columns.values() if there and column not in there]:
        raise InvalidRequest(f"no column is called {gone[0]!r}, as --column says; there are {', '.join(there)}")
    names = {**column_names(chosen), **columns}
    missing: tuple[FeatureUrn, ...] = ()
    if not wanted:
        known = {urn for urn in chosen if str(urn) in columns or names[str(urn)] in there}
        known = {urn for urn in known if names[str(urn)] != entity}
        _check_clear(
            chosen, names, [name for name in there if name not in {names[str(urn)] for urn in known} | {entity}], words
        )
        # Of a feature that is written in one version the others are not missed.
        written = {(urn.namespace, urn.name) for urn in known}
        spaces = {urn.namespace for urn in known}
        missing = tuple(
            urn
            for urn in chosen
            if urn.namespace in spaces and (urn.namespace, urn.name) not in written and names[str(urn)] != entity
        )
        chosen = tuple(urn for urn in chosen if urn in known)
    if not chosen:
        raise InvalidRequest(
            f"no feature of the definitions has a column here; there are {', '.join(there)}. {words.some}"
        )
    kinds = {names[str(urn)]: metadata.tensor_type(urn) for urn in chosen}
    return MatchedColumns(
        kinds=kinds,
        missing=missing,
        unused=tuple(name for name in there if name != entity and name not in kinds),
        words=words,
    )


def _check_clear(
    urns: Sequence[FeatureUrn], names: Mapping[str, str], unused: Sequence[str], words: ChoiceWords
) -> None:
    """Raises InvalidRequest for a column that has the name of several features; `names` are those of columns by URN."""
    for name in unused:
        same = [str(urn) for urn in urns if urn.name == name]
        if len(same) > 1:
            columns = " or ".join(repr(names[urn]) for urn in same)
            raise InvalidRequest(
                f"the column {name!r} may be {' or '.join(same)}; "
                + words.clear.format(urn=same[-1], name=name, columns=columns)
            )


def _urn(option: str, text: str, metadata: FeatureMetadata) -> FeatureUrn:
    """Raises InvalidRequest, which says the option."""
    try:
        found = find_urn(text, metadata.urns)
        metadata.feature(found)
    except InvalidRequest as error:
        raise InvalidRequest(f"{option}: {error.message}") from None
    return found
