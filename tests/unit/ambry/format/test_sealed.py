"""What is sealed opens as it was, where it was, and in no other way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.checksum import BLOCK_SIZE
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format import sealed
from ambry.format.record import TAG_SIZE, RecordKind
from ambry.format.sealed import DataKey, SealedSection, Secrets

KEY = DataKey(bytes(range(32)))
OTHER_KEY = DataKey(bytes(32))
PROPERTIES = b"\x01properties"
SECRETS = Secrets(b"d" * 16, "secret name.txt", b"\x01\x81\xa1k\xa1v")
SIZES = [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE - 1, 3 * BLOCK_SIZE, 3 * BLOCK_SIZE + 1]


def content(size: int) -> bytes:
    return bytes((7 * place + (place >> 8)) % 251 for place in range(size))


def payload_of(size: int, key: DataKey = KEY, kind: int = RecordKind.BLOB) -> tuple[memoryview, bytes]:
    payload = memoryview(bytearray(content(size)))
    return payload, sealed.seal_payload(key, kind, payload)


def refused(payload: memoryview, tags: bytes, *, size: int, first: int = 0, kind: int = RecordKind.BLOB) -> None:
    with pytest.raises(DataCorrupt):
        sealed.open_blocks(KEY, kind, size, first, payload.toreadonly(), tags, memoryview(bytearray(len(payload))))
    with pytest.raises(DataCorrupt):
        sealed.open_blocks(KEY, kind, size, first, payload, tags, payload)


@pytest.mark.parametrize("size", SIZES)
def test_a_payload_opens_as_it_was_and_every_run_of_its_blocks_for_itself(size: int) -> None:
    payload, tags = payload_of(size)
    assert len(payload) == size and len(tags) == TAG_SIZE * -(-size // BLOCK_SIZE)
    assert not size or bytes(payload) != content(size)
    count = len(tags) // TAG_SIZE
    for first in range(count):
        for end in range(first, count + 1):
            some = memoryview(bytearray(payload[first * BLOCK_SIZE : end * BLOCK_SIZE]))
            own = tags[first * TAG_SIZE : end * TAG_SIZE]
            elsewhere = memoryview(bytearray(len(some)))
            sealed.open_blocks(KEY, RecordKind.BLOB, size, first, some.toreadonly(), own, elsewhere)
            sealed.open_blocks(KEY, RecordKind.BLOB, size, first, some, own, some)
            assert some == elsewhere == content(size)[first * BLOCK_SIZE : end * BLOCK_SIZE]


def test_the_bytes_of_a_sealed_block_never_change() -> None:
    payload, tags = payload_of(32)
    assert (bytes(payload).hex(), tags.hex()) == (
        "0ebbbbcba90fa98c3097ef784c77f3f0a23428d6a412fa8e2831053e01348f8f",
        "8758e47f0a720551231a2e54c3e08615",
    )


@given(place=st.integers(0, 8 * 300 - 1))
def test_a_flipped_bit_of_a_block_is_refused(place: int) -> None:
    payload, tags = payload_of(300)
    payload[place // 8] ^= 1 << place % 8
    refused(payload, tags, size=300)


@pytest.mark.parametrize("place", range(8 * TAG_SIZE))
def test_a_flipped_bit_of_a_tag_is_refused(place: int) -> None:
    payload, tags = payload_of(300)
    changed = bytearray(tags)
    changed[place // 8] ^= 1 << place % 8
    refused(payload, bytes(changed), size=300)


def test_blocks_that_change_their_places_are_refused() -> None:
    size = 3 * BLOCK_SIZE
    payload, tags = payload_of(size)
    swapped = memoryview(bytearray(b"".join((payload[BLOCK_SIZE : 2 * BLOCK_SIZE], payload[:BLOCK_SIZE]))))
    refused(swapped, tags[TAG_SIZE : 2 * TAG_SIZE] + tags[:TAG_SIZE], size=size)
    again = memoryview(bytearray(b"".join((payload[:BLOCK_SIZE], payload[:BLOCK_SIZE]))))
    refused(again, tags[:TAG_SIZE] * 2, size=size)
    without_the_first = memoryview(bytearray(payload[BLOCK_SIZE:]))
    refused(without_the_first, tags[TAG_SIZE:], size=size)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_payload_that_is_cut_at_a_block_is_refused(blocks: int) -> None:
    payload, tags = payload_of(3 * BLOCK_SIZE)
    cut = memoryview(bytearray(payload[: blocks * BLOCK_SIZE]))
    refused(cut, tags[: blocks * TAG_SIZE], size=blocks * BLOCK_SIZE)


@pytest.mark.parametrize(("size", "tags"), [(1, 0), (1, 32), (BLOCK_SIZE, 32), (BLOCK_SIZE + 1, 16), (10, 15)])
def test_tags_that_are_not_those_of_the_blocks_are_refused(size: int, tags: int) -> None:
    refused(memoryview(bytearray(size)), bytes(tags), size=size)


def test_a_part_of_a_block_is_refused() -> None:
    payload, tags = payload_of(BLOCK_SIZE)
    refused(memoryview(bytearray(payload[:100])), tags, size=BLOCK_SIZE)
    refused(memoryview(bytearray(payload)), tags, size=100)


def test_blocks_of_another_record_are_refused() -> None:
    other, tags = payload_of(BLOCK_SIZE, key=OTHER_KEY)
    refused(other, tags, size=BLOCK_SIZE)
    chunk, tags = payload_of(BLOCK_SIZE, kind=RecordKind.CHUNK)
    refused(chunk, tags, size=BLOCK_SIZE)


def sealed_secrets(secrets: Secrets = SECRETS) -> bytes:
    return sealed.seal_secrets(KEY, RecordKind.BLOB, 9, PROPERTIES, secrets)


def test_secrets_open_as_they_were_and_do_not_show() -> None:
    text = sealed_secrets()
    assert b"secret" not in text
    assert sealed.open_secrets(KEY, RecordKind.BLOB, 9, PROPERTIES, text) == SECRETS
    assert "secret" not in repr(SECRETS)


@pytest.mark.parametrize(
    ("key", "kind", "size", "properties"),
    [
        (OTHER_KEY, 1, 9, PROPERTIES),
        (KEY, 3, 9, PROPERTIES),
        (KEY, 1, 8, PROPERTIES),
        (KEY, 1, 9, PROPERTIES + b" "),
        (KEY, 1, 9, b""),
    ],
)
def test_secrets_open_with_their_own_record_alone(key: DataKey, kind: int, size: int, properties: bytes) -> None:
    with pytest.raises(DataCorrupt):
        sealed.open_secrets(key, kind, size, properties, sealed_secrets())


def test_every_flipped_bit_and_every_cut_of_secrets_is_refused() -> None:
    text = sealed_secrets()
    for place in range(8 * len(text)):
        changed = bytearray(text)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(DataCorrupt):
            sealed.open_secrets(KEY, RecordKind.BLOB, 9, PROPERTIES, bytes(changed))
    for size in range(len(text)):
        with pytest.raises(DataCorrupt):
            sealed.open_secrets(KEY, RecordKind.BLOB, 9, PROPERTIES, text[:size])


def test_secrets_with_a_digest_of_another_size_are_refused() -> None:
    with pytest.raises(DataCorrupt, match="digest"):
        sealed.open_secrets(KEY, RecordKind.BLOB, 9, PROPERTIES, sealed_secrets(Secrets(b"short")))


def test_what_is_not_secrets_is_refused() -> None:
    nonsense = sealed.seal_secrets(KEY, RecordKind.BLOB, 9, PROPERTIES, 7)  # type: ignore[arg-type]
    with pytest.raises(DataCorrupt, match="cannot be read"):
        sealed.open_secrets(KEY, RecordKind.BLOB, 9, PROPERTIES, nonsense)


SECTION = SealedSection(0x01020304, b"wrapped", b"s" * 20)


def test_a_section_reads_back_and_each_cut_and_every_other_release_is_refused() -> None:
    data = sealed.encode_section(SECTION)
    assert data.hex() == "0201" + "01020304" + "0007" + b"wrapped".hex() + "73" * 20
    assert sealed.decode_section(data) == SECTION
    for size in range(sealed.HEAD_SIZE + len(b"wrapped") + TAG_SIZE):
        with pytest.raises(DataCorrupt):
            sealed.decode_section(data[:size])
    for changed in (b"\x03" + data[1:], data[:1] + b"\x02" + data[2:]):
        with pytest.raises(FormatUnknown):
            sealed.decode_section(changed)


def test_data_keys_differ_and_are_bound_to_their_blob() -> None:
    assert len(sealed.new_data_key()) == 32 and sealed.new_data_key() != sealed.new_data_key()
    assert sealed.about_key(b"a" * 36) != sealed.about_key(b"b" * 36)
