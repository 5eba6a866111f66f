"""One upload in parts: its parts, and its end."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ambry.client import wire
from ambry.client.model import BlobInfo, BlobSource, Progress, Timeout, TransferConfig, UploadedPart
from ambry.client.pace import Bandwidth
from ambry.client.refs import NameRef
from ambry.client.sending import PartProgress, UploadName
from ambry.client.sources import Body
from ambry.client.upload_terms import UploadTerms
from ambry.client.wire import blobs as blob_wire
from ambry.client.wire.message import Headers
from ambry.errors import AmbryError
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.aio.uploads import AsyncUploads


class AsyncUpload:
    """One upload in parts. As `async with` it is aborted when an error leaves the block, and else left as it is.

    >>> upload = await client.start_upload(name="models/large")
    >>> part = await upload.write_part(1, bytes(5 << 20))
    >>> state = upload.state()  # to keep, as JSON
    >>> upload = await type(upload).resume(client, state)  # on another day
    >>> url = await upload.presign_part(2)  # for somebody else to PUT the second part to
    >>> last = await upload.write_part(2, b"the end")
    >>> [each.size for each in await upload.parts()]
    [5242880, 7]
    >>> told = await upload.show()
    >>> info = await upload.complete()
    >>> info.size
    5242887
    >>> other = await client.start_upload()
    >>> await other.abort()
    """

    def __init__(self, client: AsyncUploads, upload: str, blob: BlobId | None, timeout: Timeout | None) -> None:
        self._client = client
        self._timeout = timeout
        self.id = upload
        """32 hexadecimal digits: with them `resume_upload` goes on with it."""
        self.blob = blob
        """The id that its blob will have, once it was told."""
        self.said: Mapping[str, str] | None = None
        """The headers that it began with, where they are known here."""
        self.completed: Headers = {}
        """Those of the answer that it was completed with."""
        self.naming: UploadName | None = None
        """The name that will point to it."""
        self.terms = UploadTerms()
        """What its parts and its blob must be."""
        self.progress: PartProgress | None = None
        self.transfer: TransferConfig | None = None
        self.pace: Bandwidth | None = None
        """How fast its parts are sent together, where that was said."""

    async def write_part(
        self, number: int, data: BlobSource | Body, *, progress: Progress | None = None, timeout: Timeout | None = None
    ) -> UploadedPart:
        """Store a part, from 1 to 10,000, durable on return. Again is the same; other bytes take its place.

        Parts may be sent in any order, and several at a time.
        """
        if progress is None and self.progress is not None:
            progress = self.progress.of(number)
        return await self._client._send_part(self, number, data, progress, timeout or self._timeout)

    async def presign_part(
        self, number: int, *, expires: timedelta | int = timedelta(hours=1), timeout: Timeout | None = None
    ) -> str:
        """A URL that takes the part of this number by a `PUT`, without a key; for whoever sends the bytes for us."""
        request = wire.signed.part_request(wire.uploads.part_request(self.id, number, None, ""), expires)
        parse = partial(wire.signed.parse_url, self._client.endpoints)
        return await self._client._ask(request, None, parse, timeout or self._timeout)

    async def parts(self, *, timeout: Timeout | None = None) -> list[UploadedPart]:
        """All that arrived, by number."""
        timeout = self._client._whole(timeout or self._timeout)
        found: list[UploadedPart] = []
        after: int | None = 0
        while after is not None:
            told = await self.show(after=after, timeout=timeout)
            found += [wire.uploads.part_of(each) for each in told.parts]
            after = told.next
        return found

    async def show(self, *, after: int = 0, timeout: Timeout | None = None) -> wire.uploads.SessionAnswer:
        """What the server tells of it: its state, and up to 1,000 parts with numbers beyond `after`."""
        request = wire.uploads.show_request(self.id, after)
        told = wire.uploads.parse_session(*await self._client._asked(request, None, timeout or self._timeout))
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
    async def resume(cls, client: AsyncUploads, state: Mapping[str, Any]) -> AsyncUpload:
        """Go on with one whose `state` was kept."""
        upload = await client.resume_upload(state["upload"])
        upload.terms = UploadTerms.of_state(state)
        upload.said = state.get("said")
        if (name := state.get("name")) is not None:
            upload.naming = UploadName(NameRef(*name), state["if_absent"], state["if_match"])
        return upload

    async def complete(
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
        timeout = self._client._whole(timeout or self._timeout)
        if self.terms.is_counted:
            if parts is None and (await self.show(timeout=timeout)).state == "open":
                parts = await self.parts(timeout=timeout)
            if parts is not None:
                self.terms.check_whole(parts)
        made = await self.make(parts, checksum=checksum or self.terms.checksum or None, timeout=timeout)
        limit = timeout or self._timeout
        if self.naming is not None:
            made = await self._client._name_it(self.id, made, self.naming, limit)
        if self.said is not None:
            return made  # as of a put: who may write and not read asks for nothing that is refused
        return await self._client._looked_at(made.id if self.naming is None else self.naming.place, made, limit)

    async def make(
        self, parts: Sequence[UploadedPart] | None, *, checksum: str | None, timeout: Timeout | None
    ) -> BlobInfo:
        """`complete`, but for the name: what was said of the blob, and is told of it at once."""
        body = wire.uploads.complete_body(parts)
        request = wire.uploads.complete_request(
            self.id, len(body), "" if checksum is None else blob_wire.checksum_text(checksum)
        )
        headers, _ = await self._client._asked(request, body, timeout or self._timeout)
        said = self.said or self._client._of_blob({}) | (
            {} if self.naming is None else wire.uploads.naming_headers(self.naming.place)
        )
        made = blob_wire.parse_put(replace(request, headers={**request.headers, **said}), headers)
        self.blob = made.id
        self.completed = headers
        return made

    async def abort(self, *, timeout: Timeout | None = None) -> None:
        """End it; nothing of it stays."""
        await self._client._simple(wire.uploads.abort_request(self.id), timeout or self._timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(AmbryError):
                await self.abort()
