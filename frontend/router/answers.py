"""What replicas answer to a read, and the bytes that were asked for in it."""

from __future__ import annotations

import msgspec

from ambry.blob import BlobState
from ambry.checksum import Buffer
from ambry.errors import DataCorrupt
from ambry.protocol.messages.blobs import GetReply


class Found(msgspec.Struct, frozen=True):
    """What a replica answered, opened. `data` is exactly the asked range, clipped to the payload, every block verified."""

    reply: GetReply
    data: Buffer


class StateOnly(msgspec.Struct, frozen=True):
    """The blob exists or existed, but no replica that answered holds its record. Only where any state was asked for."""

    state: BlobState


ReadOutcome = Found | StateOnly


def cut(reply: GetReply, body: Buffer, asked_first: int, asked_end: int) -> Buffer:
    """The bytes that were asked for, out of the blocks that came. Raises DataCorrupt where they are not among them."""
    if not (asked_first or reply.start) and len(body) == reply.payload_size <= asked_end:
        return body  # all of a small blob, as nearly always
    first = min(asked_first, reply.payload_size)
    end = min(asked_end, reply.payload_size)
    if first == end:
        return b""
    if reply.start > first or reply.start + len(body) < end:
        raise DataCorrupt(f"asked for bytes {first} to {end}, got {len(body)} from {reply.start} on")
    if reply.start == first and len(body) == end - first:
        return body
    return memoryview(body)[first - reply.start : end - reply.start]
