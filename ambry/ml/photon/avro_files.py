"""Avro files as Photon has them, read with more patience than fastavro and written the same for the same.

Schemas of Photon's time have defaults that Avro forbids (null of what is not null first), which fastavro refuses. A default is
for readers whose schema has more fields than the writer's, and so none in a file's own header changes what it holds: they are
taken out of it before fastavro sees it.

What is written has no compression, so that a record lies in the file as it is, and a marker between blocks that is made of the
content: the same records are the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.files import opened
from ambry.ml.sources.foreign import foreign

BLOCK_BYTES = 64_000
SCHEMA_BYTES_MAX = 1 << 20
READ_BYTES_MAX = 1 << 30
"""Of a block of records."""
DEPTH_MAX = 64
"""Of types within types."""
TO_DO = "fetch or write it again"

_HEADER = {
    "type": "record",
    "name": "Header",
    "fields": [
        {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": 4}},
        {"name": "meta", "type": {"type": "map", "values": "bytes"}},
        {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": 16}},
    ],
}
_MAGIC = b"Obj\x01"


def avro_errors() -> tuple[type[Exception], ...]:
    """What is raised of a file that is torn, besides what Python has: codecs have classes of their own."""
    return (zlib.error, needed("fastavro.schema").SchemaParseException, needed("fastavro.schema").UnknownType)


@contextmanager
def avro_records(place: str | Path) -> Iterator[tuple[dict[str, Any], Iterator[dict[str, Any]]]]:
    """The schema of a file or URL, and its records as they are read. Raises InvalidRequest for what is no such file."""
    with foreign(f"{place} is no Avro file of records", TO_DO, *avro_errors()), opened(place) as file:
        reader = needed("fastavro").reader(_patient(file))
        schema = reader.writer_schema

        def told() -> Iterator[dict[str, Any]]:
            with foreign(f"{place} cannot be read to its end", TO_DO, *avro_errors()):
                yield from reader

        yield schema, told()


def container(schema: dict[str, Any], records: Iterable[bytes]) -> tuple[bytes, list[tuple[int, int]]]:
    """A whole file of records that are encoded already, and where each of them lies in it: offset and size in bytes."""
    records = list(records)
    marker = hashlib.sha256(b"".join(records)).digest()[:16]
    out = io.BytesIO()
    meta = {"avro.codec": b"null", "avro.schema": json.dumps(schema, separators=(",", ":")).encode()}
    _encode(out, _HEADER, {"magic": _MAGIC, "meta": meta, "sync": marker})
    places: list[tuple[int, int]] = []
    for block in _blocks(records):
        _encode(out, "long", len(block))
        _encode(out, "long", sum(map(len, block)))
        for record in block:
            places.append((out.tell(), len(record)))
            out.write(record)
        out.write(marker)
    return out.getvalue(), places


def encoder(schema: dict[str, Any]) -> Any:
    """What encodes one record of a schema, as bytes."""
    fastavro = needed("fastavro")
    parsed = fastavro.parse_schema(schema)

    def encode(record: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        try:
            fastavro.schemaless_writer(out, parsed, record)
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"{error.object!r} is no text that Avro holds: {error.reason}") from None
        return out.getvalue()

    return encode


def _blocks(records: list[bytes]) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    size = 0
    for record in records:
        if block and size + len(record) > BLOCK_BYTES:
            yield block
            block, size = [], 0
        block.append(record)
        size += len(record)
    if block:
        yield block


def _encode(out: Any, schema: Any, value: Any) -> None:
    needed("fastavro").schemaless_writer(out, schema, value)


def _patient(file: Any) -> Any:
    """The file, with a schema that fastavro reads. Raises ValueError for one that could make much of few bytes."""
    if file.read(4) != _MAGIC:
        raise ValueError("it does not begin as one does")
    bounded = _Bounded(file, SCHEMA_BYTES_MAX)
    bounded.put_back(_MAGIC)
    header = needed("fastavro").schemaless_reader(bounded, _HEADER, None)
    schema = json.loads(header["meta"]["avro.schema"])
    _check_sizes(schema, {}, 0)
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise TypeError("its values are no records")
    header["meta"]["avro.schema"] = json.dumps(_without_defaults(schema)).encode()
    out = io.BytesIO()
    _encode(out, _HEADER, header)
    return _Bounded(file, None, out.getvalue())


def _without_defaults(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_defaults(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name != "default"}
    for name in ("type", "items", "values"):
        if name in kept:
            kept[name] = _without_defaults(kept[name])
    if isinstance(kept.get("fields"), list):
        kept["fields"] = [_without_defaults(each) for each in kept["fields"]]
    return kept


def _check_sizes(schema: Any, sizes: dict[str, int], depth: int) -> int:
    """The least bytes that a value takes. Raises ValueError for lists of what takes none, which could be of any length."""
    if depth > DEPTH_MAX:
        raise ValueError(f"its types lie more than {DEPTH_MAX} deep")
    if isinstance(schema, list):
        for each in schema:
            _check_sizes(each, sizes, depth + 1)
        return 1
    if not isinstance(schema, dict):
        return 0 if schema == "null" else sizes.get(str(schema).rpartition(".")[2], 1)
    kind = schema.get("type")
    if kind in ("array", "map"):
        if _check_sizes(schema.get("items", schema.get("values")), sizes, depth + 1) == 0 and kind == "array":
            raise ValueError("it has lists of what takes no bytes, which could be of any length")
        return 1
    name = str(schema.get("name", "")).rpartition(".")[2]
    if kind == "fixed":
        sizes[name] = 1 if int(schema["size"]) else 0
        return sizes[name]
    if kind in ("record", "error"):
        sizes[name] = 0
        sizes[name] = max((_check_sizes(each["type"], sizes, depth + 1) for each in schema["fields"]), default=0)
        return sizes[name]
    return 1 if kind == "enum" else _check_sizes(kind, sizes, depth + 1)


class _Bounded:
    """A stream that begins with some bytes of our own, and may be read up to a bound."""

    def __init__(self, file: Any, most: int | None, first: bytes = b"") -> None:
        self._file, self._left, self._first = file, most, first

    def put_back(self, data: bytes) -> None:
        self._first = data + self._first

    def read(self, count: int = -1) -> bytes:
        """Raises ValueError beyond the bound, and for a length that no value has."""
        if count < 0:
            raise ValueError("it says a length that is negative")
        if count > READ_BYTES_MAX:
            raise ValueError(f"it says that {count} bytes follow, and a block has at most {READ_BYTES_MAX}")
        if self._left is not None:
            self._left -= count
            if self._left < 0:
                raise ValueError("its header is longer than a header is")
        own, self._first = self._first[:count], self._first[count:]
        return own if len(own) == count else own + self._file.read(count - len(own))
