"""Avro files of strangers, read by fastavro behind bounds of ours.

fastavro believes what a file says: a record that holds itself ends the process, as its reader recurses in C, and ten bytes that
announce a terabyte take the memory before the first of it is missed. So the schema is read here first, and fastavro gets blocks
that are unpacked already, each no longer than what it came from can honestly be.

A default in the schema of a file is for readers whose schema has more fields, and changes nothing that it holds. Files of
Photon's time have defaults that Avro forbids and fastavro refuses (null of what is not null first), so all are taken out.
"""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ambry.errors import MALFORMED
from ambry.ml.extras import needed

SCHEMA_BYTES_MAX = 1 << 20
BLOCK_BYTES_MAX = 1 << 30
"""Of a block of records, packed or not."""
UNPACKED_BYTES = 64 << 20
"""A packed block may become so many, and more only up to PACKED_WELL times its size."""
PACKED_WELL = 20
"""What unpacks to more than this times its size is held against MEMORY_BYTES."""
MEMORY_BYTES = 1 << 30
"""What a well packed block may take as Python's values, or the whole file for a reader that gathers its records."""
DEPTH_MAX = 64
"""Of types within types."""
VALUES_MAX = 20_000
"""In one record, the items of lists and maps counted once: types that are named may stand for one another many times over."""

AVRO_HEADER = {
    "type": "record",
    "name": "Header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": 16}},
    ],
}
AVRO_MAGIC = b"Obj\x01"
_PIECE = 1 << 20
_ENTRY_BYTES = 100
"""Of a field in a dict, with its place and an ordinary value."""
_OBJECT_BYTES = 240


class NotAvro(ValueError):
    """A file of another kind, which no other copy of it would mend."""


@dataclass(frozen=True, slots=True)
class AvroFile:
    """`records` are read as they are asked for, and raise what `avro_errors` says where the file is torn."""

    schema: Any
    metadata: Mapping[str, bytes]
    records: Iterator[Any]


class _Cost(NamedTuple):
    """Of a value of a type, without the items of its lists."""

    least: int
    """Bytes in the file."""
    values: int
    memory: int
    """Bytes in Python."""
    per_byte: float
    """Bytes in Python that a byte in a file becomes at most, where lists are of the smallest items."""


def avro_errors() -> tuple[type[Exception], ...]:
    """What is raised of a file that is torn: codecs have classes of their own."""
    schema = needed("fastavro.schema")
    return (*MALFORMED, EOFError, zlib.error, lzma.LZMAError, schema.SchemaParseException, schema.UnknownType)


def read_avro(file: Any, *, gathered: bool = False) -> AvroFile:
    """An open file; `gathered` says that the caller keeps all its records.

    Raises NotAvro for a file of another kind; ValueError, TypeError and what `avro_errors` says, for one that is torn, whose
    types hold themselves or lie too deep, and whose few bytes would become many.
    """
    fastavro = needed("fastavro")
    if file.read(len(AVRO_MAGIC)) != AVRO_MAGIC:
        raise NotAvro("it does not begin as one does")
    header = fastavro.schemaless_reader(_Header(file, AVRO_MAGIC), AVRO_HEADER, None)
    meta = dict(header["meta"])
    schema = _without_defaults(json.loads(meta["avro.schema"]), 0)
    known: dict[str, Any] = {}
    cost = _Costs(known).of(fastavro.parse_schema(schema, known), 0)
    if cost.least == 0:
        raise ValueError("its records take no bytes, and could be of any number")
    codec = meta.get("avro.codec", b"null").decode()
    blocks = _blocks(file, codec, cost, gathered)
    plain = {**meta, "avro.schema": json.dumps(schema).encode(), "avro.codec": b"null"}
    reader = fastavro.reader(_Feed(_again({**header, "meta": plain}, blocks)))
    return AvroFile(reader.writer_schema, meta, reader)


def _again(header: dict[str, Any], blocks: Iterator[tuple[int, bytes, bytes]]) -> Iterator[bytes]:
    """A file that says the same, and is not packed."""
    yield _encoded(AVRO_HEADER, header)
    for count, data, marker in blocks:
        yield _encoded("long", count)
        yield _encoded("long", len(data))
        yield data
        yield marker


