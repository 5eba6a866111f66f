"""Records of a log: the bytes never change, and damage never gets through."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import BLOCK_SIZE, block_checks, digest, xxh64
from ambry.errors import AmbryError, DataCorrupt, FormatUnknown
from ambry.format import record as record_format
from ambry.format.record import HEADER_SIZE, Head, Header, Record, RecordKind

ID = bytes.fromhex("0100000100000002000000030000000701020304050670008000000000000000") + b"idck"
BLOB = Record(
    kind=RecordKind.BLOB,
    id=ID,
    state=BlobState(0, False, NEVER_MS),
    written_at_ms=0x0102030405060708,
    properties=b"\x01\x80",
    metadata=b"\x01\x81\xa1k\xa1v",
    digest=digest(b"payload"),
    checks=block_checks(b"payload"),
    payload=b"payload",
)
UPDATE = Record(kind=RecordKind.UPDATE, id=ID, state=BlobState(3, True, 5), written_at_ms=9)
CHUNK = Record(
    kind=RecordKind.CHUNK,
    id=ID,
    state=BlobState(0, False, 5),
    written_at_ms=9,
    properties=b"\x01\x80",
    digest=digest(b"c" * 4),
    checks=block_checks(b"c" * 4),
    payload=b"c" * 4,
)
COMPOSITE = Record(
    kind=RecordKind.COMPOSITE,
    id=ID,
    state=BlobState(0, False, 5),
    written_at_ms=9,
    digest=digest(b""),
)
LSN = 0x1122334455667788
IMAGE = record_format.encode(BLOB, LSN)
WHOLE = HEADER_SIZE + 36 + 2 + 6 + 8 + 7
"""Bytes of BLOB without its padding."""

GOLDEN = {
    "blob": (
        BLOB,
        "414d42520101000000000000000000020000000600000007112233445566778801020304050607087fffffffffffffff"
        "f3d6e72eb800dea99613f8bbf13ce4e56b67934b4a76247b770d23fb667dff7001000001000000020000000300000007"
        "010203040506700080000000000000006964636b01800181a16ba17632fe61f05b2d8d7b7061796c6f61640000000000",
    ),
    "update": (
        UPDATE,
        "414d42520104000100000003000000000000000000000000112233445566778800000000000000090000000000000005"
        "000000000000000000000000000000006bbf2af96e230619288eb8d0758339a001000001000000020000000300000007"
        "010203040506700080000000000000006964636b00000000",
    ),
    "chunk": (
        CHUNK,
        "414d42520103000000000000000000020000000000000004112233445566778800000000000000090000000000000005"
        "4690fd172673992446fbacd6976851560a23294335663c327b8bd7ff9cb647af01000001000000020000000300000007"
        "010203040506700080000000000000006964636b01809bc2cdd3c2c2dd4563636363000000000000",
    ),
    "composite": (
        COMPOSITE,
        "414d42520102000000000000000000000000000000000000112233445566778800000000000000090000000000000005"
        "99aa06d3014798d86001c324468d497f6bbf2af96e2306191de30a77faa2c9dc01000001000000020000000300000007"
        "010203040506700080000000000000006964636b00000000",
    ),
}

states = st.builds(BlobState, st.integers(0, 0xFFFFFFFF), st.booleans(), st.integers(0, NEVER_MS))


@st.composite
def records(draw: st.DrawFn) -> Record:
    size = draw(st.one_of(st.integers(0, 300), st.sampled_from([BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1])))
    payload = (bytes(range(251)) * (size // 251 + 1))[:size]
    return Record(
        kind=draw(st.sampled_from(RecordKind)),
        id=ID,
        state=draw(states),
        written_at_ms=draw(st.integers(0, NEVER_MS)),
        properties=draw(st.binary(max_size=40)),
        metadata=draw(st.binary(max_size=40)),
        digest=digest(payload),
        checks=block_checks(payload),
        payload=payload,
    )


def same(a: Record, b: Record) -> bool:
    return (a.kind, a.id, a.state, a.written_at_ms, a.digest) == (
        b.kind,
        b.id,
        b.state,
        b.written_at_ms,
        b.digest,
    ) and [bytes(part) for part in (a.properties, a.metadata, a.checks, a.payload)] == [
        bytes(part) for part in (b.properties, b.metadata, b.checks, b.payload)
    ]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_of_a_record_never_change(name: str) -> None:
    record, expected = GOLDEN[name]
    assert record_format.encode(record, LSN).hex() == expected
    assert same(record_format.decode(bytes.fromhex(expected)), record)
    assert record_format.decode_header(bytes.fromhex(expected)).lsn == LSN


@given(records(), st.integers(0, (1 << 64) - 1))
@settings(derandomize=True)
def test_a_record_survives_its_bytes(record: Record, lsn: int) -> None:
    image = record_format.encode(record, lsn)
    assert len(image) == record.size
    assert len(image) % 8 == 0
    header = record_format.decode_header(image)
    assert (header.lsn, header.record_size, header.payload_size) == (lsn, len(image), len(record.payload))
    assert record_format.peek_lsn(image) == lsn
    assert same(record_format.decode(image), record)
    assert same(record_format.decode(memoryview(image + b"what follows")), record)
    assert image.startswith(record_format.encode_head(record, lsn))


@pytest.mark.parametrize("cut", range(WHOLE))
def test_a_record_cut_anywhere_is_not_returned(cut: int) -> None:
    with pytest.raises(DataCorrupt):
        record_format.decode(IMAGE[:cut])


@pytest.mark.parametrize("place", range(WHOLE))
def test_a_flipped_bit_anywhere_is_never_accepted(place: int) -> None:
    for bit in range(8):
        damaged = bytearray(IMAGE)
        damaged[place] ^= 1 << bit
        with pytest.raises(DataCorrupt):
            record_format.decode(damaged)


def test_damage_in_the_padding_changes_nothing() -> None:
    assert len(IMAGE) > WHOLE
    damaged = bytearray(IMAGE)
    damaged[-1] = 0xFF
    assert same(record_format.decode(damaged), BLOB)


@pytest.mark.parametrize("place", range(12, 24))
def test_a_flipped_length_allocates_nothing(place: int) -> None:
    damaged = bytearray(IMAGE)
    damaged[place] ^= 0x7F
    tracemalloc.start()
    try:
        with pytest.raises(DataCorrupt):
            record_format.decode(damaged)
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


def test_zeros_are_not_a_record() -> None:
    with pytest.raises(DataCorrupt):
        record_format.decode(bytes(4096))
    with pytest.raises(DataCorrupt):
        record_format.decode_header(b"")


def test_a_head_is_readable_without_the_payload() -> None:
    header = record_format.decode_header(IMAGE)
    head = record_format.decode_head(IMAGE[: header.payload_start])
    assert head.id == ID
    assert bytes(head.properties) == BLOB.properties
    assert bytes(head.metadata) == BLOB.metadata
    assert bytes(head.checks) == BLOB.checks
    with pytest.raises(DataCorrupt):
        record_format.decode_head(IMAGE[: header.payload_start - 1])


@pytest.mark.parametrize(("offset", "value"), [(4, 2), (4, 0), (5, 0), (5, 9)])
def test_a_record_of_a_newer_release_is_refused_clearly(offset: int, value: int) -> None:
    header = bytearray(IMAGE)
    header[offset] = value
    header[72:80] = xxh64(bytes(header[:72])).to_bytes(8, "big")
    with pytest.raises(FormatUnknown, match="upgrade"):
        record_format.decode(header)


@given(st.binary(max_size=300))
@settings(derandomize=True)
def test_garbage_is_never_a_record(data: bytes) -> None:
    for candidate in (data, b"AMBR\x01\x01" + data):
        with pytest.raises(AmbryError):
            record_format.decode(candidate)


def test_a_header_is_read_from_exactly_its_80_bytes() -> None:
    """Recovery reads no more than that before it knows how long the record is."""
    header = record_format.decode_header(IMAGE[:HEADER_SIZE])
    assert (header.lsn, header.payload_size, header.record_size) == (LSN, 7, len(IMAGE))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"\0" + IMAGE[1:], "no record starts here"),
        (IMAGE[:79], "no record starts here"),
        (IMAGE[:20] + b"\1" + IMAGE[21:], "the record header fails its checksum"),
        (IMAGE[:131], "the record's head has 132 bytes, only 131 are there"),
        (IMAGE[:116] + b"\2" + IMAGE[117:], "the record's id, properties or checks fail their checksum"),
        (IMAGE[:132] + b"P" + IMAGE[133:], "the record's payload fails its checksum"),
    ],
)
def test_the_reason_says_which_part_is_damaged(image: bytes, reason: str) -> None:
    with pytest.raises(DataCorrupt, match=f"^{reason}$"):
        record_format.decode(image)


def test_the_bounds_of_a_record_never_shrink() -> None:
    """Peers, clients and the log itself may hold records up to these sizes; each must fit one frame of the RPC."""
    assert record_format.SECTION_SIZE_MAX == 65_536
    assert record_format.PAYLOAD_SIZE_MAX == 33_554_432


@pytest.mark.parametrize(
    "value",
    [BLOB, record_format.decode_header(IMAGE), record_format.decode_head(IMAGE)],
    ids=lambda v: type(v).__name__,
)
def test_what_was_decoded_cannot_be_changed(value: Record | Header | Head) -> None:
    for field in value.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(value, field, getattr(value, field))


# --- the salt of a log ---

SALT = 0x2A13617BE99D6A6D


def test_the_salt_changes_the_check_of_the_header_and_nothing_else() -> None:
    salted = record_format.encode(BLOB, LSN, SALT)
    assert salted[:72] == IMAGE[:72]
    assert salted[72:80].hex() == "49b112a8f86658ee"
    assert salted[80:] == IMAGE[80:]
    assert salted.startswith(record_format.encode_head(BLOB, LSN, SALT))
    assert same(record_format.decode(salted, SALT), BLOB)


@pytest.mark.parametrize(
    ("written", "read"), [(SALT, 0), (0, SALT), (SALT, SALT ^ 1), (SALT, SALT << 32 & (1 << 64) - 1)]
)
def test_a_record_of_another_log_is_none_of_ours(written: int, read: int) -> None:
    """A client may store the image of a record; it does not know the salt of the log that it comes to stand in."""
    image = record_format.encode(BLOB, LSN, written)
    for decode in (record_format.decode, record_format.decode_head, record_format.decode_header):
        with pytest.raises(DataCorrupt, match="header fails"):
            decode(image, read)


@given(records(), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
@settings(derandomize=True)
def test_restamping_gives_the_bytes_of_the_other_log(record: Record, lsn: int, old: int, new: int) -> None:
    image = bytearray(record_format.encode(record, lsn, old))
    record_format.restamp(image, new)
    assert image == record_format.encode(record, lsn, new)
    record_format.restamp(image)
    assert image == record_format.encode(record, lsn)


@pytest.mark.parametrize("place", range(HEADER_SIZE))
def test_a_flipped_bit_in_a_salted_header_is_never_accepted(place: int) -> None:
    for bit in range(8):
        damaged = bytearray(record_format.encode(BLOB, LSN, SALT))
        damaged[place] ^= 1 << bit
        with pytest.raises(DataCorrupt):
            record_format.decode_header(damaged, SALT)
