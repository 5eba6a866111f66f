"""Thrift in its compact form, read without making more of it than is asked for.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
"""The kinds of values."""
Wanted = int | dict[int, Any] | tuple[Any]
"""What is read of a value: a kind; a struct as its fields by their numbers; a list as a tuple of its elements."""


class CompactThrift:
    """Thrift's compact protocol. Methods raise IndexError where the bytes end, ArrowInvalid for what is none.

    Nothing is made that is larger than the bytes by more than a factor.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and the kind of each field of a struct, whose value is read before the next one."""
        field = 0
        while head := self.byte():
            field = field + (head >> 4) if head >> 4 else self._number()
            if not 0 < field < 1 << 15:
                raise pa.ArrowInvalid(f"its footer has a field with the number {field}")
            yield field, head & 15

    def elements(self, wanted: int) -> Iterator[None]:
        """As often as a list has elements, which are of this kind, and are read in between."""
        count, kind = self.list_head()
        if count and kind != wanted:
            raise pa.ArrowInvalid("its footer has a list of other things than it should")
        for _ in range(count):
            yield

    def struct(self, wanted: Mapping[int, Wanted]) -> dict[int, Any]:
        """The values of some fields by their numbers; one of another kind is passed by, as C++ does it."""
        found: dict[int, Any] = {}
        for field, kind in self.fields():
            told = wanted.get(field)
            value = self.value(kind, told)
            if told is not None and kind == _kind_of(told):
                if field in found:
                    raise pa.ArrowInvalid(f"its footer says the field {field} twice")
                found[field] = value
        return found

    def value(self, kind: int, wanted: Wanted | None = None) -> Any:
        """What is read of it is what is wanted; without that it is passed by."""
        if kind == BINARY:
            return self._bytes(self.varint())
        if I16 <= kind <= I64:
            return self._number()
        if kind == STRUCT:
            return self.struct(wanted if isinstance(wanted, dict) else {})
        if kind == LIST and isinstance(wanted, tuple):
            [inner] = wanted
            return [self.value(_kind_of(inner), inner) for _ in self.elements(_kind_of(inner))]
        if kind in (LIST, SET):
            return self._pass(*self.list_head())
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind == BYTE:
            return self.byte()
        if kind == DOUBLE:
            return self._bytes(8)
        if kind == MAP:
            count = self.varint()
            return self._pass(count, *divmod(self.byte(), 16)) if count else None
        raise pa.ArrowInvalid(f"its footer has a value of the kind {kind}, which is none")

    def _pass(self, count: int, *kinds: int) -> None:
        """So many elements of a list, or pairs of a map."""
        for _ in range(count):
            for kind in kinds:
                self.byte() if kind in (TRUE, FALSE) else self.value(kind)

    def list_head(self) -> tuple[int, int]:
        head = self.byte()
        count = head >> 4
        count = self.varint() if count == 15 else count
        if count > len(self._data) - self.place:  # An element has a byte at least.
            raise IndexError
        return count, head & 15

    def byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def _bytes(self, count: int) -> bytes:
        begin, self.place = self.place, self.place + count
        if self.place > len(self._data):
            raise IndexError
        return self._data[begin : self.place]

    def _number(self) -> int:
        """Zigzag."""
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def varint(self) -> int:
        value = self.byte()
        if value < 128:
            return value
        value &= 127
        for shift in range(7, 70, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise pa.ArrowInvalid("its footer has a number of more than 64 bits")


def _kind_of(wanted: Wanted) -> int:
    if isinstance(wanted, int):
        return wanted
    return STRUCT if isinstance(wanted, dict) else LIST
