"""The properties and the user metadata sections of a record.

    offset  size  field    meaning
    0       1     version  1
    1       n     map      msgpack: for properties the fields of ambry.blob.BlobProperties that differ from their default,
                           for user metadata the pairs, both text

An empty section stands for an empty map of user metadata. Readers ignore keys that they do not know: a key without which the
payload cannot be understood comes with a feature in the record's header, which they refuse.
The record around a section has the checksum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from ambry.blob import BlobProperties
from ambry.checksum import Buffer
from ambry.errors import DataCorrupt, FormatUnknown

T = TypeVar("T")

VERSION = b"\x01"

_encoder = msgspec.msgpack.Encoder()
_properties = msgspec.msgpack.Decoder(BlobProperties)
_metadata = msgspec.msgpack.Decoder(dict[str, str])


def encode_properties(properties: BlobProperties) -> bytes:
    return VERSION + _encoder.encode(properties)


def decode_properties(section: Buffer) -> BlobProperties:
    """Raises DataCorrupt or FormatUnknown."""
    return _decode(_properties, section)


def encode_metadata(pairs: Mapping[str, str]) -> bytes:
    return VERSION + _encoder.encode(dict(pairs)) if pairs else b""


def decode_metadata(section: Buffer) -> dict[str, str]:
    """Raises DataCorrupt or FormatUnknown."""
    return _decode(_metadata, section) if len(section) else {}


def _decode(decoder: msgspec.msgpack.Decoder[T], section: Buffer) -> T:
    if section[:1] != VERSION:
        raise FormatUnknown("a properties section written by a newer release; upgrade to read it")
    try:
        return decoder.decode(memoryview(section)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataCorrupt(f"a properties section cannot be read: {cause}") from cause
