"""The vocabulary of a categorical dimension: which id stands for which name, as a CSV of `id, name`.

    0, OUT_OF_VOCAB
    1, Comment
    2, Click

Id 0 stands for every name that is not in it, so that a model keeps working when names are added. An id never changes its name
and never goes: what was written with an old vocabulary means the same with a new one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from ambry.errors import InvalidRequest
from ambry.ml.features.text import DefinitionInvalid, TextPlace

OUT_OF_VOCAB = "OUT_OF_VOCAB"
OUT_OF_VOCAB_ID = 0
ID_MAX = (1 << 31) - 1
NAME_CHARACTERS_MAX = 1_000
"""So that a row of any name is read again: a field of a CSV has a bound, too."""


@dataclass(frozen=True)
class Vocabulary:
    """Names by id, in the order of the ids. `names[i]` has the id `ids[i]`; the first is OUT_OF_VOCAB."""

    ids: tuple[int, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if len(self.ids) != len(self.names):
            raise InvalidRequest(f"{len(self.ids)} ids and {len(self.names)} names do not go together")
        if list(self.ids[:1]) != [OUT_OF_VOCAB_ID] or self.names[0] != OUT_OF_VOCAB:
            raise InvalidRequest(f"a vocabulary begins with the row {OUT_OF_VOCAB_ID}, {OUT_OF_VOCAB}")
        if any(one >= other for one, other in zip(self.ids, self.ids[1:], strict=False)) or self.ids[-1] > ID_MAX:
            raise InvalidRequest(f"ids of a vocabulary rise, and go up to {ID_MAX}")
        if len(set(self.names)) != len(self.names):
            raise InvalidRequest("a name stands twice in a vocabulary")
        for name in self.names:
            _check_name(name)

    @classmethod
    def of(cls, names: Iterable[str]) -> Vocabulary:
        """One whose names have the ids 1, 2, 3 and so on. Raises InvalidRequest."""
        named = (OUT_OF_VOCAB, *names)
        return cls(tuple(range(len(named))), named)

    @property
    def size(self) -> int:
        """How many ids a tensor has room for: the largest and one."""
        return self.ids[-1] + 1

    @cached_property
    def id_of(self) -> Mapping[str, int]:
        """The id of each name; what is not in it is OUT_OF_VOCAB_ID, see `encode`."""
        return MappingProxyType(dict(zip(self.names, self.ids, strict=True)))

    @cached_property
    def name_of(self) -> Mapping[int, str]:
        """The name of each id."""
        return MappingProxyType(dict(zip(self.ids, self.names, strict=True)))

    def encode(self, name: str) -> int:
        """The id of a name; OUT_OF_VOCAB_ID for one that is not in it."""
        return self.id_of.get(name, OUT_OF_VOCAB_ID)

    def decode(self, id: int) -> str:
        """The name of an id; OUT_OF_VOCAB for one that is not in it."""
        return self.name_of.get(id, OUT_OF_VOCAB)

    def with_names(self, names: Iterable[str]) -> Vocabulary:
        """This one and more names, with the next ids. Raises InvalidRequest for a name that it has."""
        added = tuple(names)
        first = self.size
        return Vocabulary((*self.ids, *range(first, first + len(added))), (*self.names, *added))

    def broken_by(self, later: Vocabulary) -> str | None:
        """What `later` would change for readers of this one, as a sentence; None if nothing: ids are only added."""
        for id, name in zip(self.ids, self.names, strict=True):
            new = later.name_of.get(id)
            if new != name:
                gone = "is gone (`ambry features get --vocabularies` brings names that were accepted meanwhile)"
                return f"id {id} was {name!r} and " + (gone if new is None else f"is {new!r} now")
        return None


def parse_vocabulary(text: str, file: str = "", line: int = 1) -> Vocabulary:
    """Read a CSV; `line` is that of its first row in `file`. Rows stand in any order. Raises DefinitionInvalid."""
    names: dict[int, str] = {}
    lines: dict[str, int] = {}
    reader = csv.reader(text.splitlines(), skipinitialspace=True, strict=True)
    try:
        for row in reader:
            place = TextPlace(file, line + reader.line_num - 1)
            if not row or row[0].lstrip().startswith(("//", "#")):
                continue
            id, name = _row(row, place)
            if id in names:
                raise DefinitionInvalid(f"id {id} stands twice, for {names[id]!r} and for {name!r}", place)
            if name in lines:
                raise DefinitionInvalid(f"{name!r} stands twice, first in line {lines[name]}", place)
            names[id] = name
            lines[name] = place.line
    except csv.Error as error:
        raise DefinitionInvalid(
            f"not a row of a CSV: {error}", TextPlace(file, line + max(reader.line_num, 1) - 1)
        ) from None
    if names.get(OUT_OF_VOCAB_ID) != OUT_OF_VOCAB:
        raise DefinitionInvalid(f"the row {OUT_OF_VOCAB_ID}, {OUT_OF_VOCAB} is missing", TextPlace(file, line))
    ids = sorted(names)
    return Vocabulary(tuple(ids), tuple(names[id] for id in ids))


def format_vocabulary(vocabulary: Vocabulary) -> str:
    """The CSV that `parse_vocabulary` reads, one row per name."""
    return format_rows(vocabulary, vocabulary.ids)


def format_rows(vocabulary: Vocabulary, ids: Iterable[int]) -> str:
    """The rows of some of its ids."""
    return "".join(f"{id}, {_quoted(vocabulary.name_of[id])}\n" for id in ids)


def _row(row: list[str], place: TextPlace) -> tuple[int, str]:
    if len(row) != 2:
        raise DefinitionInvalid(f"a row is an id and a name, with one comma; this one has {len(row)} fields", place)
    id, name = (field.strip() for field in row)
    if not (id.isascii() and id.isdecimal() and int(id[:11]) <= ID_MAX):
        raise DefinitionInvalid(f"{id!r} is not an id; take a number from 0 to {ID_MAX}", place)
    try:
        return int(id), _check_name(name)
    except InvalidRequest as error:
        raise DefinitionInvalid(error.message, place) from None


def _check_name(name: str) -> str:
    """Raises InvalidRequest. A name survives being written to a line of text and read again."""
    if len(name) > NAME_CHARACTERS_MAX:
        raise InvalidRequest(
            f"{name[:40]!r}... has {len(name)} characters; a name in a vocabulary has at most {NAME_CHARACTERS_MAX}"
        )
    if not name or name != name.strip() or "\n" in name or len(name.splitlines()) > 1 or "\0" in name:
        raise InvalidRequest(f"{name!r} is not a name in a vocabulary; take one line without spaces around it")
    return name


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(sign in name for sign in '",#/') else name
