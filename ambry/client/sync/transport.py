"""Blocking requests over the kept connections of `pool`, and their answers."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from ambry.client.endpoints import is_secure
from ambry.client.model import Timeout, TLSConfig
from ambry.client.proxies import Proxies
from ambry.client.sync.connection import CutAnswer, KeptConnection, NoAnswer, TunnelRefused
from ambry.client.sync.crew import current, waiting_for
from ambry.client.sync.pool import ConnectionPool
from ambry.client.sync.waiting import Sleep
from ambry.client.transfer import BlobUpload
from ambry.client.waits import Waits
from ambry.client.wire import refusals
from ambry.client.wire.head import AnswerHead, NotHttp
from ambry.client.wire.message import IDLE_S, ApiRequest, Headers
from ambry.clock import Clock
from ambry.errors import AmbryError, PeerConnectionLost, RequestTimeout

if TYPE_CHECKING:
    import ssl

    from ambry.client.hooks import AttemptWatch
    from ambry.client.tls import ClientTls

SEND_SIZE = 256 << 10
"""A socket's timeout bounds one whole sendall, so it is given little at a time."""


class SyncResponse:
    """One answer. Read it to the end and `finish`, or `abort`; until then it owns its connection."""

    def __init__(
        self,
        pool: SyncTransport,
        connection: KeptConnection,
        head: AnswerHead,
        watch: AttemptWatch | None,
    ) -> None:
        self._pool = pool
        self._connection = connection
        self.status = head.status
        self.headers: Headers = head.headers
        self._closes = head.closes
        self._chunked = head.chunked
        self._first_chunk = True
        self._left = 0 if head.chunked else head.length
        """Bytes of the body that are still to come, or of its chunk; None until the connection ends."""
        self.broke_off = False
        """Whether the connection ended within the body: known when `read` gave nothing more."""
        self._watch = watch
        if watch is not None:
            watch.answered(self.status, self.headers)

    def read(self, size: int) -> bytes:
        """Between 1 and `size` bytes; none only when the body or the connection ended. Raises Unavailable, RequestTimeout."""
        self._check_process()
        with waiting_for(self._connection):
            try:
                room = self._room(size)
                data = self._connection.receive(room) if room else b""
            except (OSError, NotHttp) as cause:
                raise _translate(cause, self._connection.endpoint) from cause
        self._came(len(data), room)
        return data

    def readinto(self, buffer: memoryview) -> int:
        """As `read`, into `buffer`."""
        self._check_process()
        with waiting_for(self._connection):
            try:
                room = self._room(len(buffer))
                size = self._connection.receive_into(buffer[:room]) if room else 0
            except (OSError, NotHttp) as cause:
                raise _translate(cause, self._connection.endpoint) from cause
        self._came(size, room)
        return size

    def without_deadline(self) -> None:
        """Its reader now sets the pace."""
        self._connection.waits.without_deadline()

    def finish(self, error: BaseException | None = None) -> None:
        """The body was read whole: keep the connection if the server does. `error` is what it means, for hooks."""
        # What is left of a body would be taken for the next answer.
        reusable = self._left == 0 and not self._chunked and not self._closes
        if reusable:
            self._pool.give_back(self._connection)
        else:
            self._connection.close()
        if self._watch is not None:
            self._watch.ended(error)

    def done(self) -> None:
        """The head was all there was to know."""
        try:
            left = refusals.ERROR_BODY_MAX
            while left and (data := self.read(left)):
                left -= len(data)
        except AmbryError as error:
            self.abort(error)
        except BaseException as error:
            self.abort(error)
            raise
        else:
            self.finish()

    def aborted(self, error: AmbryError) -> AmbryError:
        """The error, after `abort`: who raises it has no name for it, by which its traceback would keep it."""
        self.abort(error)
        return error

    def abort(self, error: BaseException | None = None) -> None:
        """Drop the connection; what is still on it is not wanted. `error` is why, for hooks, and gets the request's id."""
        refusals.note_request(error, self.headers)
        self._connection.close()
        if self._watch is not None:
            self._watch.ended(error)

    def _room(self, size: int) -> int:
        """How many of so many bytes may be read now; 0 where the body is over."""
        if self._chunked and not self._left:
            try:
                self._left = self._connection.next_chunk(first=self._first_chunk)
            except CutAnswer:
                self.broke_off = True
                return 0
            self._first_chunk = False
            self._chunked = self._left > 0
        return size if self._left is None else min(size, self._left)

    def _came(self, size: int, room: int) -> None:
        if self._left is not None:
            self._left -= size
            self.broke_off = self.broke_off or size < min(1, room)
        if self._watch is not None:
            self._watch.received(size)

    def _check_process(self) -> None:
        if self._connection.pid != os.getpid():
            raise PeerConnectionLost("the connection belongs to the process that forked this one")


