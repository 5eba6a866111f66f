"""Files: a large one is sent in parts, several at a time, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ambry.client import wire
from ambry.client.aio.upload_session import AsyncUpload
from ambry.client.aio.uploads import AsyncUploads
from ambry.client.aio.waiting import at_once, blocking
from ambry.client.model import BlobInfo, Progress, StrPath, Timeout, TransferConfig, UploadedPart
from ambry.client.pace import Bandwidth
from ambry.client.refs import NameRef
from ambry.client.sections import (
    CHUNK_BYTES,
    FileSection,
    FileState,
    RememberedUpload,
    check_unchanged,
    fitting,
    large_state,
    said_of,
    sections_of,
)
from ambry.client.sending import Arrived, Sending, UploadName, check_made
from ambry.client.small_file import local_path
from ambry.client.wire import blobs as blob_wire
from ambry.durability import Durability
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    BlobNotFound,
    InvalidRequest,
    MetadataUnavailable,
    MethodNotAllowed,
    PreconditionFailed,
    UpdateConflict,
    UploadNotFound,
)


class AsyncFileUploads(AsyncUploads):
    """The call that stores a file."""

    async def put_file(
        self,
        path: StrPath,
        *,
        resume: bool = True,
        name: str | NameRef | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: str | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
        resuming: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> BlobInfo:
        """`put` of a local file; its own name is stored as `filename` if none is given.

        From `transfer.threshold` bytes on it goes in parts, a few at a time, which are durable one by one. Where that breaks
        off, the same call goes on with what arrived, after a kill and on another day: `<path>.ambry-upload` says which upload
        it was, and nothing else of it is believed. The digests of parts decide, never their times. `resuming` is then called
        once, with the bytes that are there and those of the file. With `resume` false it is begun anew.

        A blob that came in parts has an `etag` of their digests, and no `checksum` unless one is given, for which the server
        reads it all. One with an `idempotency_key` is sent as one.

        >>> info = await client.put_file("model.bin", name="models/from-a-file")
        >>> info.size, info.filename
        (1000, 'model.bin')
        """
        timeout = self._whole(timeout)
        file = Path(local_path(path))
        moved = self._transfer_of(transfer)
        state = None if idempotency_key is not None else await blocking(large_state, file, moved.threshold)

        async def whole() -> BlobInfo:
            return await self.put(
                file,
                name=name,
                if_absent=if_absent,
                if_match=if_match,
                ttl=ttl,
                content_type=content_type,
                metadata=metadata,
                checksum=checksum,
                filename=filename,
                durability=durability,
                idempotency_key=idempotency_key,
                progress=progress,
                transfer=transfer,
                timeout=timeout,
            )

        if state is None:
            return await whole()
        request = blob_wire.upload_request(
            size=None,
            digest="",
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            filename=file.name if filename is None else filename,
            durability=durability,
        )
        place = None if name is None else self._name(name)
        headers = self._of_blob(request.headers)
        if place is not None:
            headers.update(wire.uploads.naming_headers(place))
            await self._look_at(UploadName(place, if_absent, if_match), timeout)
        elif if_absent or if_match is not None:
            raise InvalidRequest("if_absent and if_match are about a name; a blob without one is always new")
        sent = _FilePut(
            file=file,
            state=state,
            headers=headers,
            remembered=RememberedUpload(file, said_of(headers)),
            transfer=moved,
            pace=self._pace_of(transfer),
            checksum="" if checksum is None else blob_wire.checksum_text(checksum),
            progress=progress,
            resuming=resuming,
            timeout=timeout,
        )
        await blocking(sent.remembered.hold)
        try:
            begun = await self._gone_on_with(sent) if resume else None
            if begun is None:
                try:
                    begun = await self._anew(sent)
                except (MetadataUnavailable, MethodNotAllowed):
                    # Blobs go on without a metadata store; uploads in parts do not.
                    return await whole()
            return await self._stored(
                sent, begun, None if place is None else UploadName(place, if_absent, if_match), resume
            )
        finally:
            await blocking(sent.remembered.release)

    async def _look_at(self, name: UploadName, timeout: Timeout | None) -> None:
        """Whether a name may point to a blob that was not sent yet, as far as it can be seen.

        Raises AlreadyExists, PreconditionFailed.
        """
        place, if_absent, if_match = name
        if not if_absent and if_match is None:
            return
        try:
            info = await self._head(place, timeout)
        except AccessDenied:
            return
        except BlobNotFound:
            if if_match is not None:
                raise PreconditionFailed(f"the name {place} points to nothing; nothing was sent") from None
            return
        if if_absent:
            raise AlreadyExists(f"the name {place} exists; nothing was sent")
        if if_match not in ("*", info.etag):
            raise PreconditionFailed(f"the name {place} points to a blob with the etag {info.etag}; nothing was sent")

    async def _stored(self, sent: _FilePut, begun: _Begun, name: UploadName | None, resume: bool) -> BlobInfo:
        try:
            info, upload = await self._in_parts(sent, begun)
        except BaseException as error:
            if resume:
                sent.remembered.tell(error)
            raise
        if name is not None:
            try:
                info = await self._name_it(upload.id, info, name, sent.timeout)
            except (AlreadyExists, PreconditionFailed, UpdateConflict):
                await blocking(sent.remembered.forget)
                raise
        await blocking(sent.remembered.forget)
        return info

    async def _in_parts(self, put: _FilePut, begun: _Begun) -> tuple[BlobInfo, AsyncUpload]:
        """The blob of a file, with what is there of it already, and the upload that it came from."""
        try:
            return await self._finish(put, begun), begun.upload
        except UpdateConflict:
            if begun.arrived.parts is not None and (await begun.upload.show()).state == "open":
                raise
        # It was completed, and the file is another one since, or others completed it: that is another blob.
        begun = await self._anew(put)
        return await self._finish(put, begun), begun.upload

    async def _anew(self, put: _FilePut) -> _Begun:
        upload = await self._begin(put.headers, put.timeout)
        begun = _Begun(upload, fitting(put.transfer.part_size, put.size), Arrived([]))
        await blocking(put.remembered.save, upload.id, begun.part_size)
        return begun

    async def _gone_on_with(self, put: _FilePut) -> _Begun | None:
        """The upload that is remembered, if it is of the same blob and still there."""
        found = await blocking(put.remembered.load)
        if found is None or fitting(found.part_size, put.size) != found.part_size:
            return None
        try:
            upload = await self.resume_upload(found.upload, timeout=put.timeout)
            upload.said = put.headers
            is_open = (await upload.show()).state == "open"
            arrived = Arrived(await upload.parts() if is_open else None)
        except UploadNotFound:
            return None
        if put.resuming is not None:
            put.resuming(arrived.bytes_of(put.size, found.part_size), put.size)
        return _Begun(upload, found.part_size, arrived)

    async def _finish(self, put: _FilePut, begun: _Begun) -> BlobInfo:
        """Send what is not there, and complete it."""
        sending = Sending(begun.arrived, put.size, put.progress)

        async def one(section: FileSection) -> UploadedPart:
            try:
                sending.check()
                if sending.may_be_there(section):
                    digest = await blocking(section.digest)
                    own = UploadedPart(part=section.number, size=section.section_size, checksum=digest)
                    if sending.is_there(own):
                        sending.note(section.number, section.section_size)
                        return own
                number = section.number
                section.pace = put.pace
                async with self._memory.hold(CHUNK_BYTES):
                    return await begun.upload.write_part(
                        number, section, progress=lambda done, _: sending.note(number, done)
                    )
            except BaseException as error:
                sending.failed(error)
                raise

        sections = sections_of(put.file, put.size, begun.part_size, sending.check)
        try:
            parts = await at_once(one, sections, put.transfer.max_concurrency, sending.stop)
        except Exception:
            if sending.failure is not None:
                raise sending.failure from None
            raise
        await blocking(check_unchanged, put.file, put.state)
        info = await begun.upload.make(parts, checksum=put.checksum or None, timeout=put.timeout)
        check_made(info, put.size, parts, put.checksum, begun.upload.completed)
        return info


@dataclass(frozen=True, slots=True, kw_only=True)
class _FilePut:
    """A file as it was when it began, and what is said of its blob. `checksum` is empty where none is known."""

    file: Path
    state: FileState
    headers: dict[str, str]
    remembered: RememberedUpload
    transfer: TransferConfig
    pace: Bandwidth | None
    checksum: str
    progress: Progress | None
    resuming: Progress | None
    timeout: Timeout | None

    @property
    def size(self) -> int:
        return self.state.size


@dataclass(frozen=True, slots=True)
class _Begun:
    """An upload that goes on."""

    upload: AsyncUpload
    part_size: int
    arrived: Arrived
