"""What encryption at rest makes of a record: its payload, and the section of user metadata.

A sealed record has a data key of its own, 32 random bytes. Each 64 KiB block of the payload is encrypted in its place with
AES-256-GCM, so that the payload keeps its size, and its tag goes to the record's tags. What users say of a blob beyond what
others must know of it (`Secrets`) is encrypted with the same key; the data key stands beside it, wrapped by a version of the
container's key. The user metadata section then is, big-endian, offsets and sizes in bytes:

    offset  size  field         meaning
    0       1     version       2: it is sealed
    1       1     algorithm     1: AES-256-GCM
    2       4     key_version   of the container's key
    6       2     wrapped_size  bytes of the wrapped data key, which follows

Then, to its end, the secrets in msgpack, encrypted, and their tag of 16 bytes.

What is encrypted, under which nonce of 12 bytes, and what is authenticated with it:

    what           nonce               additional data
    block n        n                   "ambry block 1", kind (1), payload_size (4), n (4)
    secrets        12 bytes of 255     "ambry secrets 1", kind (1), payload_size (4), properties section
    data key       none                "ambry data key 1", blob id (36)

So no block can be changed, moved, repeated, left out or cut off unnoticed, nor one of another record, nor another record's
whole content be put in its place: a wrapped key opens under its own id alone, and a key opens nothing but its own record. The
list of chunks of a composite record is sealed as any payload; so a chunk is where it is listed, or not at all.

A key never encrypts two things under one nonce: it is made for one record, whose content is never changed.
"""

from __future__ import annotations

import struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ambry.checksum import BLOCK_SIZE, DIGEST_SIZE
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format.record import TAG_SIZE

DATA_KEY_SIZE = 32
VERSION = 2
AES_256_GCM = 1

_HEAD = struct.Struct(">BBIH")
HEAD_SIZE = _HEAD.size
_BLOCK_ABOUT = struct.Struct(">13sBII")
_SECRETS_ABOUT = struct.Struct(">15sBI")
_SECRETS_NONCE = b"\xff" * 12

DataKey = AESGCM
"""A data key that is ready for use: it is made once for all that is done with it."""


class Secrets(msgspec.Struct, frozen=True, array_like=True):
    """What is said of a blob and encrypted with it. `metadata` as ambry/format/properties.py has it; `digest` is the user's."""

    digest: bytes
    filename: str = ""
    metadata: bytes = b""

    def __repr__(self) -> str:
        return "Secrets(...)"


class SealedSection(msgspec.Struct, frozen=True):
    """The decoded section. `secrets` are encrypted."""

    key_version: int
    wrapped: bytes
    secrets: bytes


_encode = msgspec.msgpack.Encoder().encode
_secrets = msgspec.msgpack.Decoder(Secrets)


def new_data_key() -> bytes:
    return AESGCM.generate_key(8 * DATA_KEY_SIZE)


def about_key(blob_id: bytes) -> bytes:
    """What a wrapped data key is bound to."""
    return b"ambry data key 1" + blob_id


def _about_block(kind: int, payload_size: int, number: int) -> bytes:
    return _BLOCK_ABOUT.pack(b"ambry block 1", kind, payload_size, number)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _about_secrets(kind: int, payload_size: int, properties: bytes) -> bytes:
    return _SECRETS_ABOUT.pack(b"ambry secrets 1", kind, payload_size) + properties


def seal_payload(key: DataKey, kind: int, payload: memoryview) -> bytes:
    """Encrypt a payload in its place, which must be writable; returns its tags."""
    size = len(payload)
    tags: list[bytes] = []
    for number, start in enumerate(range(0, size, BLOCK_SIZE)):
        end = min(start + BLOCK_SIZE, size)
        behind = end + TAG_SIZE
        block, nonce, about = payload[start:end], _nonce(number), _about_block(kind, size, number)
        # A block comes out with its tag behind it.
        if behind <= size:
            beside = payload[end:behind]
            next_bytes = bytes(beside)
            key.encrypt_into(nonce, block, about, payload[start:behind])
            tags.append(bytes(beside))
            beside[:] = next_bytes
        else:
            made = memoryview(key.encrypt(nonce, block, about))
            block[:] = made[:-TAG_SIZE]
            tags.append(bytes(made[-TAG_SIZE:]))
    return b"".join(tags)


