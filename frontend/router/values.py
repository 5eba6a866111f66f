"""The values that go into the router and come out of it; what stands above it needs nothing else of it.

`BlobHead` is what is known of a blob without its content; the SDK calls the same `BlobInfo`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ambry.blob import BlobProperties, BlobState
from ambry.durability import Durability
from ambry.errors import RangeNotSatisfiable
from ambry.ids import BlobId


class PutSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be put, but for its bytes and its container. `properties` holds everything except size and digest."""

    properties: BlobProperties
    metadata: bytes
    """Encoded (ambry/format/properties.py)."""
    created_at_ms: int
    expires_at_ms: int
    durability: Durability


class PutResult(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that is as durable as was asked for."""

    id: BlobId
    size: int
    digest: bytes
    created_at_ms: int
    parts: int = 0
    """As in ambry.blob.BlobProperties."""


DigestCheck = Callable[[bytes], Awaitable[None]]
"""Called with the xxh3-128 of all bytes of a put before anything becomes visible; raises to refuse the blob.

None stands for a put of which nothing was said that could be compared."""


class BlobHead(msgspec.Struct, frozen=True, kw_only=True):
    """A blob without its content, as the user sees it."""

    id: BlobId
    properties: BlobProperties
    metadata: dict[str, str]
    state: BlobState
    created_at_ms: int
    deleted_at_ms: int = 0
    """When a deleted one was, as far as the replica knows that was read."""
    encrypted: bool = False
    """Whether its bytes are where they are stored."""


class NodePresence(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a blob one data node holds: of its own record and its chunks, `total` in number."""

    node: str
    datacenter: str
    address: str
    reachable: bool
    present: int
    deleted: int
    total: int
    error: str
    """Why it is not reachable, empty when it is."""


class Span(msgspec.Struct, frozen=True):
    """Bytes `first` to `end` (exclusive) of a blob."""

    first: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.first


class RangeSpec(msgspec.Struct, frozen=True):
    """A range that a user asked for: `first` to `last` inclusive, either may be None (open end; suffix of `last` bytes)."""

    first: int | None
    last: int | None

    def resolve(self, size: int) -> Span:
        """What it means in a blob of `size` bytes. Raises RangeNotSatisfiable (RFC 9110 section 14.1.1)."""
        if self.first is None:
            suffix = min(self.last or 0, size)
            if suffix:
                return Span(size - suffix, size)
        elif self.first < size:
            return Span(self.first, size if self.last is None else min(self.last + 1, size))
        raise RangeNotSatisfiable(f"the range lies outside the blob of {size} bytes", size=size)


def span_of(wanted: RangeSpec | None, size: int) -> Span:
    """What a range is of a blob of `size` bytes, or the whole of it. Raises RangeNotSatisfiable."""
    return Span(0, size) if wanted is None else wanted.resolve(size)
