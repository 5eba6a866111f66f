r"""Structs of Thrift that are written alike, recognised at once instead of being read field by field.

A document with many of them, as a footer of Parquet with its column chunks, says the same fields of each in the same order, and
numbers and texts alone differ. One that was looked through becomes a regular expression, which matches what is read in the very
same steps: heads of fields, of structs and of lists are literal bytes, and so is what was compared with something. So whatever
matches would pass as well, and ends where it matches to.

    a number    [\x80-\xff]{0,9}+[\x00-\x7f]
    a binary    its length, which is one byte, and so many; one of 64 alternatives
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from ambry.ml.compact_thrift import BINARY, BYTE, DOUBLE, FALSE, I16, I64, LIST, SET, STRUCT, TRUE, CompactThrift

OFTEN = 64
"""So many are read before one of them becomes an expression, which takes as long to make."""
SHAPES_MAX = 4
"""Of one kind of structs: where more are written otherwise, an attempt at each costs more than it saves."""
ELEMENTS_MAX = 64
"""Of a list in an expression."""
SHAPE_SIZE_MAX = 64 << 10
"""Bytes of an expression, which takes some hundred times that while it is made; lists within lists have no other bound."""
FieldPath = tuple[int, ...]
"""The numbers of fields, from the struct on."""
_NUMBER = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
_SHORT = 64
_TEXT = b"(?:%s)" % b"|".join(re.escape(bytes([size])) + b".{%d}" % size for size in range(_SHORT))


class AlikeStructs:
    """Structs of one kind in a document. Of fields in `compared` numbers are the same, and of binaries the lengths."""

    def __init__(self, compared: Collection[FieldPath]) -> None:
        self._compared = compared
        self._read = 0
        self._matches: list[Callable[[bytes, int], re.Match[bytes] | None]] = []

    def end(self, data: bytes, place: int) -> int | None:
        """Where the struct at `place` ends, if it is as one that was looked through; None for any other."""
        for match in self._matches:
            if (found := match(data, place)) is not None:
                return found.end()
        return None

    def looked_through(self, data: bytes, place: int) -> None:
        """The struct at `place` is as it should be."""
        self._read += 1
        if self._read % OFTEN or len(self._matches) == SHAPES_MAX:
            return
        shape = _Shape(data, place, self._compared).expression()
        if shape is not None and len(shape) <= SHAPE_SIZE_MAX:
            self._matches.append(re.compile(shape, re.DOTALL).match)


class _Unshaped(Exception):
    """There is a value that no expression here matches."""


class _Shape(CompactThrift):
    """Makes an expression of a struct that was read without an error."""

    def __init__(self, data: bytes, place: int, compared: Collection[FieldPath]) -> None:
        super().__init__(data)
        self.place = place
        self._compared = compared
        self._room = SHAPE_SIZE_MAX
        """Bytes of the expression that are left for values, one at least for each."""

    def expression(self) -> bytes | None:
        try:
            return b"".join(self._struct(()))
        except _Unshaped:
            return None

    def _struct(self, path: FieldPath) -> list[bytes]:
        found, begin = [], self.place
        for field, kind in self.fields():
            found.append(self._since(begin))
            found += self._value(kind, (*path, field))
            begin = self.place
        return [*found, self._since(begin)]

    def _value(self, kind: int, path: FieldPath) -> list[bytes]:
        """Raises _Unshaped, also where the expression gets too long."""
        found = self._value_of(kind, path)
        self._room -= len(found[0]) if len(found) == 1 else 1
        if self._room < 0:
            raise _Unshaped
        return found

    def _value_of(self, kind: int, path: FieldPath) -> list[bytes]:
        """Raises _Unshaped."""
        begin = self.place
        if kind == BINARY:
            size = self.varint()
            said = self._since(begin)
            self.place += size
            return [_TEXT if path not in self._compared and size < _SHORT else said + b".{%d}" % size]
        if I16 <= kind <= I64:
            self.varint()
            return [self._since(begin) if path in self._compared else _NUMBER]
        if kind == STRUCT:
            return self._struct(path)
        if kind in (LIST, SET):
            count, inner = self.list_head()
            if count > ELEMENTS_MAX:
                raise _Unshaped
            found = [self._since(begin)]
            for _ in range(count):
                found += self._value(BYTE if inner in (TRUE, FALSE) else inner, path)
            return found
        if kind in (TRUE, FALSE):
            return []
        if kind not in (BYTE, DOUBLE):
            raise _Unshaped
        size = 1 if kind == BYTE else 8
        self.place += size
        return [b".{%d}" % size]

    def _since(self, begin: int) -> bytes:
        return re.escape(self._data[begin : self.place])
