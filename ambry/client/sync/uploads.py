# Generated from ambry/client/aio/uploads.py by `make sync-client`; change that file, not this one.
"""Uploads in parts, which go on another day, from another process, through another frontend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

from ambry.client import wire
from ambry.client.model import BlobInfo, BlobSource, Progress, Timeout, TransferConfig, UploadedPart
from ambry.client.pace import Bandwidth
from ambry.client.refs import NameRef
from ambry.client.sending import PartProgress, UploadName
from ambry.client.sources import Body, open_body
from ambry.client.sync.blobs import SyncBlobs
from ambry.client.sync.names import SyncNames
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
    ChecksumMismatch,
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

    def resume_upload(self, upload: str, *, timeout: Timeout | None = None) -> Upload:
        """Go on with one by its id. Raises UploadNotFound, UploadGone where it is over.

        >>> begun = client.start_upload()
        >>> upload = client.resume_upload(begun.id)
        >>> upload.parts()
        []
        >>> upload.abort()
        """
        found = Upload(self, wire.uploads.parse_id(upload), None, timeout)
        found.show()
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
        if (found := wire.uploads.acknowledged(headers)) != sent.digest:
            raise ChecksumMismatch(
                f"part {number} was sent with the xxh3-128 {sent.digest} and acknowledged with {found}; send it again"
            )
        return UploadedPart(part=number, size=sent.sent, checksum=found)

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


class Upload:
    """One upload in parts. As `async with` it is aborted when an error leaves the block, and else left as it is.

    >>> upload = client.start_upload(name="models/large")
    >>> part = upload.write_part(1, bytes(5 << 20))
    >>> state = upload.state()  # to keep, as JSON
    >>> upload = type(upload).resume(client, state)  # on another day
    >>> url = upload.presign_part(2)  # for somebody else to PUT the second part to
    >>> last = upload.write_part(2, b"the end")
    >>> [each.size for each in upload.parts()]
    [5242880, 7]
    >>> told = upload.show()
    >>> info = upload.complete()
    >>> info.size
    5242887
    >>> other = client.start_upload()
    >>> other.abort()
    """

    def __init__(self, client: SyncUploads, upload: str, blob: BlobId | None, timeout: Timeout | None) -> None:
        self._client = client
        self._timeout = timeout
        self.id = upload
        """32 hexadecimal digits: all that is needed to go on with it."""
        self.blob = blob
        """The id that its blob will have, once it was told."""
        self.said: Mapping[str, str] | None = None
        """The headers that it began with, where they are known here."""
        self.naming: UploadName | None = None
        """The name that will point to it."""
        self.terms = UploadTerms()
        """What its parts and its blob must be."""
        self.progress: PartProgress | None = None
        self.transfer: TransferConfig | None = None
        self.pace: Bandwidth | None = None
        """How fast its parts are sent together, where that was said."""

    def write_part(
        self, number: int, data: BlobSource | Body, *, progress: Progress | None = None, timeout: Timeout | None = None
    ) -> UploadedPart:
        """Store a part, from 1 to 10,000, durable on return. Again is the same; other bytes take its place.

        Parts may be sent in any order, and several at a time.
        """
        if progress is None and self.progress is not None:
            progress = self.progress.of(number)
        return self._client._send_part(self, number, data, progress, timeout or self._timeout)

    def presign_part(
        self, number: int, *, expires: timedelta = timedelta(hours=1), timeout: Timeout | None = None
    ) -> str:
        """A URL that takes the part of this number by a `PUT`, without a key; for whoever sends the bytes for us."""
        request = wire.signed.part_request(wire.uploads.part_request(self.id, number, None, ""), expires)
        parse = partial(wire.signed.parse_url, self._client.endpoints)
        return self._client._ask(request, None, parse, timeout or self._timeout)

    def parts(self, *, timeout: Timeout | None = None) -> list[UploadedPart]:
        """All that arrived, by number."""
        found: list[UploadedPart] = []
        after: int | None = 0
        while after is not None:
            told = self.show(after=after, timeout=timeout)
            found += [wire.uploads.part_of(each) for each in told.parts]
            after = told.next
        return found

    def show(self, *, after: int = 0, timeout: Timeout | None = None) -> wire.uploads.SessionAnswer:
        """What the server tells of it: its state, and up to 1,000 parts with numbers beyond `after`."""
        request = wire.uploads.show_request(self.id, after)
        told = wire.uploads.parse_session(*self._client._asked(request, None, timeout or self._timeout))
        self.blob = BlobId.parse(told.id)
        return told

    def state(self) -> dict[str, Any]:
        """What `resume` goes on from, as JSON may hold it."""
        known = {"upload": self.id, "said": None if self.said is None else dict(self.said), **self.terms.state()}
        if self.naming is None:
            return known
        place, if_absent, if_match = self.naming
        return {
            **known,
            "name": [place.name, place.account, place.container],
            "if_absent": if_absent,
            "if_match": if_match,
        }

    @classmethod
    def resume(cls, client: SyncUploads, state: Mapping[str, Any]) -> Upload:
        """Go on with one whose `state` was kept."""
        upload = client.resume_upload(state["upload"])
        upload.terms = UploadTerms.of_state(state)
        upload.said = state.get("said")
        if (name := state.get("name")) is not None:
            upload.naming = UploadName(NameRef(*name), state["if_absent"], state["if_match"])
        return upload

    def complete(
        self,
        parts: Sequence[UploadedPart] | None = None,
        *,
        checksum: str | None = None,
        timeout: Timeout | None = None,
    ) -> BlobInfo:
        """Make the blob; copies nothing, and again is the same.

        With `parts`, by rising number, it is made of these, and their sizes and checksums are compared with what arrived;
        None is all that arrived. With the `checksum` of the whole, its xxh3-128 in hexadecimal, the server goes through all
        bytes, which takes its time, and the blob has that checksum.

        Where the upload has a name, that points to the blob on return. Raises AlreadyExists, PreconditionFailed, UpdateConflict
        where it may not: then the blob is deleted. Raises InvalidRequest where the `size` or the `part_size` of the upload says
        that parts are missing; they may be sent then.
        """
        if self.terms.is_counted:
            if parts is None and (self.show(timeout=timeout)).state == "open":
                parts = self.parts(timeout=timeout)
            if parts is not None:
                self.terms.check_whole(parts)
        made = self.make(parts, checksum=checksum or self.terms.checksum or None, timeout=timeout)
        limit = timeout or self._timeout
        if self.naming is not None:
            made = self._client._name_it(self.id, made, self.naming, limit)
        if self.said is not None:
            return made  # as of a put: who may write and not read asks for nothing that is refused
        return self._client._looked_at(made.id if self.naming is None else self.naming.place, made, limit)

    def make(self, parts: Sequence[UploadedPart] | None, *, checksum: str | None, timeout: Timeout | None) -> BlobInfo:
        """`complete`, but for the name: what was said of the blob, and is told of it at once."""
        body = wire.uploads.complete_body(parts)
        request = wire.uploads.complete_request(
            self.id, len(body), "" if checksum is None else blob_wire.checksum_text(checksum)
        )
        headers, _ = self._client._asked(request, body, timeout or self._timeout)
        said = self.said or self._client._of_blob({}) | (
            {} if self.naming is None else wire.uploads.naming_headers(self.naming.place)
        )
        made = blob_wire.parse_put(replace(request, headers={**request.headers, **said}), headers)
        self.blob = made.id
        return made

    def abort(self, *, timeout: Timeout | None = None) -> None:
        """End it; nothing of it stays."""
        self._client._simple(wire.uploads.abort_request(self.id), timeout or self._timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(AmbryError):
                self.abort()
