"""Records of a log: the bytes never change, and damage never gets through."""

from __future__ import annotations

import random
import tracemalloc

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import BLOCK_SIZE, block_checks, digest
from ambry.errors import AmbryError, DataCorrupt, FormatUnknown, InvalidRequest
from ambry.format import record as record_format
from ambry.format.record import HEADER_SIZE, Head, Header, Record, RecordKind
from tests.support.later_release import LATER, Change, later

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

GOLDEN = {
    "blob": (
        BLOB,
        "414d42520101000000000000000000020000000600000007112233445566778801020304050607087fffffffffffffff"
        "f3d6e72eb800dea99613f8bbf13ce4e50000000000000000370f45ccbf9dc2dbeb5733156eb0265c0100000100000002"
        "0000000300000007010203040506700080000000000000006964636b01800181a16ba17632fe61f05b2d8d7b00000000"
        "007061796c6f6164",
    ),
    "update": (
        UPDATE,
        "414d42520104000100000003000000000000000000000000112233445566778800000000000000090000000000000005"
        "000000000000000000000000000000000000000000000000cd5402bb234713bedeac7d79278176ff0100000100000002"
        "0000000300000007010203040506700080000000000000006964636b00000000",
    ),
    "chunk": (
        CHUNK,
        "414d42520103000000000000000000020000000000000004112233445566778800000000000000090000000000000005"
        "4690fd172673992446fbacd697685156000000000000000020c9bfb0a62928591d1ae9655eeb2abf0100000100000002"
        "0000000300000007010203040506700080000000000000006964636b01809bc2cdd3c2c2dd4500000000000063636363",
    ),
    "composite": (
        COMPOSITE,
        "414d42520102000000000000000000000000000000000000112233445566778800000000000000090000000000000005"
        "99aa06d3014798d86001c324468d497f0000000000000000cd5402bb234713be08f205724cebb0f90100000100000002"
        "0000000300000007010203040506700080000000000000006964636b00000000",
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
        features=draw(st.integers(0, 0xFFFF)),
        tag_size=(tag_size := draw(st.sampled_from([0, 16, 255]))),
        tags=b"t" * tag_size * -(-size // BLOCK_SIZE),
    )


def same(a: Record, b: Record) -> bool:
    return all(
        bytes(getattr(a, name)) == bytes(getattr(b, name))
        if name in ("properties", "metadata", "checks", "payload", "tags")
        else getattr(a, name) == getattr(b, name)
        for name in a.__struct_fields__
    )


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


@pytest.mark.parametrize("cut", range(len(IMAGE)))
def test_a_record_cut_anywhere_is_not_returned(cut: int) -> None:
    with pytest.raises(DataCorrupt):
        record_format.decode(IMAGE[:cut])


@pytest.mark.parametrize("place", range(len(IMAGE)))
def test_a_flipped_bit_anywhere_is_never_accepted(place: int) -> None:
    """Padding too: it used to stand behind the payload, under no check."""
    for bit in range(8):
        damaged = bytearray(IMAGE)
        damaged[place] ^= 1 << bit
        for read in (record_format.decode, record_format.verify):
            with pytest.raises(DataCorrupt):
                read(damaged)


@given(records(), st.data())
@settings(derandomize=True)
def test_no_changed_byte_of_any_record_is_accepted(record: Record, data: st.DataObject) -> None:
    image = bytearray(record_format.encode(record, LSN))
    place = data.draw(st.integers(0, len(image) - 1))
    image[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DataCorrupt):
        record_format.verify(image)


def blocks_of(number: int, count: int) -> list[bytes]:
    """Blocks that differ, the last one short."""
    data = random.Random(number).randbytes(count * BLOCK_SIZE - 100)
    return [data[start : start + BLOCK_SIZE] for start in range(0, len(data), BLOCK_SIZE)]


def image_of(blocks: list[bytes]) -> bytearray:
    payload = b"".join(blocks)
    record = Record(
        kind=RecordKind.BLOB,
        id=ID,
        state=BlobState(0, False, NEVER_MS),
        written_at_ms=9,
        digest=digest(payload),
        checks=block_checks(payload),
        payload=payload,
    )
    return bytearray(record_format.encode(record, LSN))


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (1, 2)])
def test_blocks_that_changed_places_in_a_record_are_caught(one: int, other: int) -> None:
    image = image_of(blocks_of(1, 4))
    start = record_format.decode_header(image).payload_start
    places = [slice(start + number * BLOCK_SIZE, start + (number + 1) * BLOCK_SIZE) for number in (one, other)]
    image[places[0]], image[places[1]] = image[places[1]], image[places[0]]
    with pytest.raises(DataCorrupt, match="payload fails"):
        record_format.verify(image)


