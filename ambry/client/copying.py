"""A blob under another name, of the same store or of another one: what is said of it goes with its bytes.

The content type, the user metadata, the file name and the time that it has left. `ambry cp`, `mv`, `sync` and the file
system copy by this alone, so that none of them forgets what the others keep.
"""

from __future__ import annotations

from dataclasses import replace
from typing import IO, TYPE_CHECKING, Unpack

from ambry.client.refs import PinnedName
from ambry.client.sections import fitting
from ambry.client.stopping import FileMove
from ambry.client.sync.waiting import at_once
from ambry.client.sync.writing import SyncWriting
from ambry.errors import InvariantBroken, PreconditionFailed, UpdateConflict

if TYPE_CHECKING:
    from ambry.client.model import BlobInfo, Progress, SaidOfBlob, UploadedPart
    from ambry.client.refs import NameRef
    from ambry.client.sync.client import AmbryClient
    from ambry.ids import BlobId

PART_BYTES = 8 << 20
WHOLE_BYTES = 16 << 20
"""Up to here a blob is held in memory; a larger one goes part by part."""
PARTS_AT_ONCE = 2
"""One is read while the other one is written."""


def said_by(client: AmbryClient, info: BlobInfo) -> SaidOfBlob:
    """What a copy says of itself, as `put` takes it. It lives as long as what it is of, by the time of the store that has that.

    What is left of that is as of the answer that `info` is of. Raises what `store_time` raises, where that did not say when.
    """
    left = None
    if info.expires is not None:
        left = max(1, int((info.expires - (info.answered or client.store_time())).total_seconds()))
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
    said: SaidOfBlob | None = None,
    progress: Progress | None = None,
) -> BlobInfo:
    """Copy a blob of `reading`, as it was found there, to a name of `writing`.

    `said` stands in place of what the blob says of itself. The digest that it has over there is compared with all
    bytes that arrived. Raises what the clients' calls raise.
    """
    info = reading.head(blob)
    if isinstance(blob, PinnedName):
        blob = replace(blob, etag=info.etag)
    told: SaidOfBlob = {**said_by(reading, info), **(said or {})}
    if info.size <= WHOLE_BYTES:
        return writing.put(reading.get_bytes(blob), name=place, if_absent=if_absent, progress=progress, **told)
    part_size = fitting(PART_BYTES, info.size)
    moving = FileMove()
    with writing.start_upload(name=place, if_absent=if_absent, size=info.size, progress=progress, **told) as upload:

        def one(number: int) -> UploadedPart:
            start = (number - 1) * part_size
            try:
                moving.check()
                with reading._memory.hold(min(part_size, info.size - start)):  # pyright: ignore[reportPrivateUsage]
                    piece = reading.get_bytes(blob, range=(start, min(start + part_size, info.size)))
                    return upload.write_part(number, piece)
            except BaseException as error:
                moving.failed(error)
                raise

        try:
            parts = at_once(one, range(1, -(-info.size // part_size) + 1), PARTS_AT_ONCE, moving.stop)
        except Exception:
            if moving.failure is not None:
                raise moving.failure from None
            raise
        return upload.complete(parts, checksum=info.checksum or None)


def put_stream(
    client: AmbryClient,
    stream: IO[bytes],
    place: NameRef,
    *,
    if_absent: bool = False,
    if_match: str | None = None,
    progress: Progress | None = None,
    **said: Unpack[SaidOfBlob],
) -> BlobInfo:
    """What comes out of a pipe, to a name: part by part, each of which is sent again where it breaks off.

    `said` is said of the blob, as `put` takes it. Raises what `put` raises.
    """
    writing = SyncWriting(
        client, place, PART_BYTES, if_absent=if_absent, if_match=if_match, timeout=None, said={"filename": None, **said}
    )
    sent = 0
    try:
        while len(piece := stream.read(writing.part_size)) == writing.part_size:
            writing.write_part(piece)
            sent += len(piece)
            if progress is not None:
                progress(sent, None)
        writing.end(piece)
        info = writing.publish()
    except BaseException:
        writing.discard()
        raise
    if info is None:
        raise InvariantBroken("what was ended a moment ago is published once")
    if progress is not None:
        progress(info.size, info.size)
    return info


def delete_copied(client: AmbryClient, blob: BlobId | PinnedName) -> None:
    """Delete what was copied; a name while it points to that blob. Raises UpdateConflict where another one took its place."""
    try:
        client.delete(blob)
    except PreconditionFailed as error:
        raise UpdateConflict("it points to another blob since it was copied; it stays, beside its copy") from error
