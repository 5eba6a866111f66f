"""What is kept of quotas: local rows of the metadata store, in the space USAGE. They concern one datacenter.

    key                            value, MessagePack
    "c", account, container        QuotaCount: what the container has, as far as frontends know; of an account, container 0
    "g", account, container, owner QuotaAmount: what one process may still put and is putting; ends by itself

Ids have 4 bytes, big-endian; an owner 8. Whoever changes what he holds changes the count in the same write, and the count is
compared and set: so it is never less than what was put and is being put, until a count of the data nodes says otherwise.
"""

from __future__ import annotations

import msgspec

from ambry.errors import DataCorrupt


class QuotaAmount(msgspec.Struct, frozen=True, array_like=True):
    """Bytes and blobs of users."""

    bytes: int = 0
    blobs: int = 0

    def __add__(self, other: QuotaAmount) -> QuotaAmount:
        return QuotaAmount(self.bytes + other.bytes, self.blobs + other.blobs)

    def __sub__(self, other: QuotaAmount) -> QuotaAmount:
        return QuotaAmount(self.bytes - other.bytes, self.blobs - other.blobs)

    def covers(self, other: QuotaAmount) -> bool:
        return self.bytes >= other.bytes and self.blobs >= other.blobs

    @property
    def positive(self) -> QuotaAmount:
        """Nothing where it is less than nothing."""
        return QuotaAmount(max(0, self.bytes), max(0, self.blobs))


NOTHING = QuotaAmount()


class QuotaCount(msgspec.Struct, frozen=True, array_like=True):
    """What a container has. With a `mark` it is about to be counted: see frontend/containers/recount.py."""

    used: QuotaAmount
    """All that processes hold is in it."""
    mark: bytes = b""
    since: QuotaAmount = NOTHING
    """How much `used` has grown since the mark."""
    at_mark: QuotaAmount = NOTHING
    """What processes held at the mark: it may have been put later, or was given back, which `since` says."""

    def plus(self, more: QuotaAmount) -> QuotaCount:
        return QuotaCount(self.used + more, self.mark, self.since + more, self.at_mark)


encode = msgspec.msgpack.Encoder().encode
_count = msgspec.msgpack.Decoder(QuotaCount).decode
_amount = msgspec.msgpack.Decoder(QuotaAmount).decode


def decode_count(value: bytes) -> QuotaCount:
    """Raises DataCorrupt."""
    try:
        return _count(value)
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"what a container with a quota has cannot be read: {cause}") from cause


def decode_amount(value: bytes) -> QuotaAmount:
    """Raises DataCorrupt."""
    try:
        return _amount(value)
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"what is taken of a quota cannot be read: {cause}") from cause


def count_key(scope: int) -> bytes:
    return b"c" + scope.to_bytes(8, "big")


def grants_key(scope: int) -> bytes:
    """What the keys of all that is held of a container begin with."""
    return b"g" + scope.to_bytes(8, "big")
