"""The payload of a composite record: what a large blob consists of.

Big-endian; offsets and sizes in bytes.

    offset  size  field        meaning
    0       2     version      1
    2       2     features     what one must know to read it; zero: nothing more
    4       4     chunk_count  how many entries follow
    8       8     total_size   of the whole blob; the sum of the chunks' sizes

Then chunk_count entries of 56 bytes, in the order of the blob's bytes:

    offset  size  field        meaning
    0       36    id           blob id of the data chunk
    36      4     size         of the chunk
    40      16    digest       xxh3-128 of the chunk

It has no checksum of its own: the record around it has.
"""

from __future__ import annotations

import struct

from ambry.blob import ChunkRef, Composite
from ambry.checksum import Buffer
from ambry.errors import DataCorrupt, FormatUnknown

VERSION = 1
_HEADER = struct.Struct(">HHIQ")
_ENTRY = struct.Struct(">36sI16s")
HEADER_SIZE = _HEADER.size
ENTRY_SIZE = _ENTRY.size


def encode(composite: Composite) -> bytes:
    """The payload of the composite record."""
    entries = [_ENTRY.pack(chunk.id, chunk.size, chunk.digest) for chunk in composite.chunks]
    return _HEADER.pack(VERSION, 0, len(entries), composite.total_size) + b"".join(entries)


def decode(data: Buffer) -> Composite:
    """Raises DataCorrupt when the parts do not add up, FormatUnknown for one of a later release."""
    if len(data) < HEADER_SIZE:
        raise DataCorrupt(f"a composite has at least {HEADER_SIZE} bytes, this one has {len(data)}")
    version, features, count, total_size = _HEADER.unpack_from(data)
    if version != VERSION or features:
        raise FormatUnknown(
            f"composite version {version}, features {features:#06x}: written by a newer release; upgrade to read it"
        )
    if len(data) != HEADER_SIZE + count * ENTRY_SIZE:
        raise DataCorrupt(f"a composite of {count} chunks does not have {len(data)} bytes")
    chunks = tuple(ChunkRef(*entry) for entry in _ENTRY.iter_unpack(memoryview(data)[HEADER_SIZE:]))
    if sum(chunk.size for chunk in chunks) != total_size:
        raise DataCorrupt(f"the chunks of a composite do not add up to {total_size} bytes")
    return Composite(total_size=total_size, chunks=chunks)