def _blocks(file: Any, codec: str, cost: _Cost, gathered: bool) -> Iterator[tuple[int, bytes, bytes]]:
    """Of each block how many records, their bytes, and the marker behind it.

    Raises ValueError; never EOFError, which fastavro takes for the end of the file.
    """
    unpack = _UNPACK.get(codec)
    if unpack is None:
        raise ValueError(f"its codec {codec!r} is not read; those that are: {', '.join(_UNPACK)}")
    stored = unpacked = 0
    memory = 0.0
    while (count := _long(file)) is not None:
        size = _long(file)
        if size is None:
            raise ValueError("it ends within a block")
        if count < 0 or size < 0:
            raise ValueError("it says a length that is negative")
        if size > BLOCK_BYTES_MAX:
            raise ValueError(f"it says that {size} bytes follow, and a block has at most {BLOCK_BYTES_MAX}")
        packed = _exactly(file, size)
        data = unpack(packed, min(BLOCK_BYTES_MAX, max(UNPACKED_BYTES, PACKED_WELL * size)))
        if count * cost.least > len(data):
            raise ValueError(
                f"it says that {count} records follow in {len(data)} bytes, and each takes {cost.least} or more"
            )
        if not gathered:
            stored = unpacked = 0
            memory = 0.0
        stored, unpacked = stored + size, unpacked + len(data)
        memory += count * cost.memory + len(data) * cost.per_byte
        if unpacked > PACKED_WELL * stored and memory > MEMORY_BYTES:
            raise ValueError(
                f"{stored} of its bytes would become {unpacked}, and those up to {int(memory) >> 20} MiB of memory; "
                "written without a codec it would be read"
            )
        yield count, data, _exactly(file, 16)


def _unpacked(make: Callable[[], Any], packed: bytes, most: int) -> bytes:
    """Raises ValueError for more than `most` bytes, and where the packed bytes are torn."""
    unpacking = make()
    data: bytes = unpacking.decompress(packed, most + 1)
    if len(data) > most:
        raise ValueError(f"a block of {len(packed)} bytes would become more than {most}")
    if not unpacking.eof:
        raise ValueError("a block is torn")
    return data


def _as_it_is(packed: bytes, most: int) -> bytes:
    return packed


def _deflate(packed: bytes, most: int) -> bytes:
    return _unpacked(lambda: zlib.decompressobj(-15), packed, most)


def _bzip2(packed: bytes, most: int) -> bytes:
    return _unpacked(bz2.BZ2Decompressor, packed, most)


def _xz(packed: bytes, most: int) -> bytes:
    return _unpacked(lambda: lzma.LZMADecompressor(memlimit=BLOCK_BYTES_MAX), packed, most)


