"""What a blob is: its properties, its state, and the join that makes every replica agree on that state.

The bytes of a blob never change. What may change is its state, and only through `join`: commutative, associative and
idempotent, so replicas that saw the same changes in any order, any number of times, hold the same state.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

NEVER_MS = (1 << 63) - 1
"""`expires_at_ms` of a permanent blob: the top of the order, so that permanence wins every join."""


class BlobState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that may change about a blob.

    The larger (life_version, deleted) wins, so a delete wins within a life version and an undelete is the next life version.
    `expires_at_ms` only grows, NEVER_MS is its top. The default is the bottom: what a replica knows of a blob it never saw.
    The bounds are those of the fields on disk; they are checked where a state is decoded.
    """

    life_version: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)] = 0
    deleted: bool = False
    expires_at_ms: Annotated[int, msgspec.Meta(ge=0, le=NEVER_MS)] = 0

    def expired(self, now_ms: int) -> bool:
        """Whether the time to live has passed at `now_ms`."""
        return self.expires_at_ms <= now_ms


def join(a: BlobState, b: BlobState) -> BlobState:
    """The least state that is at least `a` and at least `b`."""
    life = max((a.life_version, a.deleted), (b.life_version, b.deleted))
    return BlobState(life[0], life[1], max(a.expires_at_ms, b.expires_at_ms))


class DatedState(msgspec.Struct, frozen=True, gc=False):
    """A state, and when its latest change was made (wall clock of whoever made it, milliseconds; 0: not known).

    Retention counts from that time, so it travels with the change and joins with it.
    """

    state: BlobState = BlobState()
    changed_at_ms: int = 0

    def joined(self, other: DatedState) -> DatedState:
        """Both changes together: the later time is that of the latest one."""
        return DatedState(join(self.state, other.state), max(self.changed_at_ms, other.changed_at_ms))


class BlobProperties(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What was said about a blob when it was put; stored in its record and never changed.

    `size` in bytes is the whole blob's, also in a composite record. `digest` is the xxh3-128 of the whole blob; of one that was
    put together from parts, and whose bytes nobody went through as a whole, it is that of the digests of its `parts`.
    `parent`, `chunk_index` and `keep_s` are set in the record of a data chunk: the id of the composite it belongs to, its place
    in the body that it came with, and how many seconds it is kept at least though its composite has not come.
    `bound_until_ms` is of one that was made for a name and lives for a while without: until when it does once a name has it.
    """

    size: int
    digest: bytes
    content_type: str = "application/octet-stream"
    service_id: str = ""
    owner_id: str = ""
    content_encoding: str = ""
    filename: str = ""
    private: bool = False
    parent: bytes = b""
    chunk_index: int = 0
    keep_s: int = 0
    parts: int = 0
    """0 where `digest` is of the bytes."""
    bound_until_ms: int = 0


class ChunkRef(msgspec.Struct, frozen=True, array_like=True):
    """One data chunk of a composite blob, as its composite record lists it."""

    id: bytes
    size: int
    digest: bytes


class Composite(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a composite record: what the blob consists of, in order."""

    total_size: int
    chunks: tuple[ChunkRef, ...]