class SyncTransport:
    """Sends requests. Raises AmbryError only, but for what a body's iterator raises."""

    def __init__(self, clock: Clock, tls: TLSConfig | None, proxies: Proxies, sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._tls = tls
        self._proxies = proxies
        self._context: ClientTls | None = None
        self._pool = ConnectionPool()

    def exchange(
        self,
        endpoint: str,
        request: ApiRequest,
        headers: dict[str, str],
        *,
        upload: BlobUpload | None,
        timeout: Timeout,
        deadline: float | None,
        watch: AttemptWatch | None = None,
    ) -> SyncResponse:
        """Send one request, with the body of `upload`, and read the head of its answer; 300 and more is raised."""
        # A body that cannot be had a second time must not be lost on a kept connection that turns out dead.
        fresh = upload is not None and not upload.body.replayable
        connection = self._connect(endpoint, timeout, deadline, fresh=fresh)
        connection.expect(Waits(self._clock.monotonic, timeout.read, deadline))
        try:
            with waiting_for(connection):
                whole = self._send(connection, request, headers, upload, deadline)
                head = connection.receive_head(request.method)
        except BaseException as cause:
            connection.close()
            if isinstance(cause, _SourceError):
                raise cause.cause from cause.cause.__cause__
            if connection.used and refusals.is_hung_up(cause) and not isinstance(cause, AmbryError):
                self._current().drop(endpoint)
                raise refusals.closed_idle(endpoint) from cause
            if isinstance(cause, (OSError, NotHttp)):
                raise _translate(cause, endpoint) from cause
            raise
        response = SyncResponse(self, connection, head, watch)
        if head.status == 408 and connection.used:
            raise response.aborted(refusals.timed_out_idle(endpoint))
        if head.status < 300 and whole:
            return response
        if head.status < 300:
            raise response.aborted(refusals.answered_early(endpoint, head.status, response.headers))
        raise self._error(endpoint, response, request, keep=whole)

    def give_back(self, connection: KeptConnection) -> None:
        """Keep a connection for the next request."""
        if (crew := current()) is not None:
            crew.done()
        connection.idle_since = self._clock.monotonic()
        connection.used = True
        if connection.pid != os.getpid() or not self._current().put(connection):
            connection.close()

    def close(self) -> None:
        self._current().clear()

    def _current(self) -> ConnectionPool:
        if self._pool.pid != os.getpid():
            # The parent's connections are forgotten, not closed: closing a copied descriptor would be harmless, but
            # the parent's lock may have been held by a thread that does not exist here.
            self._pool = ConnectionPool()
        return self._pool

    def _connect(self, endpoint: str, timeout: Timeout, deadline: float | None, *, fresh: bool) -> KeptConnection:
        while not fresh and (kept := self._current().take(endpoint)) is not None:
            if self._clock.monotonic() - kept.idle_since < IDLE_S and not kept.answered():
                return kept
            kept.close()
        proxy = self._proxies.of(endpoint)
        context = self._context_for(endpoint)
        try:
            waits = Waits(self._clock.monotonic, timeout.connect, deadline)
            made = KeptConnection(endpoint, waits, context, proxy)
        except OSError as cause:
            if refusals.is_tls(cause):
                raise refusals.not_trusted(endpoint, cause) from cause
            is_over = deadline is not None and self._clock.monotonic() >= deadline
            raise refusals.connect_failed(endpoint, cause, proxy, is_over=is_over) from cause
        except (TunnelRefused, NotHttp) as cause:
            raise refusals.proxy_refused(endpoint, proxy, str(cause)) from cause
        return made

    def _context_for(self, endpoint: str) -> ssl.SSLContext | None:
        """What a connection to it is made with, if it speaks TLS. Raises ConfigInvalid."""
        if not is_secure(endpoint):
            return None
        if self._context is None:
            from ambry.client.tls import ClientTls

            self._context = ClientTls(self._tls, self._clock)
        return self._context.context()

    def _send(
        self,
        connection: KeptConnection,
        request: ApiRequest,
        headers: dict[str, str],
        upload: BlobUpload | None,
        deadline: float | None,
    ) -> bool:
        """Send all of it; False when an answer, surely an error, came before the whole body was sent."""
        chunked = upload is not None and "content-length" not in headers
        if chunked:
            headers = {**headers, "transfer-encoding": "chunked"}
        connection.send_head(request.method, request.path, headers)
        if upload is None:
            return True
        try:
            with closing(_passing(upload, self._sleep)) as pieces:
                for piece in pieces:
                    if connection.answered():
                        return False
                    if deadline is not None and self._clock.monotonic() >= deadline:
                        raise RequestTimeout("the upload did not end within the call's total timeout")
                    if chunked:
                        connection.send(b"%x\r\n" % len(piece))
                    connection.send(piece)
                    if chunked:
                        connection.send(b"\r\n")
            if chunked:
                connection.send(b"0\r\n\r\n")
        except OSError as cause:
            if isinstance(cause, AmbryError) or not refusals.is_hung_up(cause):
                raise
            # The server hung up while we were sending; its reason may still be there to be read.
            if not connection.answered():
                raise
            return False
        return True

    def _error(self, endpoint: str, response: SyncResponse, request: ApiRequest, *, keep: bool) -> AmbryError:
        body = b""
        try:
            while len(body) < refusals.ERROR_BODY_MAX and (piece := response.read(refusals.ERROR_BODY_MAX - len(body))):
                body += piece
        except AmbryError:
            keep = False  # The status alone has to do.
        error = refusals.error_of(
            endpoint, request, response.status, response.headers, body, now_ms=self._clock.wall_ms()
        )
        if keep:
            response.finish(error)
        else:
            response.abort(error)
        return error


class _SourceError(Exception):
    """What a body's iterator raised: the caller's own error, not the network's."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _passing(upload: BlobUpload, sleep: Sleep) -> Generator[memoryview, None, None]:
    """One pass over the body, seen by `upload`, in pieces that a socket is given at a time."""
    try:
        upload.begin()
        pace = upload.body.pace
        size = SEND_SIZE if pace is None else pace.piece(SEND_SIZE)
        for chunk in upload.body.chunks():
            upload.passed(chunk)
            view = memoryview(chunk)
            for start in range(0, len(view), size):
                piece = view[start : start + size]
                yield piece
                if pace is not None and (delay_s := pace.passed(len(piece))):
                    sleep(delay_s)
            upload.handed_over()
        upload.ended()
    except Exception as cause:
        raise _SourceError(cause) from cause


def _translate(cause: Exception, endpoint: str) -> AmbryError:
    if isinstance(cause, AmbryError):
        return cause
    if refusals.is_tls(cause):
        return refusals.not_trusted(endpoint, cause)
    if isinstance(cause, TimeoutError):
        return refusals.not_in_time(endpoint)
    if isinstance(cause, NoAnswer):
        return refusals.no_answer(endpoint)
    if isinstance(cause, NotHttp):
        return refusals.not_http(endpoint, cause)
    return refusals.broken(endpoint, cause)
