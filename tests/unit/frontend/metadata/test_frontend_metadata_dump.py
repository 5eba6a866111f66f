"""The bytes of a dump, and dumps that are cut off, changed, put together or of tomorrow."""

from __future__ import annotations

import io
import struct

import pytest

from ambry.errors import AmbryError, DataCorrupt, FormatUnknown
from frontend.metadata.dump import Block, DumpEnd, DumpHeader, DumpWriter, read_dump
from frontend.metadata.store import LocalRow, Stamp, Version

HEADER = DumpHeader("c", 3, 1 << 40)
VERSIONS = [Version(5, (1 << 64) - 1, b"k\xff", Stamp(9, 3), None, 0), Version(8, 0, b"a", Stamp(10, 4), b"", 0)]
ROWS = [LocalRow(1, b"i", b"x", None), LocalRow(6, b"l", b"", 5)]


def made() -> bytes:
    writer = DumpWriter()
    return b"".join(
        [
            writer.start(),
            writer.header(HEADER),
            writer.locals(ROWS),
            writer.versions(VERSIONS),
            writer.end(DumpEnd(versions=2, locals=2)),
        ]
    )


def read(raw: bytes) -> list[Block]:
    return list(read_dump(io.BytesIO(raw).read))


def test_a_dump_has_these_bytes() -> None:
    start = b"AMBRMETA\x00\x01"
    header = b"\x83\xa7cluster\xa1c\xaadatacenter\x03\xaamade_at_ms\xcf\x00\x00\x01\x00\x00\x00\x00\x00"
    raw = made()
    assert raw[:15] == start + b"\x01" + struct.pack(">I", len(header))
    assert raw[15 : 15 + len(header)] == header


def test_what_goes_in_comes_out() -> None:
    assert read(made()) == [HEADER, ROWS, VERSIONS, DumpEnd(versions=2, locals=2)]


@pytest.mark.parametrize("cut", range(len(made())))
def test_a_dump_cut_anywhere_is_not_whole(cut: int) -> None:
    with pytest.raises(DataCorrupt):
        read(made()[:cut])


@pytest.mark.parametrize("at", range(len(made())))
def test_a_byte_changed_anywhere_is_noticed(at: int) -> None:
    raw = bytearray(made())
    raw[at] ^= 0x40
    with pytest.raises((DataCorrupt, FormatUnknown)):
        read(bytes(raw))


def test_blocks_cannot_be_left_out_or_come_of_another_dump() -> None:
    writer = DumpWriter()
    parts = [writer.start(), writer.header(HEADER), writer.locals(ROWS), writer.versions(VERSIONS)]
    end = writer.end(DumpEnd(versions=2, locals=2))
    for wrong in (
        [parts[0], parts[1], parts[3], end],
        [*parts[:3], parts[2], parts[3], end],
        [parts[0], parts[1], parts[3], parts[2], end],
    ):
        with pytest.raises(DataCorrupt, match="fails its check"):
            read(b"".join(wrong))


@pytest.mark.parametrize(
    ("raw", "error"), [(b"AMBRMETA\x00\x02", FormatUnknown), (b"", DataCorrupt), (b"x" * 99, DataCorrupt)]
)
def test_what_is_no_dump_of_this_release_is_refused(raw: bytes, error: type[AmbryError]) -> None:
    with pytest.raises(error):
        read(raw)
