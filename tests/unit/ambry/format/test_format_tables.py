"""The offset tables in the docstrings are what the code does: each is read and compared with encoded bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType

import pytest

from ambry import ids
from ambry.blob import BlobState, ChunkRef, Composite
from ambry.checksum import block_checks, digest, xxh64
from ambry.format import composite, record, segment
from ambry.format.record import Record, RecordKind
from ambry.format.segment import SegmentFooter, SegmentHeader
from ambry.ids import BlobId, IdKind
from ambry.protocol import frame
from datanode.store import entry
from datanode.store.entry import IndexEntry

ROW = re.compile(r"^    (\d+)\s+(\d+|n)\s+(\w+)\b")
Row = tuple[int, int, str]


def tables(module: ModuleType) -> list[list[Row]]:
    """The offset tables of a module's docstring: (offset, size, field)."""
    found: list[list[Row]] = []
    inside = False
    for line in (module.__doc__ or "").splitlines():
        if line.strip().startswith("offset") and "size" in line and "field" in line:
            found.append([])
            inside = True
        elif inside and (match := ROW.match(line)):
            offset, size, name = match.groups()
            found[-1].append((int(offset), int(size) if size != "n" else -1, name))
        elif inside and line.strip() and not line.startswith("     "):
            inside = False
    return found


def check(table: list[Row], total: int, image: bytes, expected: Mapping[str, bytes]) -> None:
    """The table leaves no gap, ends at `total`, and names for each field the bytes that it has in `image`."""
    at = 0
    for offset, size, name in table:
        assert offset == at, f"{name} stands at {offset} after fields that end at {at}"
        at += size
        if name == "reserved":
            assert image[offset : offset + size] == bytes(size)
        else:
            assert image[offset : offset + size] == expected[name], name
    assert at == total
    assert {name for _, _, name in table} - {"reserved"} == set(expected)


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def test_the_table_of_blob_ids() -> None:
    uuid = bytes(range(16))
    made = BlobId.make(kind=IdKind.CHUNK, datacenter=0x1112, account=0x21, container=0x31, partition=0x41, uuid=uuid)
    (table,) = tables(ids)
    check(
        table,
        ids.ID_SIZE,
        made.raw,
        {
            "version": b"\x01",
            "kind": b"\x02",
            "datacenter": b"\x11\x12",
            "account": number(0x21, 4),
            "container": number(0x31, 4),
            "partition": number(0x41, 4),
            "uuid": uuid,
            "checksum": number(xxh64(made.raw[:32]) & 0xFFFFFFFF, 4),
        },
    )


def test_the_table_of_record_headers() -> None:
    payload = b"x" * 9
    sample = Record(
        kind=RecordKind.CHUNK,
        id=bytes(range(36)),
        state=BlobState(0x51, True, 0x61),
        written_at_ms=0x71,
        properties=b"pp",
        metadata=b"mmm",
        digest=digest(payload),
        checks=block_checks(payload),
        payload=payload,
        features=0x9192,
        tag_size=16,
        tags=b"t" * 16,
    )
    image = record.encode(sample, 0x81)
    # "Then, without gaps: blob id (36), properties, user metadata, checks, tags, zeros to a multiple of 8, payload."
    body = sample.id + b"pp" + b"mmm" + bytes(sample.checks) + b"t" * 16 + bytes(6)
    (table,) = tables(record)
    check(
        table,
        record.HEADER_SIZE,
        image,
        {
            "magic": b"AMBR",
            "version": b"\x01",
            "kind": b"\x03",
            "flags": b"\x00\x01",
            "life_version": number(0x51, 4),
            "properties_size": number(2, 4),
            "metadata_size": number(3, 4),
            "payload_size": number(9, 4),
            "lsn": number(0x81, 8),
            "written_at_ms": number(0x71, 8),
            "expires_at_ms": number(0x61, 8),
            "digest": digest(payload),
            "features": b"\x91\x92",
            "tag_size": b"\x10",
            "body_check": number(xxh64(body), 8),
            "header_check": number(xxh64(image[:80]), 8),
        },
    )
    assert image[record.HEADER_SIZE :] == body + payload
    assert len(image) % 8 == 0