@pytest.mark.parametrize("number", range(4))
def test_a_block_of_another_record_in_its_place_is_caught(number: int) -> None:
    image, other = image_of(blocks_of(1, 4)), image_of(blocks_of(2, 4))
    start = record_format.decode_header(image).payload_start + number * BLOCK_SIZE
    image[start : start + BLOCK_SIZE] = other[start : start + BLOCK_SIZE]
    with pytest.raises(DataCorrupt, match="payload fails"):
        record_format.verify(image)


def test_the_checks_of_another_record_in_their_place_are_caught() -> None:
    """A block and its check together: the check stands under that of its record's head, which has the id in it."""
    image, other = image_of(blocks_of(1, 4)), image_of(blocks_of(2, 4))
    start = record_format.decode_header(image).payload_start
    image[HEADER_SIZE + 36 :] = other[HEADER_SIZE + 36 :]
    assert len(image) - start == 4 * BLOCK_SIZE - 100
    with pytest.raises(DataCorrupt, match="id, properties or checks fail"):
        record_format.verify(image)


@given(records())
@settings(derandomize=True)
def test_the_sizes_of_a_record_and_its_payload_say_where_the_payload_is(record: Record) -> None:
    image = record_format.encode(record, LSN)
    start = record.size - len(record.payload)
    assert record_format.decode_header(image).payload_start == start
    assert image[start:] == record.payload


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
    assert bytes(head.tags) == b""
    with pytest.raises(DataCorrupt):
        record_format.decode_head(IMAGE[: header.payload_start - 1])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version 2, kind 1"),
        ({"version": 0}, "version 0, kind 1"),
        ({"kind": 0}, "version 1, kind 0"),
        ({"kind": 9}, "version 1, kind 9"),
        ({"flags": 2}, "flags 0x0002"),
        ({"flags": 0x8001}, "flags 0x8001"),
        ({"reserved": 1}, "reserved 0000000001"),
        ({"reserved": 1 << 39}, "reserved 8000000000"),
    ],
)
def test_a_record_whose_meaning_is_not_known_is_refused_and_not_damaged(change: Change, named: str) -> None:
    """An unknown flag used to be ignored: what it said of the blob was lost on whoever read the record."""
    image = later(BLOB, LSN, **change)
    head = record_format.verify(image)
    assert (head.id, head.header.lsn, head.header.record_size) == (ID, LSN, len(image))
    for refuse in (record_format.require_meaning, record_format.require_readable):
        with pytest.raises(FormatUnknown, match=f"{named}.*: written by a newer release; upgrade to read it$"):
            refuse(head.header)
    with pytest.raises(FormatUnknown, match=named):
        record_format.decode(image)


@pytest.mark.parametrize(
    ("features", "tag_size"),
    [(1, 0), (1, 12), (0, 16), *((features, size) for features in (2, 3, 4, 0x8000) for size in (0, 16))],
)
def test_a_payload_that_only_a_later_release_can_read_is_kept_and_not_served(features: int, tag_size: int) -> None:
    """A bit that says "encrypted" would have been ignored, and the blob served as plain."""
    sealed = msgspec.structs.replace(BLOB, features=features, tag_size=tag_size, tags=b"t" * tag_size)
    image = record_format.encode(sealed, LSN)
    assert same(record_format.decode(image), sealed)
    header = record_format.verify(image).header
    record_format.require_meaning(header)
    with pytest.raises(FormatUnknown, match=f"record features {features:#06x}: written by a newer release; upgrade"):
        record_format.require_readable(header)


