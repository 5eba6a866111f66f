"""Avro files as Photon has them, read with the patience of avro_reading.py and written the same for the same.

What is written has no compression, so that a record lies in the file as it is, and a marker between blocks that is made of the
content: the same records are the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.avro_reading import AVRO_HEADER, AVRO_MAGIC, NotAvro, avro_errors, read_avro
from ambry.ml.extras import needed
from ambry.ml.files import opened
from ambry.ml.place_errors import place_told
from ambry.ml.sources.foreign import foreign
from ambry.ml.stored_files import FilePlace
from ambry.shown_urls import shown_place

BLOCK_BYTES = 64_000
TO_DO = "fetch or write it again"


@contextmanager
def avro_records(
    place: FilePlace, instead: str = TO_DO, *, seen: Callable[[bytes], object] | None = None
) -> Iterator[tuple[dict[str, Any], Iterator[dict[str, Any]]]]:
    """The schema of a file or URL, and its records as they are read. Raises InvalidRequest for what is no such file: `instead`
    says what to do where it is of another kind, and not torn. `seen` is given the bytes of the file in their order, all of
    them where all records are read.
    """
    shown = shown_place(place)
    with (
        foreign(f"{shown} is no Avro file of records", TO_DO, *avro_errors()),
        place_told(place),
        opened(place) as file,
    ):
        try:
            read = read_avro(file if seen is None else _Seen(file, seen))
        except NotAvro as error:
            raise InvalidRequest(f"{shown} is no Avro file of records: {error}; {instead}") from error
        if not isinstance(read.schema, dict) or read.schema.get("type") != "record":
            raise TypeError("its values are no records")

        def told() -> Iterator[dict[str, Any]]:
            with foreign(f"{shown} cannot be read to its end", TO_DO, *avro_errors()), place_told(place):
                yield from read.records

        yield read.schema, told()


class _Seen:
    """A file whose bytes somebody else is given too."""

    def __init__(self, file: Any, seen: Callable[[bytes], object]) -> None:
        self._file, self._seen = file, seen

    def read(self, count: int) -> bytes:
        data: bytes = self._file.read(count)
        self._seen(data)
        return data


def container(schema: dict[str, Any], records: Iterable[bytes]) -> tuple[bytes, list[tuple[int, int]]]:
    """A whole file of records that are encoded already, and where each of them lies in it: offset and size in bytes."""
    records = list(records)
    marker = hashlib.sha256(b"".join(records)).digest()[:16]
    out = io.BytesIO()
    meta = {"avro.codec": b"null", "avro.schema": json.dumps(schema, separators=(",", ":")).encode()}
    _encode(out, AVRO_HEADER, {"magic": AVRO_MAGIC, "meta": meta, "sync": marker})
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