def test_the_tables_of_composites() -> None:
    image = composite.encode(Composite(total_size=0x91, chunks=(ChunkRef(b"i" * 36, 0x91, b"d" * 16),)))
    head, item = tables(composite)
    check(
        head,
        composite.HEADER_SIZE,
        image,
        {"version": b"\x00\x01", "features": bytes(2), "chunk_count": number(1, 4), "total_size": number(0x91, 8)},
    )
    check(
        item,
        composite.ENTRY_SIZE,
        image[composite.HEADER_SIZE :],
        {"id": b"i" * 36, "size": number(0x91, 4), "digest": b"d" * 16},
    )


def test_the_table_of_segment_headers() -> None:
    image = segment.encode(
        SegmentHeader(
            partition=1, incarnation=b"i" * 16, base_lsn=2, end_lsn=5, capacity_bytes=3, created_at_ms=4, generation=6
        )
    )
    header, _ = tables(segment)
    check(
        header,
        segment.HEADER_SIZE,
        image,
        {
            "magic": b"AMBRYSEG",
            "version": b"\x00\x01",
            "features": bytes(2),
            "partition": number(1, 4),
            "incarnation": b"i" * 16,
            "base_lsn": number(2, 8),
            "end_lsn": number(5, 8),
            "capacity_bytes": number(3, 8),
            "created_at_ms": number(4, 8),
            "generation": number(6, 4),
            "checksum": number(xxh64(image[:120]), 8),
        },
    )


def test_the_table_of_segment_footers() -> None:
    salt = 0x0123456789ABCDEF
    image = segment.encode_footer(SegmentFooter(base_lsn=2, end_lsn=3, end_offset=4), salt)
    _, footer = tables(segment)
    check(
        footer,
        segment.FOOTER_SIZE,
        image,
        {
            "magic": b"AMBRYEND",
            "version": b"\x00\x01",
            "features": bytes(2),
            "base_lsn": number(2, 8),
            "end_lsn": number(3, 8),
            "end_offset": number(4, 8),
            "checksum": number(xxh64(image[:40], salt), 8),
        },
    )


def test_the_table_of_frames() -> None:
    image = frame.encode_head(
        frame.MessageType.PUT, 0x1234, b"hh", b"body", flags=frame.FLAG_REPLY, timeout_ms=0x5678, sent_ms=0x9ABC
    )
    (table,) = tables(frame)
    check(
        table,
        frame.PREFIX_SIZE,
        image,
        {
            "magic": b"\xa3\xbc",
            "version": b"\x01",
            "type": b"\x03",
            "flags": b"\x01",
            "timeout_ms": number(0x5678, 4),
            "header_size": number(2, 4),
            "body_size": number(4, 4),
            "sent_ms": number(0x9ABC, 4),
            "correlation": number(0x1234, 8),
            "checksum": number(xxh64(image[:32] + image[40:]), 8),
        },
    )
    assert image[40:] == b"hh" + block_checks(b"body")


def test_the_table_of_index_entries() -> None:
    blob_id = BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=2, container=3, partition=4, uuid=b"u" * 16).raw
    image = entry.encode(IndexEntry(blob_id, 0x11, 0x22, 0x33, 0x44, 0x55, BlobState(0x66, True, 0x77), 0x88, True))
    (table,) = tables(entry)
    check(
        table,
        entry.VALUE_SIZE,
        image,
        {
            "version": b"\x01",
            "flags": b"\x03",
            "id_prefix": blob_id[:12],
            "lsn": number(0x11, 8),
            "segment": number(0x22, 4),
            "offset": number(0x33, 4),
            "size": number(0x44, 4),
            "payload_size": number(0x55, 4),
            "life_version": number(0x66, 4),
            "expires_at_ms": number(0x77, 8),
            "changed_at_ms": number(0x88, 6),
            "checksum": number(xxh64(b"u" * 16 + image[:56]) & 0xFFFFFFFF, 4),
        },
    )


@pytest.mark.parametrize(
    "wrong",
    [
        [(0, 2, "version"), (3, 4, "size")],  # a hole
        [(0, 2, "version"), (1, 4, "size")],  # an overlap
        [(0, 2, "size"), (2, 4, "version")],  # two fields exchanged
        [(0, 2, "version")],  # one missing
    ],
)
def test_a_wrong_table_is_noticed(wrong: list[Row]) -> None:
    image = b"\x00\x01\x00\x00\x00\x09"
    fields = {"version": image[:2], "size": image[2:]}
    check([(0, 2, "version"), (2, 4, "size")], 6, image, fields)
    with pytest.raises(AssertionError):
        check(wrong, 6, image, fields)
