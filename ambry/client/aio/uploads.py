"""Uploads in parts, which go on another day, from another process, through another frontend."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from ambry.client import wire
from ambry.client.aio.blobs import AsyncBlobs
from ambry.client.aio.names import AsyncNames
from ambry.client.aio.upload_session import AsyncUpload
from ambry.client.aio.waiting import ASYNCHRONOUS
from ambry.client.model import BlobInfo, BlobSource, Progress, Timeout, TransferConfig, UploadedPart
from ambry.client.refs import NameRef
from ambry.client.sending import PartProgress, UploadName
from ambry.client.sources import Body, open_body
from ambry.client.transfer import BlobUpload
from ambry.client.upload_terms import UploadTerms
from ambry.client.wire import blobs as blob_wire
from ambry.client.wire.message import ApiRequest, Headers
from ambry.durability import Durability
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    BlobNotFound,
    InvalidRequest,
    PreconditionFailed,
    UpdateConflict,
    UploadNotFound,
)
from ambry.ids import BlobId


class AsyncUploads(AsyncBlobs, AsyncNames):
    """The calls on uploads in parts."""

    async def start_upload(
        self,
        *,
        name: str | NameRef | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        size: int | None = None,
        part_size: int | None = None,
        checksum: str | None = None,
        progress: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> AsyncUpload:
        """Begin one; what its blob will be is said here. Nobody can read anything before it is completed.

        With `size`, of the whole, or `part_size`, of every part but the last, parts of other sizes are refused before they are
        sent, and an upload of which parts are missing before it is completed. `checksum` is as of `complete`. `progress` is
        called with the bytes of all parts, `transfer` says how each is sent.

        With `name` the name points to the blob once it is completed, as with `put`; what `if_absent` and `if_match` say is
        looked at then.

        >>> async with await client.start_upload(name="models/in-parts") as upload:
        ...     part = await upload.write_part(1, b"weights")
        ...     info = await upload.complete()
        >>> await client.get_bytes("models/in-parts")
        b'weights'
        """
        place = None if name is None else self._name(name)
        if place is None and (if_absent or if_match is not None):
            raise InvalidRequest("if_absent and if_match are about a name; a blob without one is always new")
        request = blob_wire.upload_request(
            size=None,
            digest="",
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            filename=filename,
            durability=durability,
        )
        whole = "" if checksum is None else blob_wire.checksum_text(checksum)
        terms = UploadTerms(size=size, part_size=part_size, checksum=whole)
        self._transfer_of(transfer)
        headers = self._of_blob(request.headers)
        upload = await self._begin(headers | ({} if place is None else wire.uploads.naming_headers(place)), timeout)
        upload.naming = None if place is None else UploadName(place, if_absent, if_match)
        upload.terms = terms
        upload.progress = None if progress is None else PartProgress(progress, size)
        upload.transfer = transfer
        upload.pace = self._pace_of(transfer)
        return upload

    async def _begin(self, headers: Mapping[str, str], timeout: Timeout | None) -> AsyncUpload:
        told = wire.uploads.parse_session(*await self._asked(wire.uploads.begin_request(headers), b"", timeout))
        begun = AsyncUpload(self, wire.uploads.parse_id(told.upload), BlobId.parse(told.id), timeout)
        begun.said = headers
        return begun

    async def resume_upload(
        self, upload: str, *, if_absent: bool = False, if_match: str | None = None, timeout: Timeout | None = None
    ) -> AsyncUpload:
        """Go on with one by its id. Raises UploadNotFound, UploadGone where it is over.

        The name that it began with is the server's to tell. What `if_absent` and `if_match` said then nobody remembers, but
        `state()` of the upload: they are said here again, and looked at when it is completed.

        >>> begun = await client.start_upload()
        >>> upload = await client.resume_upload(begun.id)
        >>> await upload.parts()
        []
        >>> await upload.abort()
        """
        found = AsyncUpload(self, wire.uploads.parse_id(upload), None, timeout)
        place = wire.uploads.name_of(await found.show())
        if place is not None:
            found.naming = UploadName(place, if_absent, if_match)
        elif if_absent or if_match is not None:
            raise InvalidRequest(f"if_absent and if_match are about a name, and the upload {upload} is for none")
        return found

    async def _asked(self, request: ApiRequest, body: bytes | None, timeout: Timeout | None) -> tuple[Headers, bytes]:
        """The answer to a short request, which does no harm when it is repeated."""
        return await self._ask(request, body, lambda headers, answer: (headers, answer), timeout)

    async def _send_part(
        self,
        upload: AsyncUpload,
        number: int,
        data: BlobSource | Body,
        progress: Progress | None,
        timeout: Timeout | None,
    ) -> UploadedPart:
        if isinstance(data, Body):
            body = data
        else:
            chunk_size = self._chunk_size(upload.transfer)
            body = open_body(data, size=None, chunk_size=chunk_size, asynchronous=ASYNCHRONOUS)
            body.pace = upload.pace
        upload.terms.check_part(number, body.size)
        request = wire.uploads.part_request(upload.id, number, body.size, body.known_digest())
        sent = BlobUpload(request, body, checksum="", verify=self._verify, progress=progress)
        headers = await self._send(sent, self._attempts(timeout), timeout)
        wire.uploads.check_acknowledged(headers, number, sent.digest)
        return UploadedPart(part=number, size=sent.sent, checksum=sent.digest)

    async def _name_it(self, upload: str, info: BlobInfo, name: UploadName, timeout: Timeout | None) -> BlobInfo:
        """Let a name point to the blob that an upload made for it, which goes with it from then on; where it may not, the blob
        goes.

        Raises AlreadyExists, PreconditionFailed, UpdateConflict.
        """
        place, if_absent, if_match = name
        request = partial(
            wire.names.bind_request, place, info.id, overwrite=not if_absent, if_match=if_match, owned=True
        )
        try:
            try:
                await self._ask(*request(upload=upload), wire.names.parse_changed, timeout)
            except UploadNotFound:
                # It was another datacenter's, which is away: here, who may delete the blob may let it go with a name.
                await self._ask(*request(), wire.names.parse_changed, timeout)
        except (AlreadyExists, PreconditionFailed, UpdateConflict) as error:
            # The same upload may have named it before, unheard.
            if await self._points_to(place, timeout) != info.id:
                with suppress(AmbryError):
                    await self.delete(info.id)
                if isinstance(error, AlreadyExists):
                    wire.names.reword(error, place, "without if_absent it points to the new blob")
                raise
        return replace(info, name=place.name)

    async def _looked_at(self, ref: BlobId | NameRef, made: BlobInfo, timeout: Timeout | None) -> BlobInfo:
        """What is told of a blob that was made of an upload of which is not known here what was said; to who may not read,
        what its completion told."""
        try:
            return replace(await self.head(ref, timeout=timeout), durability=made.durability)
        except AccessDenied:
            return made

    async def _points_to(self, place: NameRef, timeout: Timeout | None) -> BlobId | None:
        """The blob of a name; None where there is none, or this client may not read it."""
        try:
            return await self._identify(place, timeout)
        except (AccessDenied, BlobNotFound):
            return None
