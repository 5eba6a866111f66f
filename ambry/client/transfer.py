"""The state of one upload and of one download: what has passed, and whether it is what it should be. No I/O.

Invariants: a download is complete only when exactly the promised bytes have passed and, where the whole blob was read,
their digest is the server's; the last bytes are not handed out before that is known. An upload is complete only when
the server names the digest of the bytes that were sent.
"""

from __future__ import annotations

from ambry.checksum import Buffer, Digester, new_digester
from ambry.client.model import BlobInfo, ByteRange, Progress, Verify
from ambry.client.pace import Bandwidth
from ambry.client.refs import NameRef, PinnedName, Place, found_as, subject_of
from ambry.client.sources import Body
from ambry.client.whole_digest import WholeDigest
from ambry.client.wire import blobs as wire
from ambry.client.wire.message import ApiRequest, Headers, header_int, request_id_of
from ambry.errors import (
    AccessDenied,
    AmbryError,
    BlobNotFound,
    ChecksumMismatch,
    InvalidRequest,
    PeerConnectionLost,
    PreconditionFailed,
    ProtocolViolation,
    RangeNotSatisfiable,
    Unavailable,
)
from ambry.rest import names

MOVED = (PreconditionFailed, BlobNotFound, RangeNotSatisfiable)
"""What a name may answer that points to another blob, or to none: the other one may be smaller, where no ETag was known."""


class BlobUpload:
    """One put. `begin` starts each pass over the body, `passed` sees every chunk before it is sent."""

    def __init__(
        self, request: ApiRequest, body: Body, *, checksum: str, verify: Verify, progress: Progress | None
    ) -> None:
        self.request = request
        self.body = body
        self._checksum = checksum
        self._verify = verify
        self._progress = progress
        self._reported = -1
        self._digester: Digester = new_digester()
        self._sent = 0
        self._started = False
        self._request_id = ""
        self.complete = False
        """Whether all of the body has passed, in this pass."""

    @property
    def repeatable(self) -> bool:
        """Whether another pass gives the same bytes: the body can be had again, or nothing was taken from it."""
        return self.body.replayable or not self._started

    @property
    def digest(self) -> str:
        """xxh3-128 of what has passed in this pass, in hexadecimal."""
        return self._digester.hexdigest()

    @property
    def sent(self) -> int:
        """Bytes that have passed in this pass."""
        return self._sent

    def begin(self) -> None:
        self._started = True
        self.complete = False
        self._digester = new_digester()
        self._sent = 0
        self._report()

    def passed(self, chunk: Buffer) -> None:
        """Raises InvalidRequest when the body is longer than announced."""
        self._sent += len(chunk)
        if self.body.size is not None and self._sent > self.body.size:
            raise InvalidRequest(f"the body is longer than the {self.body.size} bytes announced; did the file grow?")
        self._digester.update(chunk)

    def handed_over(self) -> None:
        """All that passed has been given to the network."""
        self._report()

    def ended(self) -> None:
        """The body has no more. Raises InvalidRequest when it is shorter than announced."""
        if self.body.size is not None and self._sent != self.body.size:
            raise InvalidRequest(f"the body ended after {self._sent} of the {self.body.size} bytes announced")
        if self._checksum and self._digester.hexdigest() != self._checksum:
            raise ChecksumMismatch(
                f"the body's xxh3-128 is {self._digester.hexdigest()}, not the {self._checksum} given; "
                "nothing was stored"
            )
        self.complete = True

    def made(self, headers: Headers) -> BlobInfo:
        """What an acknowledgement says was made. Raises ProtocolViolation when there is no telling."""
        self._request_id = request_id_of(headers)
        return wire.parse_put(self.request, {names.BLOB_SIZE: str(self._sent), **headers})

    def unfit(self, info: BlobInfo) -> ChecksumMismatch | ProtocolViolation | None:
        """Why what was made is not what was sent and must not be kept, if so."""
        mine = self._digester.hexdigest()
        if info.size != self._sent:
            return ChecksumMismatch(
                f"sent {self._sent} bytes, but blob {info.id} was acknowledged with {info.size}; "
                "it is being deleted, put it again",
                request_id=self._request_id,
            )
        if info.checksum and info.checksum != mine and self._verify != "never":
            return ChecksumMismatch(
                f"sent bytes with the xxh3-128 {mine}, but blob {info.id} was acknowledged with {info.checksum}; "
                "it is being deleted, put it again",
                request_id=self._request_id,
            )
        if not info.checksum and self._verify == "always":
            return ProtocolViolation(
                f"blob {info.id} was acknowledged without x-ambry-digest and is being deleted; "
                "check the endpoint, or pass verify='if-present'",
                request_id=self._request_id,
            )
        return None

    def _report(self) -> None:
        # A repeated attempt starts over, but progress never goes back.
        if self._progress is not None and self._sent > self._reported:
            self._reported = self._sent
            self._progress(self._sent, self.body.size)


