"""What followers are told: changes of blobs and of the metadata as events.

A blob's event is made of its state, and several changes may be told as the latest of them: what was put and deleted since is
told as put and deleted, what was extended and then deleted as deleted. Registers tell each of their versions.
"""

from __future__ import annotations

import base64

import msgspec

from ambry.blob import NEVER_MS
from ambry.errors import AmbryError
from ambry.protocol.messages.feed import FeedChange
from ambry.rest.versions import text_of
from frontend.datasets.rows import AliasMove, decode_move
from frontend.datasets.versions import unpack_parts
from frontend.metadata.spaces import Space
from frontend.metadata.store import Version
from frontend.names.rows import NamedBlob, decode_named


class FeedEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """One change. Times are milliseconds since 1970, by the clock of who made it."""

    type: str
    """What it is about, a dot, and what became of it."""
    time_ms: int
    blob_id: str | None = None
    blob_size: int | None = None
    expiration_time_ms: int | None = None
    """None where it lives for ever."""
    life_version: int = 0
    """Of a blob: how often it was undeleted."""
    name: str | None = None
    dataset: str | None = None
    version: str | None = None
    alias: str | None = None
    who: str = ""
    why: str = ""
    datacenter: int | None = None
    """Of a change of the metadata: the id of the one where it was made."""
    late: bool = False
    """Whether it came here behind a newer change of the same, which is told again behind it."""


def blob_events(change: FeedChange) -> list[FeedEvent]:
    """What is told of a blob, in the order in which it happened."""
    state = change.state
    blob_id = id_text(change.id)
    expires_ms = None if state.expires_at_ms >= NEVER_MS else state.expires_at_ms
    found: list[FeedEvent] = []
    if change.put:
        size = None if change.size < 0 else change.size
        made_ms = int.from_bytes(change.id[16:22], "big")  # a UUIDv7 begins with the time (RFC 9562)
        found.append(FeedEvent("blob.put", made_ms, blob_id, size, expires_ms))
    type = ""
    if state.deleted:
        type = "blob.delete"
    elif state.life_version:
        type = "blob.undelete"
    elif change.updated:
        type = "blob.extend"
    if type:
        found.append(FeedEvent(type, change.changed_at_ms, blob_id, None, expires_ms, state.life_version))
    return found


def id_text(raw: bytes) -> str:
    """A blob id as users see it."""
    return base64.urlsafe_b64encode(raw).decode()


def put_event(blob: NamedBlob, time_ms: int) -> FeedEvent:
    """The put of a blob of which a name tells before its replica here does."""
    expires_ms = None if blob.expires_at_ms >= NEVER_MS else blob.expires_at_ms
    return FeedEvent("blob.put", time_ms, id_text(blob.id), blob.size, expires_ms)


def blob_of(version: Version) -> NamedBlob | None:
    """The blob that a version of a register points to; None where that cannot be read, which keeps nobody from the rest."""
    if version.value is None or version.space not in (Space.NAME, Space.VERSION):
        return None
    try:
        return decode_named(version.value)
    except AmbryError:
        return None


def _move(value: bytes | None) -> AliasMove | None:
    try:
        return None if value is None else decode_move(value)
    except AmbryError:
        return None


def register_event(version: Version, parts: int) -> FeedEvent:
    """What is told of a version of a register of SPACES; `parts`: of the versions of its dataset, if it is of one."""
    time_ms, datacenter = version.stamp.wall_ms, version.stamp.datacenter
    done = "put" if version.living else "delete"
    if version.space == Space.DATASET:
        return FeedEvent(f"dataset.{done}", time_ms, dataset=version.key.decode(), datacenter=datacenter)
    if version.space == Space.ALIAS:
        dataset, _, alias = version.key.decode().partition("\0")
        move = _move(version.value)
        return FeedEvent(
            f"alias.{done}",
            time_ms,
            dataset=dataset,
            alias=alias,
            version=None if move is None else move.version,
            who="" if move is None else move.who,
            why="" if move is None else move.why,
            datacenter=datacenter,
        )
    if version.space == Space.NAME:
        event = FeedEvent(f"name.{done}", time_ms, name=version.key.decode(), datacenter=datacenter)
    else:
        name, _, packed = version.key.partition(b"\0")
        number = text_of(unpack_parts(parts, packed))
        event = FeedEvent(f"version.{done}", time_ms, dataset=name.decode(), version=number, datacenter=datacenter)
    blob = blob_of(version)
    if blob is None:
        return event
    expires_ms = None if blob.expires_at_ms >= NEVER_MS else blob.expires_at_ms
    return msgspec.structs.replace(event, blob_id=id_text(blob.id), blob_size=blob.size, expiration_time_ms=expires_ms)