def _snappy(packed: bytes, most: int) -> bytes:
    """The size stands at its beginning, and a CRC-32 at its end."""
    size = shift = 0
    for byte in packed[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > most:
        raise ValueError(f"a block of {len(packed)} bytes would become {size}, more than {most}")
    data: bytes = needed("pyarrow").Codec("snappy").decompress(packed[:-4], size, asbytes=True)
    if zlib.crc32(data) != int.from_bytes(packed[-4:], "big"):
        raise ValueError("a block is torn")
    return data


def _zstandard(packed: bytes, most: int) -> bytes:
    arrow = needed("pyarrow")
    try:
        with arrow.CompressedInputStream(arrow.BufferReader(packed), "zstd") as stream:
            data: bytes = stream.read(most + 1)
    except OSError as error:
        raise ValueError(f"a block is torn: {error}") from None
    if len(data) > most:
        raise ValueError(f"a block of {len(packed)} bytes would become more than {most}")
    return data


_UNPACK: dict[str, Callable[[bytes, int], bytes]] = {
    "null": _as_it_is,
    "deflate": _deflate,
    "bzip2": _bzip2,
    "xz": _xz,
    "snappy": _snappy,
    "zstandard": _zstandard,
}


def _long(file: Any) -> int | None:
    """A number as Avro writes it; None at the end of the file. Raises ValueError."""
    number, shift = 0, 0
    while byte := file.read(1):
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            told: int = (number >> 1) ^ -(number & 1)
            return told
        shift += 7
        if shift > 63:
            raise ValueError("a number in it has more than 64 bits")
    if shift:
        raise ValueError("it ends within a number")
    return None


def _exactly(file: Any, size: int) -> bytes:
    """Bytes of the file, in pieces: what is announced takes no memory before it is there. Raises ValueError."""
    pieces = []
    while size > 0:
        piece = file.read(min(size, _PIECE))
        if not piece:
            raise ValueError("it ends within a block")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _encoded(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    needed("fastavro").schemaless_writer(out, schema, value)
    return out.getvalue()


def _without_defaults(schema: Any, depth: int) -> Any:
    """Raises ValueError for types that lie too deep."""
    if depth > DEPTH_MAX:
        raise ValueError(f"its types lie more than {DEPTH_MAX} deep")
    if isinstance(schema, list):
        return [_without_defaults(each, depth + 1) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name != "default"}
    for name in ("type", "items", "values"):
        if name in kept:
            kept[name] = _without_defaults(kept[name], depth + 1)
    if isinstance(kept.get("fields"), list):
        kept["fields"] = [_without_defaults(each, depth + 1) for each in kept["fields"]]
    return kept


class _Costs:
    """What values of the types of a schema take; `known` are the types by name, as fastavro parsed them."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known
        self._told: dict[str, _Cost] = {}
        self._within: set[str] = set()

    def of(self, schema: Any, depth: int) -> _Cost:
        """Raises ValueError for types that hold themselves, that lie too deep, and lists of what takes no bytes."""
        if depth > DEPTH_MAX:
            raise ValueError(f"its types lie more than {DEPTH_MAX} deep")
        if isinstance(schema, list):
            each = [self.of(one, depth + 1) for one in schema]
            return _Cost(
                1 + min((one.least for one in each), default=0),
                max((one.values for one in each), default=1),
                max((one.memory for one in each), default=0),
                max((one.per_byte for one in each), default=0.0),
            )
        if isinstance(schema, str):
            return self._named(schema, depth) if schema in self._known else _plain(schema)
        kind = schema["type"]
        if kind in ("array", "map"):
            return self._items(self.of(schema["items" if kind == "array" else "values"], depth + 1), kind)
        if kind == "fixed":
            return _Cost(int(schema["size"]), 1, _ENTRY_BYTES, 1.0)
        if kind in ("record", "error"):
            return self._named(schema["name"], depth)
        return self.of(kind, depth + 1) if isinstance(kind, dict | list) or kind in self._known else _plain(kind)

    def _items(self, item: _Cost, kind: str) -> _Cost:
        least = item.least + (kind == "map")
        if least == 0:
            raise ValueError("it has lists of what takes no bytes, which could be of any length")
        return _Cost(1, item.values + 1, _OBJECT_BYTES, max(item.per_byte, (item.memory + _ENTRY_BYTES) / least))

    def _named(self, name: str, depth: int) -> _Cost:
        if name in self._within:
            raise ValueError(f"its type {name!r} holds itself, and so its values could be of any depth")
        if name not in self._told:
            self._within.add(name)
            self._told[name] = self._of_named(self._known[name], depth)
            self._within.remove(name)
        return self._told[name]

    def _of_named(self, schema: Any, depth: int) -> _Cost:
        if schema["type"] not in ("record", "error"):
            return _plain("int") if schema["type"] == "enum" else self.of(schema, depth)
        each = [self.of(field["type"], depth + 1) for field in schema["fields"]]
        values = 1 + sum(one.values for one in each)
        if values > VALUES_MAX:
            raise ValueError(f"a value of its type {schema['name']!r} has more than {VALUES_MAX} values in it")
        return _Cost(
            sum(one.least for one in each),
            values,
            _OBJECT_BYTES + sum(one.memory for one in each) + _ENTRY_BYTES * len(each),
            max((one.per_byte for one in each), default=0.0),
        )


def _plain(kind: str) -> _Cost:
    """Of a type that is not made of others. A text may have four bytes in memory for one in the file."""
    least = {"null": 0, "float": 4, "double": 8}.get(kind, 1)
    return _Cost(least, 1, 0 if kind in ("null", "boolean") else 32, 4.0 if kind in ("string", "bytes") else 0.0)


class _Header:
    """A file, as far as its header may go, with what was read of it already."""

    def __init__(self, file: Any, first: bytes) -> None:
        self._file, self._left, self._first = file, SCHEMA_BYTES_MAX, first

    def read(self, count: int) -> bytes:
        """Raises ValueError beyond that, and for a length that no value has."""
        if count < 0:
            raise ValueError("it says a length that is negative")
        self._left -= count
        if self._left < 0:
            raise ValueError("its header is longer than a header is")
        first, self._first = self._first[:count], self._first[count:]
        data: bytes = first + self._file.read(count - len(first))
        return data


class _Feed:
    """Pieces of bytes as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._now = pieces, io.BytesIO()

    def read(self, count: int) -> bytes:
        data = self._now.read(count)
        while len(data) < count and (piece := next(self._pieces, None)) is not None:
            if not data and len(piece) == count:
                return piece
            self._now = io.BytesIO(piece)
            data += self._now.read(count - len(data))
        return data