@pytest.mark.parametrize("record", [BLOB, UPDATE, CHUNK, COMPOSITE])
def test_a_record_of_this_release_is_known(record: Record) -> None:
    header = record_format.decode_header(record_format.encode(record, LSN))
    assert (header.unknown, header.features, header.tag_size) == ("", 0, 0)
    record_format.require_readable(header)


def test_an_encrypted_record_is_read_with_the_tags_of_its_blocks() -> None:
    tags = bytes(range(48))
    payload = b"p" * (2 * BLOCK_SIZE + 1)
    record = msgspec.structs.replace(
        BLOB, payload=payload, checks=block_checks(payload), features=record_format.ENCRYPTED, tag_size=16, tags=tags
    )
    head = record_format.verify(record_format.encode(record, LSN))
    record_format.require_readable(head.header)
    assert record_format.tags_of(head, 0, len(payload)) == tags
    assert record_format.tags_of(head, BLOCK_SIZE, BLOCK_SIZE + 1) == tags[16:32]
    assert record_format.tags_of(head, 0, 0) == b""


@pytest.mark.parametrize(
    ("features", "tags", "size"),
    [(0, b"t" * 16, 9), (1, b"", 9), (1, b"t" * 15, 9), (1, b"t" * 16, 0), (1, b"t" * 16, BLOCK_SIZE + 1), (2, b"", 9)],
)
def test_a_put_whose_tags_are_not_those_of_its_blocks_is_refused(features: int, tags: bytes, size: int) -> None:
    with pytest.raises(InvalidRequest):
        record_format.tag_size_of(features, tags, size)


@pytest.mark.parametrize("change", LATER)
def test_a_flipped_bit_in_a_record_of_a_later_release_is_damage(change: Change) -> None:
    image = later(BLOB, LSN, **change)
    for place in range(len(image)):
        damaged = bytearray(image)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(DataCorrupt):
            record_format.decode(damaged)


@given(st.binary(max_size=300))
@settings(derandomize=True)
def test_garbage_is_never_a_record(data: bytes) -> None:
    for candidate in (data, b"AMBR\x01\x01" + data):
        with pytest.raises(AmbryError):
            record_format.decode(candidate)


def test_a_header_is_read_from_exactly_its_88_bytes() -> None:
    """Recovery reads no more than that before it knows how long the record is."""
    header = record_format.decode_header(IMAGE[:HEADER_SIZE])
    assert (header.lsn, header.payload_size, header.record_size) == (LSN, 7, len(IMAGE))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"\0" + IMAGE[1:], "no record starts here"),
        (IMAGE[:87], "no record starts here"),
        (IMAGE[:20] + b"\1" + IMAGE[21:], "the record header fails its checksum"),
        (IMAGE[:144], "the record's head has 145 bytes, only 144 are there"),
        (IMAGE[:124] + b"\2" + IMAGE[125:], "the record's id, properties or checks fail their checksum"),
        (IMAGE[:144] + b"\2" + IMAGE[145:], "the record's id, properties or checks fail their checksum"),
        (IMAGE[:145] + b"P" + IMAGE[146:], "the record's payload fails its checksum"),
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
    assert salted[:80] == IMAGE[:80]
    assert salted[80:88].hex() == "4114152c293e481c"
    assert salted[88:] == IMAGE[88:]
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


def test_tags_belong_to_the_blocks_of_a_payload_or_are_refused() -> None:
    assert record_format.tag_size_of(0, b"", 100_000) == 0
    assert record_format.tag_size_of(record_format.ENCRYPTED, bytes(32), 100_000) == 16
    for features, tags in (
        (record_format.ENCRYPTED, b""),
        (record_format.ENCRYPTED, bytes(16)),
        (0, bytes(16)),
        (1 << 9, b""),
    ):
        with pytest.raises(InvalidRequest):
            record_format.tag_size_of(features, tags, 100_000)
