"""A blob under another name, of the same store or of another one: what is said of it goes with its bytes.

The content type, the user metadata, the file name and the time that it has left. `ambry cp`, `mv`, `sync` and the file
system copy by this alone, so that none of them forgets what the others keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ambry.client.refs import PinnedName
from ambry.clock import Clock, SystemClock
from ambry.errors import PreconditionFailed, UpdateConflict

if TYPE_CHECKING:
    from ambry.client.model import BlobInfo, Progress, UploadedPart
    from ambry.client.refs import NameRef
    from ambry.client.sync.client import AmbryClient
    from ambry.ids import BlobId

PART_BYTES = 8 << 20
WHOLE_BYTES = 16 << 20
"""Up to here a blob is held in memory; a larger one goes part by part."""


def said_by(info: BlobInfo, clock: Clock | None = None) -> dict[str, Any]:
    """What a copy says of itself, as `put` takes it. It lives as long as what it is of."""
    left = None
    if info.expires is not None:
        left = max(1, int(info.expires.timestamp() - (clock or SystemClock()).wall_ms() / 1000))
    return {
        "content_type": info.content_type,
        "metadata": dict(info.metadata),
        "filename": info.filename or None,
        "ttl": left,
    }


def copy_blob(
    reading: AmbryClient,
    writing: AmbryClient,
    blob: BlobId | PinnedName,
    place: NameRef,
    *,
    if_absent: bool = False,
    said: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> BlobInfo:
    """Copy a blob of `reading`, as it was found there, to a name of `writing`.

    `said` stands in place of what the blob says of itself. The digest that it has over there is compared with all
    bytes that arrived. Raises what the clients' calls raise.
    """
    info = reading.head(blob)
    if isinstance(blob, PinnedName):
        blob = replace(blob, etag=info.etag)
    told = {**said_by(info), **(said or {})}
    if info.size <= WHOLE_BYTES:
        return writing.put(reading.get_bytes(blob), name=place, if_absent=if_absent, progress=progress, **told)
    sent = 0
    parts: list[UploadedPart] = []
    with writing.start_upload(name=place, if_absent=if_absent, **told) as upload:
        for number, start in enumerate(range(0, info.size, PART_BYTES), start=1):
            piece = reading.get_bytes(blob, range=(start, min(start + PART_BYTES, info.size)))
            parts.append(upload.write_part(number, piece))
            sent += len(piece)
            if progress is not None:
                progress(sent, info.size)
        return upload.complete(parts, checksum=info.checksum or None)


def delete_copied(client: AmbryClient, blob: BlobId | PinnedName) -> None:
    """Delete what was copied; a name while it points to that blob. Raises UpdateConflict where another one took its place."""
    try:
        client.delete(blob)
    except PreconditionFailed as error:
        raise UpdateConflict("it points to another blob since it was copied; it stays, beside its copy") from error