def open_blocks(
    key: DataKey, kind: int, payload_size: int, first: int, blocks: memoryview, tags: bytes, into: memoryview
) -> None:
    """Decrypt some blocks of a payload, the first of them with the number `first`, into other memory or where they stand.

    `tags` are theirs. Raises DataCorrupt where they are not what was sealed: then nobody may look at `into` any more.
    """
    size = len(blocks)
    count = -(-size // BLOCK_SIZE)
    if len(tags) != count * TAG_SIZE or first * BLOCK_SIZE + size > payload_size:
        raise DataCorrupt(f"{len(tags)} bytes of tags do not belong to {count} encrypted blocks")
    if size % BLOCK_SIZE and first * BLOCK_SIZE + size != payload_size:
        raise DataCorrupt("a block of an encrypted payload is cut off")
    number = first
    try:
        for number, start in enumerate(range(0, size, BLOCK_SIZE), first):
            end = min(start + BLOCK_SIZE, size)
            behind = end + TAG_SIZE
            tag = tags[(number - first) * TAG_SIZE : (number - first + 1) * TAG_SIZE]
            nonce, about, opened = _nonce(number), _about_block(kind, payload_size, number), into[start:end]
            # A block goes in with its tag behind it. One that opens where it stands has the tag there for this moment, in the
            # place of the next bytes.
            if into is blocks and behind <= size:
                beside = blocks[end:behind]
                next_bytes = bytes(beside)
                beside[:] = tag
                key.decrypt_into(nonce, blocks[start:behind], about, opened)
                beside[:] = next_bytes
            else:
                key.decrypt_into(nonce, b"".join((blocks[start:end], tag)), about, opened)
    except InvalidTag:
        raise DataCorrupt(f"block {number} of an encrypted payload is not what was sealed") from None


def seal_secrets(key: DataKey, kind: int, payload_size: int, properties: bytes, secrets: Secrets) -> bytes:
    """Encrypted, with their tag. `properties` is the section that stays plain: it is authenticated with them."""
    return key.encrypt(_SECRETS_NONCE, _encode(secrets), _about_secrets(kind, payload_size, properties))


def open_secrets(key: DataKey, kind: int, payload_size: int, properties: bytes, sealed: bytes) -> Secrets:
    """Raises DataCorrupt where anything of it is not what was sealed."""
    try:
        plain = key.decrypt(_SECRETS_NONCE, sealed, _about_secrets(kind, payload_size, properties))
    except InvalidTag:
        raise DataCorrupt("the properties of an encrypted record are not what was sealed") from None
    try:
        secrets = _secrets.decode(plain)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DataCorrupt("the properties of an encrypted record cannot be read") from None
    if len(secrets.digest) != DIGEST_SIZE:
        raise DataCorrupt("the digest of an encrypted record has another size")
    return secrets


def encode_section(section: SealedSection) -> bytes:
    """The user metadata section of a sealed record."""
    head = _HEAD.pack(VERSION, AES_256_GCM, section.key_version, len(section.wrapped))
    return b"".join((head, section.wrapped, section.secrets))


def decode_section(data: bytes) -> SealedSection:
    """Raises DataCorrupt, FormatUnknown."""
    if len(data) < HEAD_SIZE:
        raise DataCorrupt("the record of an encrypted blob has no wrapped key")
    version, algorithm, key_version, wrapped_size = _HEAD.unpack_from(data)
    if version != VERSION or algorithm != AES_256_GCM:
        raise FormatUnknown(
            f"sealed section version {version}, algorithm {algorithm}: written by a newer release; upgrade to read it"
        )
    secrets = HEAD_SIZE + wrapped_size
    if len(data) < secrets + TAG_SIZE:
        raise DataCorrupt("the wrapped key of an encrypted record is cut off")
    return SealedSection(key_version, data[HEAD_SIZE:secrets], data[secrets:])
