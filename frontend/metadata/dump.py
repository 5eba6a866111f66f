"""A metadata store as a stream of bytes: `ambry meta dump`. Neither engine's own, so what one wrote the other loads. Pure.

    offset  size  field
    0       8     AMBRMETA
    8       2     version, 1
    10            blocks, one behind the other, the last of kind END

    offset  size  field of a block
    0       1     kind: 1 HEADER, 2 VERSIONS, 3 LOCALS, 4 END
    1       4     size of the payload, bytes
    5             payload: msgpack
          + 8     xxh3-64 of everything in the stream up to here

Numbers are big-endian. A block's check covers all that came before it, so that none can be left out, doubled or changed for
another; a stream without its END is not whole. Versions are those of the log, in its order.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import xxhash

from ambry.errors import DataCorrupt, FormatUnknown
from frontend.metadata.store import LocalRow, Stamp, Version

MAGIC = b"AMBRMETA"
FORMAT = 1
BLOCK_BYTES_MAX = 128 << 20
"""A page of the largest values, and more; a larger size is damage."""
_START = struct.Struct(">8sH")
_BLOCK = struct.Struct(">BI")
_CHECK = struct.Struct(">Q")


class BlockKind(enum.IntEnum):
    """On disk: never renumber."""

    HEADER = 1
    VERSIONS = 2
    LOCALS = 3
    END = 4


class DumpHeader(msgspec.Struct, frozen=True):
    """Whose metadata it is, and from when."""

    cluster: str
    datacenter: int
    made_at_ms: int


class DumpEnd(msgspec.Struct, frozen=True):
    """How much of everything there was."""

    versions: int
    locals: int


Block = DumpHeader | list[Version] | list[LocalRow] | DumpEnd

_Flat = tuple[int, int, bytes, int, int, bytes | None]
_encode = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(DumpHeader).decode
_decode_end = msgspec.msgpack.Decoder(DumpEnd).decode
_decode_versions = msgspec.msgpack.Decoder(list[_Flat]).decode
_decode_locals = msgspec.msgpack.Decoder(list[tuple[int, bytes, bytes, int | None]]).decode


class DumpWriter:
    """Makes the bytes of a stream, block by block; `start` comes first."""

    def __init__(self) -> None:
        self._sum = xxhash.xxh3_64()

    def start(self) -> bytes:
        start = _START.pack(MAGIC, FORMAT)
        self._sum.update(start)
        return start

    def header(self, header: DumpHeader) -> bytes:
        return self._block(BlockKind.HEADER, header)

    def versions(self, versions: list[Version]) -> bytes:
        return self._block(
            BlockKind.VERSIONS,
            [(v.space, v.scope, v.key, v.stamp.time, v.stamp.datacenter, v.value) for v in versions],
        )

    def locals(self, rows: list[LocalRow]) -> bytes:
        return self._block(BlockKind.LOCALS, [(row.space, row.key, row.value, row.expires_ms) for row in rows])

    def end(self, end: DumpEnd) -> bytes:
        return self._block(BlockKind.END, end)

    def _block(self, kind: BlockKind, content: Any) -> bytes:
        payload = _encode(content)
        block = _BLOCK.pack(kind, len(payload)) + payload
        self._sum.update(block)
        check = _CHECK.pack(self._sum.intdigest())
        self._sum.update(check)
        return block + check


def read_dump(read: Callable[[int], bytes]) -> Iterator[Block]:
    """The blocks of a stream; `read` gives so many bytes, fewer at its end.

    Raises DataCorrupt for one that is damaged or not whole, FormatUnknown for one of a later release.
    """
    total = xxhash.xxh3_64()
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        found = read(size)
        if len(found) < size:
            raise DataCorrupt(f"the dump ends at byte {at + len(found)}, in the middle of a block: it is not whole")
        at += size
        return found

    start = read(_START.size)
    if len(start) < _START.size or start[: len(MAGIC)] != MAGIC:
        raise DataCorrupt("this is no dump of metadata: it does not begin with AMBRMETA")
    version = _START.unpack(start)[1]
    if version != FORMAT:
        raise FormatUnknown(f"the dump has format {version}, and this release knows {FORMAT}; load it with a later one")
    at = len(start)
    total.update(start)
    while True:
        place = at
        head = take(_BLOCK.size)
        kind, size = _BLOCK.unpack(head)
        if size > BLOCK_BYTES_MAX:
            raise DataCorrupt(f"the dump is damaged at byte {place}: a block of {size} bytes")
        payload = take(size)
        total.update(head)
        total.update(payload)
        check = take(_CHECK.size)
        if _CHECK.unpack(check)[0] != total.intdigest():
            raise DataCorrupt(f"the dump is damaged at byte {place}: a block fails its check")
        total.update(check)
        if kind == BlockKind.HEADER:
            yield _decode_header(payload)
        elif kind == BlockKind.VERSIONS:
            yield [Version(s, c, k, Stamp(t, d), v, 0) for s, c, k, t, d, v in _decode_versions(payload)]
        elif kind == BlockKind.LOCALS:
            yield [LocalRow(*row) for row in _decode_locals(payload)]
        elif kind == BlockKind.END:
            yield _decode_end(payload)
            return
        else:
            raise FormatUnknown(f"the dump has a block of kind {kind} at byte {place}; load it with a later release")