class BlobDownload:
    """One read, over as many answers as it takes. `position` is the next byte of the blob to come.

    What a name points to may change while it is read: the first answer says which blob it is, and all others are of that, by
    the name as long as it points there, and by the id then.
    """

    def __init__(
        self,
        place: Place,
        byte_range: ByteRange | None,
        *,
        verify: Verify,
        hashed_elsewhere: bool = False,
    ) -> None:
        """With `hashed_elsewhere` it is a part of a whole that whoever puts it together compares with its digest."""
        self._place = place
        self._range = byte_range
        self._verify = verify
        self._digest: WholeDigest | None = None
        self._hashed_elsewhere = hashed_elsewhere
        self._whole = byte_range is None or hashed_elsewhere
        self._info: BlobInfo | None = None
        self.request_id = ""
        """Of the request whose answer was taken last."""
        self._moved: AmbryError | None = None
        """What the name said when it no longer pointed to the blob."""
        self.unsettled = ""
        """The xxh3-128 of all that came, where only another read can tell whether it is right, since nobody knows the parts."""
        self.position = 0
        self.stop = 0
        self.pace: Bandwidth | None = None
        """How fast it may come; None is as fast as all that its client receives."""

    @property
    def subject(self) -> str:
        """What messages call it."""
        return subject_of(self._place)

    @property
    def place(self) -> Place:
        """Where the next request goes: after the first answer it is one blob."""
        return self._place

    @property
    def info(self) -> BlobInfo:
        if self._info is None:
            raise ProtocolViolation("no answer yet")
        return self._info

    @property
    def remaining(self) -> int:
        return self.stop - self.position

    def request(self) -> ApiRequest:
        """The next request: the first, or the rest of what was asked for."""
        left = self._range if self._info is None else ByteRange(self.position, self.stop)
        return wire.blob_request("GET", self._place, left)

    def goes_by_id(self, error: AmbryError) -> bool:
        """Whether a failure says that the name no longer points to the blob: the next request is by its id."""
        if not isinstance(self._place, PinnedName) or not isinstance(error, MOVED):
            return False
        self._moved = wire.reword_moved(error, self._place)
        self._place = self._place.blob
        return True

    def refused(self, error: AmbryError) -> AmbryError:
        """What a failure is about: one who may not read by the id is told what became of the name."""
        return self._moved if self._moved is not None and isinstance(error, AccessDenied) else error

    def accept(self, status: int, headers: Headers) -> None:
        """Judge the head of an answer. Raises ProtocolViolation, ChecksumMismatch if it is of other content, or
        PreconditionFailed if it is of another blob than the one that the name pointed to.
        """
        self.request_id = headers.get(names.REQUEST_ID, "")
        info = wire.parse_info(self._place, headers)
        wire.check_found(self._place, info)
        if self._info is not None:
            if (info.size, info.checksum) != (self._info.size, self._info.checksum):
                raise ChecksumMismatch(f"{self.subject} changed while it was read, which must never be; report this")
            wanted = wire.BlobSpan(start=self.position, stop=self.stop, size=info.size)
        else:
            wanted = wire.span_of(self._range, info.size)
        wire.check_span(wanted, status, headers, self.subject)
        if "content-length" in headers and header_int(headers, "content-length") != wanted.stop - wanted.start:
            raise ProtocolViolation(
                f"Content-Length {headers['content-length']} does not fit "
                f"bytes {wanted.start} to {wanted.stop} of the blob"
            )
        if self._info is None:
            if wanted.is_whole:
                self._whole = True
            if self._whole and self._verify == "always":
                wire.check_digest(headers, self.subject)
            self._info = info
            if not isinstance(self._place, PinnedName):
                self._place = found_as(info) if isinstance(self._place, NameRef) else info.id
            if self._whole and not self._hashed_elsewhere and self._verify != "never":
                self._digest = WholeDigest(info.size, info.checksum, info.etag)
            self.position, self.stop = wanted.start, wanted.stop
            if not self.remaining:
                self._finish()

    def received(self, chunk: Buffer) -> None:
        """Count and hash the next bytes. Raises ChecksumMismatch with the last ones; they must not be used then."""
        if len(chunk) > self.remaining:
            raise ProtocolViolation(f"more bytes than announced came for {self.subject}")
        self.position += len(chunk)
        if self._digest is not None:
            self._digest.update(chunk)
        if not self.remaining:
            self._finish()

    def cut(self) -> PeerConnectionLost:
        """The error for a body that ended early."""
        return PeerConnectionLost(
            f"the connection broke at byte {self.position} of {self.stop} of {self.subject}; "
            "the data so far is incomplete"
        )

    def given_up(self) -> Unavailable:
        """The error for a read behind one that never came to its end."""
        return Unavailable(
            f"a read of {self.subject} was given up before byte {self.position}, and what it had is lost: get the blob anew"
        )

    def _finish(self) -> None:
        if self._digest is None:
            return
        self._digest.check(self.subject)
        self.unsettled = self._digest.unsettled
