from __future__ import annotations

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.errors import InvalidBlobId
from ambry.ids import ID_TEXT_SIZE, BlobId, IdKind, partition_of, uuid7

SAMPLE = BlobId.make(
    kind=IdKind.COMPOSITE,
    datacenter=0x0102,
    account=0x03040506,
    container=0x0708090A,
    partition=0x0B0C0D0E,
    uuid=bytes(range(0x10, 0x20)),
)
GOLDEN_BYTES = bytes.fromhex("010101020304050607" + "08090a0b0c0d0e" + "101112131415161718191a1b1c1d1e1f")
ALPHABET = string.ascii_letters + string.digits + "-_"

ids = st.builds(
    BlobId.make,
    kind=st.sampled_from(IdKind),
    datacenter=st.integers(0, 0xFFFF),
    account=st.integers(0, 0xFFFFFFFF),
    container=st.integers(0, 0xFFFFFFFF),
    partition=st.integers(0, 0xFFFFFFFF),
    uuid=st.binary(min_size=16, max_size=16),
)


def test_the_bytes_of_an_id_never_change() -> None:
    assert SAMPLE.raw[:32] == GOLDEN_BYTES
    assert SAMPLE.raw.hex() == GOLDEN_BYTES.hex() + "417e9206"
    assert str(SAMPLE) == "AQEBAgMEBQYHCAkKCwwNDhAREhMUFRYXGBkaGxwdHh9BfpIG"


@given(ids)
@settings(derandomize=True)
def test_an_id_survives_its_text(blob_id: BlobId) -> None:
    text = str(blob_id)
    assert len(text) == ID_TEXT_SIZE
    again = BlobId.parse(text)
    assert again == blob_id
    assert hash(again) == hash(blob_id)
    assert (again.kind, again.datacenter, again.account) == (blob_id.kind, blob_id.datacenter, blob_id.account)
    assert (again.container, again.partition, again.key) == (blob_id.container, blob_id.partition, blob_id.key)
    assert BlobId(blob_id.raw) == blob_id


@pytest.mark.parametrize("place", range(ID_TEXT_SIZE))
def test_a_wrong_character_anywhere_is_an_invalid_id(place: int) -> None:
    text = str(SAMPLE)
    for wrong in ALPHABET + "+/=. \n\0é":
        if wrong == text[place]:
            continue
        with pytest.raises(InvalidBlobId):
            BlobId.parse(text[:place] + wrong + text[place + 1 :])


def test_an_id_has_one_spelling_only() -> None:
    """The standard alphabet's + and / used to be read as - and _: one blob under several names."""
    source = random.Random(5)
    seen: set[str] = set()
    while seen != {"-", "_"}:
        made = BlobId.make(
            kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=source.randbytes(16)
        )
        for mine, theirs in (("-", "+"), ("_", "/")):
            if mine in str(made):
                seen.add(mine)
                with pytest.raises(InvalidBlobId):
                    BlobId.parse(str(made).replace(mine, theirs))


def test_neighbouring_characters_swapped_are_an_invalid_id() -> None:
    text = str(SAMPLE)
    for place in range(ID_TEXT_SIZE - 1):
        swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
        if swapped != text:
            with pytest.raises(InvalidBlobId):
                BlobId.parse(swapped)


@pytest.mark.parametrize("text", ["", "x", "A" * 47, "A" * 49, "A" * 48, "=" * 48, "é" * 48])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidBlobId):
        BlobId.parse(text)


@given(st.text(max_size=60))
@settings(derandomize=True)
def test_any_text_is_an_id_or_refused(text: str) -> None:
    with pytest.raises(InvalidBlobId):
        BlobId.parse(text)


@pytest.mark.parametrize(("offset", "what"), [(0, "version"), (1, "kind")])
def test_an_id_of_a_newer_release_is_named_as_such(offset: int, what: str) -> None:
    body = bytearray(SAMPLE.raw[:32])
    body[offset] = 9
    from ambry.checksum import xxh64

    raw = bytes(body) + (xxh64(bytes(body)) & 0xFFFFFFFF).to_bytes(4, "big")
    for read in (BlobId, partition_of):
        with pytest.raises(InvalidBlobId, match=what):
            read(raw)


def test_the_partition_of_an_id_is_told_of_whole_ids_alone() -> None:
    assert partition_of(SAMPLE.raw) == SAMPLE.partition
    for wrong in (b"", SAMPLE.raw[:-1], SAMPLE.raw + b"x", SAMPLE.raw[:20] + b"?" + SAMPLE.raw[21:]):
        with pytest.raises(InvalidBlobId):
            partition_of(wrong)


def test_uuid7_has_the_layout_of_rfc_9562() -> None:
    made = uuid7(0x0123456789AB, random.Random(1))
    assert made[:6] == bytes.fromhex("0123456789ab")
    assert made[6] >> 4 == 7
    assert made[8] >> 6 == 0b10
    assert uuid7(0x0123456789AC, random.Random(1)) > made


def test_ids_do_not_repeat_within_a_millisecond() -> None:
    source = random.Random(1)
    assert len({uuid7(1_700_000_000_000, source) for _ in range(10_000)}) == 10_000
