"""Footers of Parquet, looked through before pyarrow makes objects of what they say of columns.

What pyarrow tells of a column chunk (`metadata.row_group(0).column(0)`, and its statistics) comes out of C++ without a way for
errors: where a footer does not agree with itself, the process ends (SIGABRT). These are the things that it looks at there, and
here they raise before it does: the type of a chunk, the lengths of its least and greatest value and of its counts of levels,
and whether it is encrypted. The footer is Thrift in its compact form: https://parquet.apache.org/docs/file-format/metadata/

Chunks that are written as one before are recognised at once (alike_structs.py): of 100,000 all takes about twice what pyarrow
takes to read the footer, where field by field it was 27 times.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ambry.ml.alike_structs import AlikeStructs, FieldPath
from ambry.ml.compact_thrift import BINARY, I32, I64, LIST, STRUCT, CompactThrift, Wanted

READ_AT_ONCE = 64 << 10
"""Bytes at the end of a file, in which most footers lie."""
_MAGIC = b"PAR1"
_TYPES = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
# Fields of parquet.thrift by their numbers. With all lists that there are: C++ takes their elements for what they should be,
# whatever the bytes say.
_FILE: dict[int, Wanted] = {2: ({},), 5: ({},), 7: ({},)}
_FILE_ROW_GROUPS = 4
_GROUP: dict[int, Wanted] = {4: ({},)}
_GROUP_COLUMNS = 1
_STATISTICS: dict[int, Wanted] = {1: BINARY, 2: BINARY, 5: BINARY, 6: BINARY}
_UNENCODED, _REPETITIONS, _DEFINITIONS = 1, 2, 3
_SIZES: dict[int, Wanted] = {_UNENCODED: I64, _REPETITIONS: (I64,), _DEFINITIONS: (I64,)}
_COLUMN_TYPE, _COLUMN_STATISTICS, _COLUMN_SIZES = 1, 12, 16
_COLUMN: dict[int, Wanted] = {
    _COLUMN_TYPE: I32,
    2: (I32,),
    3: (BINARY,),
    8: ({},),
    _COLUMN_STATISTICS: _STATISTICS,
    13: ({},),
    _COLUMN_SIZES: _SIZES,
    17: {2: (I32,)},
}
_CHUNK_METADATA, _CHUNK_CRYPTO = 3, 8
_CHUNK: dict[int, Wanted] = {_CHUNK_METADATA: _COLUMN, _CHUNK_CRYPTO: {2: {1: (BINARY,)}}}


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

    @property
    def kind(self) -> tuple[Any, ...]:
        """What chunks are compared with: those of columns of one kind are looked through alike."""
        return self.type, self.width, self.repetitions, self.definitions

    @property
    def compared(self) -> set[FieldPath]:
        ends = {(_CHUNK_METADATA, _COLUMN_STATISTICS, field) for field in _STATISTICS} if self.width else set()
        return {(_CHUNK_METADATA, _COLUMN_TYPE), *ends}


def _check(footer: bytes, known: Any) -> None:
    """Raises ArrowInvalid."""
    kinds: dict[tuple[Any, ...], AlikeStructs] = {}
    columns = []
    for place in range(len(known.schema)):
        column = _column(known.schema.column(place))
        alike = kinds.get(column.kind) or kinds.setdefault(column.kind, AlikeStructs(column.compared))
        columns.append((column, alike))
    reader = CompactThrift(footer)
    try:
        for field, kind in reader.fields():
            if (field, kind) == (_FILE_ROW_GROUPS, LIST):
                for _ in reader.elements(STRUCT):
                    _check_group(footer, reader, columns)
            else:
                reader.value(kind, _FILE.get(field))
    except (IndexError, RecursionError):
        raise pa.ArrowInvalid("its footer ends before all of it is said, or says it in too many levels") from None


def _column(told: Any) -> _Column:
    width = told.length if told.physical_type == "FIXED_LEN_BYTE_ARRAY" else _WIDTHS.get(told.physical_type, 0)
    return _Column(told.path, told.physical_type, width, told.max_repetition_level + 1, told.max_definition_level + 1)


def _check_group(footer: bytes, reader: CompactThrift, columns: Sequence[tuple[_Column, AlikeStructs]]) -> None:
    count = 0
    for field, kind in reader.fields():
        if (field, kind) != (_GROUP_COLUMNS, LIST):
            reader.value(kind, _GROUP.get(field))
            continue
        for _ in reader.elements(STRUCT):
            if count == len(columns):
                raise pa.ArrowInvalid(f"a row group has more columns than its schema, which has {count}")
            column, alike = columns[count]
            begin = reader.place
            if (end := alike.end(footer, begin)) is not None:
                reader.place = end
            else:
                _check_chunk(reader.struct(_CHUNK), column)
                alike.looked_through(footer, begin)
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
