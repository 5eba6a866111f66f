"""Footers of Parquet, looked through before pyarrow makes objects of what they say of columns.

What pyarrow tells of a column chunk (`metadata.row_group(0).column(0)`, and its statistics) comes out of C++ without a way for
errors: where a footer does not agree with itself, the process ends (SIGABRT). These are the things that it looks at there, and
here they raise before it does: the type of a chunk, the lengths of its least and greatest value and of its counts of levels,
and whether it is encrypted. The footer is Thrift in its compact form: https://parquet.apache.org/docs/file-format/metadata/
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

READ_AT_ONCE = 64 << 10
"""Bytes at the end of a file, in which most footers lie."""
_MAGIC = b"PAR1"
_TYPES = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
# Thrift's kinds in the compact form.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
# Fields of parquet.thrift by their numbers: kinds, structs as dicts, lists as tuples. With all lists that there are: C++ takes
# their elements for what they should be, whatever the bytes say.
_Wanted = int | dict[int, Any] | tuple[Any]
_FILE: dict[int, _Wanted] = {2: ({},), 5: ({},), 7: ({},)}
_FILE_ROW_GROUPS = 4
_GROUP: dict[int, _Wanted] = {4: ({},)}
_GROUP_COLUMNS = 1
_STATISTICS: dict[int, _Wanted] = {1: _BINARY, 2: _BINARY, 5: _BINARY, 6: _BINARY}
_UNENCODED, _REPETITIONS, _DEFINITIONS = 1, 2, 3
_SIZES: dict[int, _Wanted] = {_UNENCODED: _I64, _REPETITIONS: (_I64,), _DEFINITIONS: (_I64,)}
_COLUMN_TYPE, _COLUMN_STATISTICS, _COLUMN_SIZES = 1, 12, 16
_COLUMN: dict[int, _Wanted] = {
    _COLUMN_TYPE: _I32,
    2: (_I32,),
    3: (_BINARY,),
    8: ({},),
    _COLUMN_STATISTICS: _STATISTICS,
    13: ({},),
    _COLUMN_SIZES: _SIZES,
    17: {2: (_I32,)},
}
_CHUNK_METADATA, _CHUNK_CRYPTO = 3, 8
_CHUNK: dict[int, _Wanted] = {_CHUNK_METADATA: _COLUMN, _CHUNK_CRYPTO: {2: {1: (_BINARY,)}}}


def read_footer(source: Any) -> Any:
    """The FileMetaData at the end of a file that is open and can be sought in, of whose columns everything may be asked.

    Raises ArrowException, OSError without a number, as pyarrow does for what it cannot read.
    """
    from pyarrow import parquet

    tail = _tail(source)
    footer = parquet.read_metadata(io.BytesIO(tail))
    _check(tail[:-8], footer)
    return footer


def bounds_of(chunk: Any) -> tuple[Any, Any] | None:
    """The least and the greatest value of a column chunk; None where it does not say, or Python has no such value."""
    if not chunk.is_stats_set or not chunk.statistics.has_min_max:
        return None
    try:
        return chunk.statistics.min, chunk.statistics.max
    except (OverflowError, ValueError, pa.ArrowException):
        # A day of the year 10,000, or half of a character.
        return None


def _tail(source: Any) -> bytes:
    """The footer, its length and the magic number. Raises ArrowInvalid."""
    source.seek(0, io.SEEK_END)
    size = source.tell()
    tail = _read(source, max(0, size - READ_AT_ONCE), size)
    if len(tail) < 12 or not tail.endswith(_MAGIC):
        raise pa.ArrowInvalid("it does not end as Parquet does: it is cut off, encrypted, or another kind of file")
    length = 8 + int.from_bytes(tail[-8:-4], "little")
    if length > size:
        raise pa.ArrowInvalid(f"its footer is said to be {length - 8} bytes long, and the file has {size}")
    return tail[-length:] if length <= len(tail) else _read(source, size - length, size)


def _read(source: Any, begin: int, end: int) -> bytes:
    source.seek(begin)
    data = bytes(source.read(end - begin))
    if len(data) != end - begin:
        raise pa.ArrowInvalid(f"it ends after {begin + len(data)} of {end} bytes")
    return data


@dataclass(frozen=True, slots=True)
class _Column:
    """What the schema says of a column. `width` is how many bytes a value has, 0 where that differs."""

    name: str
    type: str
    width: int
    repetitions: int
    definitions: int


def _check(footer: bytes, known: Any) -> None:
    """Raises ArrowInvalid."""
    columns = [_column(known.schema.column(place)) for place in range(len(known.schema))]
    reader = _Compact(footer)
    try:
        for field, kind in reader.fields():
            if (field, kind) == (_FILE_ROW_GROUPS, _LIST):
                for _ in reader.elements(_STRUCT):
                    _check_group(reader, columns)
            else:
                reader.value(kind, _FILE.get(field))
    except (IndexError, RecursionError):
        raise pa.ArrowInvalid("its footer ends before all of it is said, or says it in too many levels") from None


def _column(told: Any) -> _Column:
    width = told.length if told.physical_type == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(told.physical_type, 0)
    return _Column(told.path, told.physical_type, width, told.max_repetition_level + 1, told.max_definition_level + 1)


def _check_group(reader: _Compact, columns: Sequence[_Column]) -> None:
    count = 0
    for field, kind in reader.fields():
        if (field, kind) != (_GROUP_COLUMNS, _LIST):
            reader.value(kind, _GROUP.get(field))
            continue
        for _ in reader.elements(_STRUCT):
            chunk = reader.struct(_CHUNK)
            if count < len(columns):
                _check_chunk(chunk, columns[count])
            count += 1
    if count != len(columns):
        raise pa.ArrowInvalid(f"a row group has {count} columns, and its schema {len(columns)}")


def _check_chunk(said: dict[int, Any], column: _Column) -> None:
    if _CHUNK_CRYPTO in said:
        raise pa.ArrowInvalid(f"the column {column.name!r} is encrypted; write it as plain Parquet")
    told = said.get(_CHUNK_METADATA, {})
    number = told.get(_COLUMN_TYPE, -1)
    if not 0 <= number < len(_TYPES) or _TYPES[number] != column.type:
        raise pa.ArrowInvalid(f"a chunk of the column {column.name!r} is not {column.type}, as its schema says")
    ends = told.get(_COLUMN_STATISTICS, {})
    if any(len(end) < column.width for end in ends.values()):
        raise pa.ArrowInvalid(f"the least or the greatest value of the column {column.name!r} is cut off")
    sizes = told.get(_COLUMN_SIZES, {})
    for field, levels in ((_REPETITIONS, column.repetitions), (_DEFINITIONS, column.definitions)):
        if len(sizes.get(field, ())) not in (0, levels):
            raise pa.ArrowInvalid(f"the column {column.name!r} has {levels} levels, and its sizes are not of so many")
    if _UNENCODED in sizes and column.type != "BYTE_ARRAY":
        raise pa.ArrowInvalid(f"the column {column.name!r} has sizes as texts have them, and is {column.type}")


def _kind_of(wanted: _Wanted) -> int:
    if isinstance(wanted, int):
        return wanted
    return _STRUCT if isinstance(wanted, dict) else _LIST


class _Compact:
    """Thrift's compact protocol. Methods raise IndexError where the bytes end, ArrowInvalid for what is none.

    Nothing is made that is larger than the bytes by more than a factor.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """The number and the kind of each field of a struct, whose value is read before the next one."""
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._number()
            if not 0 < field < 1 << 15:
                raise pa.ArrowInvalid(f"its footer has a field with the number {field}")
            yield field, head & 15

    def elements(self, wanted: int) -> Iterator[None]:
        """As often as a list has elements, which are of this kind, and are read in between."""
        count, kind = self._list()
        if count and kind != wanted:
            raise pa.ArrowInvalid("its footer has a list of other things than it should")
        for _ in range(count):
            yield

    def struct(self, wanted: Mapping[int, _Wanted]) -> dict[int, Any]:
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

    def value(self, kind: int, wanted: _Wanted | None = None) -> Any:
        """What is read of it is what is wanted; without that it is passed by."""
        if kind == _BINARY:
            return self._bytes(self._varint())
        if _I16 <= kind <= _I64:
            return self._number()
        if kind == _STRUCT:
            return self.struct(wanted if isinstance(wanted, dict) else {})
        if kind == _LIST and isinstance(wanted, tuple):
            [inner] = wanted
            return [self.value(_kind_of(inner), inner) for _ in self.elements(_kind_of(inner))]
        if kind in (_LIST, _SET):
            return self._pass(*self._list())
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _MAP:
            count = self._varint()
            return self._pass(count, *divmod(self._byte(), 16)) if count else None
        raise pa.ArrowInvalid(f"its footer has a value of the kind {kind}, which is none")

    def _pass(self, count: int, *kinds: int) -> None:
        """So many elements of a list, or pairs of a map."""
        for _ in range(count):
            for kind in kinds:
                self._byte() if kind in (_TRUE, _FALSE) else self.value(kind)

    def _list(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4
        count = self._varint() if count == 15 else count
        if count > len(self._data) - self._place:  # An element has a byte at least.
            raise IndexError
        return count, head & 15

    def _byte(self) -> int:
        value = self._data[self._place]
        self._place += 1
        return value

    def _bytes(self, count: int) -> bytes:
        begin, self._place = self._place, self._place + count
        if self._place > len(self._data):
            raise IndexError
        return self._data[begin : self._place]

    def _number(self) -> int:
        """Zigzag."""
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _varint(self) -> int:
        value = self._byte()
        if value < 128:
            return value
        value &= 127
        for shift in range(7, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise pa.ArrowInvalid("its footer has a number of more than 64 bits")
