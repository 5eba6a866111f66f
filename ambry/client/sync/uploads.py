# Generated from ambry/client/aio/uploads.py by `make sync-client`; change that file, not this one.
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
from ambry.client.model import BlobInfo, BlobSource, Progress, Timeout, TransferConfig, UploadedPart
from ambry.client.refs import NameRef
from ambry.client.sending import PartProgress, UploadName
from ambry.client.sources import Body, open_body
from ambry.client.sync.blobs import SyncBlobs
from ambry.client.sync.names import SyncNames
from ambry.client.sync.upload_session import Upload
from ambry.client.sync.waiting import ASYNCHRONOUS
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


class SyncUploads(SyncBlobs, SyncNames):
    """The calls on uploads in parts."""

    def start_upload(
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
    ) -> Upload:
        """Begin one; what its blob will be is said here. Nobody can read anything before it is completed.

        With `size`, of the whole, or `part_size`, of every part but the last, parts of other sizes are refused before they are
        sent, and an upload of which parts are missing before it is completed. `checksum` is as of `complete`. `progress` is
        called with the bytes of all parts, `transfer` says how each is sent.

        With `name` the name points to the blob once it is completed, as with `put`; what `if_absent` and `if_match` say is
        looked at then.

        >>> with client.start_upload(name="models/in-parts") as upload:
        ...     part = upload.write_part(1, b"weights")
        ...     info = upload.complete()
        >>> client.get_bytes("models/in-parts")
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
        upload = self._begin(headers | ({} if place is None else wire.uploads.naming_headers(place)), timeout)
        upload.naming = None if place is None else UploadName(place, if_absent, if_match)
        upload.terms = terms
        upload.progress = None if progress is None else PartProgress(progress, size)
        upload.transfer = transfer
        upload.pace = self._pace_of(transfer)
        return upload

    def _begin(self, headers: Mapping[str, str], timeout: Timeout | None) -> Upload:
        told = wire.uploads.parse_session(*self._asked(wire.uploads.begin_request(headers), b"", timeout))
        begun = Upload(self, wire.uploads.parse_id(told.upload), BlobId.parse(told.id), timeout)
        begun.said = headers
        return begun

    def resume_upload(
        self, upload: str, *, if_absent: bool = False, if_match: str | None = None, timeout: Timeout | None = None
    ) -> Upload:
        """Go on with one by its id. Raises UploadNotFound, UploadGone where it is over.

        The name that it began with is the server's to tell. What `if_absent` and `if_match` said then nobody remembers, but
        `state()` of the upload: they are said here again, and looked at when it is completed.

        >>> begun = client.start_upload()
        >>> upload = client.resume_upload(begun.id)
        >>> upload.parts()
        []
        >>> upload.abort()
        """
        found = Upload(self, wire.uploads.parse_id(upload), None, timeout)
        place = wire.uploads.name_of(found.show())
        if place is not None:
            found.naming = UploadName(place, if_absent, if_match)
        elif if_absent or if_match is not None:
            raise InvalidRequest(f"if_absent and if_match are about a name, and the upload {upload} is for none")
        return found

    def _asked(self, request: ApiRequest, body: bytes | None, timeout: Timeout | None) -> tuple[Headers, bytes]:
        """The answer to a short request, which does no harm when it is repeated."""
        return self._ask(request, body, lambda headers, answer: (headers, answer), timeout)

    def _send_part(
        self,
        upload: Upload,
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
        headers = self._send(sent, self._attempts(timeout), timeout)
        wire.uploads.check_acknowledged(headers, number, sent.digest)
        return UploadedPart(part=number, size=sent.sent, checksum=sent.digest)

    def _name_it(self, upload: str, info: BlobInfo, name: UploadName, timeout: Timeout | None) -> BlobInfo:
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
                self._ask(*request(upload=upload), wire.names.parse_changed, timeout)
            except UploadNotFound:
                # It was another datacenter's, which is away: here, who may delete the blob may let it go with a name.
                self._ask(*request(), wire.names.parse_changed, timeout)
        except (AlreadyExists, PreconditionFailed, UpdateConflict) as error:
            # The same upload may have named it before, unheard.
            if self._points_to(place, timeout) != info.id:
                with suppress(AmbryError):
                    self.delete(info.id)
                if isinstance(error, AlreadyExists):
                    wire.names.reword(error, place, "without if_absent it points to the new blob")
                raise
        return replace(info, name=place.name)

    def _looked_at(self, ref: BlobId | NameRef, made: BlobInfo, timeout: Timeout | None) -> BlobInfo:
        """What is told of a blob that was made of an upload of which is not known here what was said; to who may not read,
        what its completion told."""
        try:
            return replace(self.head(ref, timeout=timeout), durability=made.durability)
        except AccessDenied:
            return made

    def _points_to(self, place: NameRef, timeout: Timeout | None) -> BlobId | None:
        """The blob of a name; None where there is none, or this client may not read it."""
        try:
            return self._identify(place, timeout)
        except (AccessDenied, BlobNotFound):
            return None
