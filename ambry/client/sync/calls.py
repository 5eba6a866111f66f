# Generated from ambry/client/aio/calls.py by `make sync-client`; change that file, not this one.
"""One call: its attempts at the endpoints, until it is answered well or given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ambry.client.model import BlobInfo, Timeout
from ambry.client.options import ClientBase
from ambry.client.refs import PinnedName, Place, Ref, found_as
from ambry.client.retry import Attempts
from ambry.client.sources import open_body
from ambry.client.sync.transport import SyncResponse, SyncTransport
from ambry.client.sync.waiting import ASYNCHRONOUS, Sleep, SyncMemoryGate, pause
from ambry.client.transfer import BlobDownload, BlobUpload
from ambry.client.wire import blobs as blob_wire
from ambry.client.wire import refusals
from ambry.client.wire.message import ANSWER_BYTES_MAX, ApiRequest, Headers, violation
from ambry.errors import AccessDenied, AmbryError, BlobNotFound, PeerConnectionLost, PreconditionFailed
from ambry.ids import BlobId

T = TypeVar("T")

READ_BYTES = 256 << 10


def whole_answer(response: SyncResponse) -> bytes:
    """The body of a short answer. Raises PeerConnectionLost where the connection ended within it."""
    answer = b""
    while data := response.read(READ_BYTES):
        answer += data
        if len(answer) > ANSWER_BYTES_MAX:
            raise violation(response.headers, f"an answer of more than {ANSWER_BYTES_MAX} bytes")
    if response.broke_off:
        raise PeerConnectionLost(f"the connection broke after {len(answer)} bytes of the answer")
    return answer


class SyncCalls(ClientBase):
    """What every resource of the API is called through."""

    _sleep: Sleep
    _transport: SyncTransport
    _memory: SyncMemoryGate

    def _start(self, sleep: Sleep | None) -> None:
        self._sleep = sleep or pause
        self._memory = SyncMemoryGate(self._transfer.max_memory)
        self._transport = SyncTransport(self._clock, self._tls, self._proxies, self._sleep)

    def _simple(self, request: ApiRequest, timeout: Timeout | None) -> Headers:
        """A request without a body, whose answer's body does not matter."""
        response = self._repeat(self._attempts(timeout), lambda: request, timeout, None)
        response.done()
        return response.headers

    def _ask(
        self,
        request: ApiRequest,
        body: bytes | None,
        parse: Callable[[Headers, bytes], T],
        timeout: Timeout | None,
    ) -> T:
        """What the answer to a short request says, which is repeated until it came whole.

        The error of a call that changes something may be about what its own first try did: `repeated` tells.
        """
        attempts = self._attempts(timeout)
        while True:
            endpoint = attempts.begin()
            response = None
            try:
                upload = None
                if body is not None:
                    source = open_body(body, size=None, chunk_size=self._chunk_size(None), asynchronous=ASYNCHRONOUS)
                    upload = BlobUpload(request, source, checksum="", verify="never", progress=None)
                response = self._exchange(endpoint, request, timeout, attempts, upload)
                found = parse(response.headers, whole_answer(response))
            except BaseException as error:
                if response is not None:
                    response.abort(error)
                if not isinstance(error, AmbryError):
                    raise
                self._sleep(attempts.failed(error))
            else:
                response.finish()
                attempts.succeeded()
                return found

    def _identify(self, ref: Ref, timeout: Timeout | None) -> BlobId:
        """The blob that a caller means, which is what a name points to now. Raises BlobNotFound."""
        place = self._place(ref)
        return place if isinstance(place, BlobId) else (self._head(place, timeout)).id

    def _find(self, ref: Ref, timeout: Timeout | None) -> BlobId | PinnedName:
        """The same, as it is read from then on. Raises BlobNotFound."""
        place = self._place(ref)
        if isinstance(place, (BlobId, PinnedName)):
            return place
        return found_as(self._head(place, timeout))

    def _head(self, place: Place, timeout: Timeout | None) -> BlobInfo:
        try:
            headers = self._simple(blob_wire.blob_request("HEAD", place), timeout)
            info = blob_wire.parse_info(place, headers)
            blob_wire.check_found(place, info)
        except (PreconditionFailed, BlobNotFound) as moved:
            if not isinstance(place, PinnedName):
                raise
            try:
                return self._head(place.blob, timeout)
            except AccessDenied:
                raise blob_wire.reword_moved(moved, place) from None
        return info

    def _repeat(
        self,
        attempts: Attempts,
        request: Callable[[], ApiRequest],
        timeout: Timeout | None,
        download: BlobDownload | None,
    ) -> SyncResponse:
        """Send a request without a body, which may be repeated at will, until it is answered well."""
        while True:
            endpoint = attempts.begin()
            response = None
            try:
                response = self._exchange(endpoint, request(), timeout, attempts)
                if download is not None:
                    download.accept(response.status, response.headers)
            except AmbryError as error:
                if response is not None:
                    response.abort(error)
                if download is not None:
                    if download.goes_by_id(error):
                        continue
                    error = download.refused(error)
                self._sleep(attempts.failed(error))
            else:
                attempts.succeeded()
                return response

    def _send(self, upload: BlobUpload, attempts: Attempts, timeout: Timeout | None) -> Headers:
        """Send a body, again if it can be had again."""
        upload.body.pace = upload.body.pace or self._sending
        while True:
            endpoint = attempts.begin()
            try:
                response = self._exchange(endpoint, upload.request, timeout, attempts, upload)
            except AmbryError as error:
                self._sleep(attempts.failed(error, repeatable=upload.repeatable))
            else:
                attempts.succeeded()
                response.done()
                return response.headers

    def _exchange(
        self,
        endpoint: str,
        request: ApiRequest,
        timeout: Timeout | None,
        attempts: Attempts | None,
        upload: BlobUpload | None = None,
    ) -> SyncResponse:
        """One attempt at one endpoint, which is the only one without `attempts`.

        Raises what the answer refuses, and ProtocolViolation for one that is not ours.
        """
        self._refuse_offline(request.subject or request.path)
        watch = self._tracing.begin(endpoint, request, 1 if attempts is None else attempts.count, upload)
        try:
            response = self._transport.exchange(
                endpoint,
                request,
                self._headers(request),
                upload=upload,
                timeout=timeout or self._timeout,
                deadline=self._due(timeout) if attempts is None else attempts.deadline,
                watch=watch,
            )
        except BaseException as error:
            if isinstance(error, AmbryError):
                refusals.reword_read(error, request)
                self._advise(error)
            if watch is not None:
                watch.ended(error)
            raise
        if not refusals.is_ours(response.headers):
            raise response.aborted(refusals.foreign(endpoint, request, response.status))
        return response
