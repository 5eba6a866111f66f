"""HTTP/1.1 over aiohttp, which is imported when the first request is made.

A session belongs to one event loop and one process; in another of either, a new one is made.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import traceback
from typing import TYPE_CHECKING, Any

from ambry.client.aio.pacing import BodyPace, passing
from ambry.client.aio.waiting import Sleep
from ambry.client.endpoints import is_secure
from ambry.client.model import Timeout, TLSConfig
from ambry.client.proxies import Proxies
from ambry.client.transfer import BlobUpload
from ambry.client.waits import Waits
from ambry.client.wire import refusals
from ambry.client.wire.message import IDLE_S, ApiRequest, Headers
from ambry.clock import Clock
from ambry.errors import AmbryError

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from ambry.client.hooks import AttemptWatch
    from ambry.client.tls import ClientTls


class AsyncResponse:
    """One answer. Read it to the end and `finish`, or `abort`; until then it owns its connection."""

    def __init__(self, raw: aiohttp.ClientResponse, endpoint: str, waits: Waits, watch: AttemptWatch | None) -> None:
        self._raw = raw
        self._endpoint = endpoint
        self._waits = waits
        self.status = raw.status
        self.headers: Headers = _normal(raw)
        self.broke_off = False
        """Whether the connection ended within the body: known when `read` gave nothing more."""
        self._watch = watch
        if watch is not None:
            watch.answered(self.status, self.headers)

    async def read(self, size: int) -> bytes:
        """Between 1 and `size` bytes; none only when the connection ended. Raises Unavailable, RequestTimeout."""
        import aiohttp

        try:
            since = self._waits.now()
            async with asyncio.timeout(self._waits.next_s()):
                data = await self._raw.content.read(size)
            self._waits.came(len(data), since)
        except aiohttp.ClientPayloadError:
            self.broke_off = True
            return b""
        except (aiohttp.ClientError, OSError) as cause:
            raise _translate(cause, self._endpoint) from cause
        if self._watch is not None:
            self._watch.received(len(data))
        return data

    def without_deadline(self) -> None:
        """Its reader now sets the pace."""
        self._waits.without_deadline()

    def finish(self, error: BaseException | None = None) -> None:
        """The body was read whole: keep the connection if the server does. `error` is what it means, for hooks."""
        self._raw.release()
        if self._watch is not None:
            self._watch.ended(error)

    async def done(self) -> None:
        """The head was all there was to know."""
        try:
            while await self.read(refusals.ERROR_BODY_MAX):
                pass
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
        self._raw.close()
        if self._watch is not None:
            self._watch.ended(error)


class AsyncTransport:
    """Sends requests. Raises AmbryError only, but for what a body's iterator raises."""

    def __init__(self, clock: Clock, tls: TLSConfig | None, proxies: Proxies, sleep: Sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._tls = tls
        self._proxies = proxies
        self._context: ClientTls | None = None
        self._sessions: _Sessions | None = None

    async def exchange(
        self,
        endpoint: str,
        request: ApiRequest,
        headers: dict[str, str],
        *,
        upload: BlobUpload | None,
        timeout: Timeout,
        deadline: float | None,
        watch: AttemptWatch | None = None,
    ) -> AsyncResponse:
        """Send one request, with the body of `upload`, and read the head of its answer; 300 and more is raised."""
        require_aiohttp()
        import aiohttp
        import yarl

        # A body that cannot be had a second time must not be lost on a kept connection that turns out dead.
        fresh = upload is not None and not upload.body.replayable
        proxy = self._proxies.of(endpoint)
        session = self._current().fresh if fresh else self._current().keeping
        loop = asyncio.get_running_loop()
        until = None if deadline is None else loop.time() + max(0.0, deadline - self._clock.monotonic())
        guard = asyncio.timeout_at(until)
        pace = BodyPace(guard, until, timeout.read)
        try:
            async with guard:
                pace.expect(timeout.connect + timeout.read)
                raw = await session.request(
                    request.method,
                    yarl.URL(endpoint + request.path, encoded=True),
                    headers=headers,
                    data=None if upload is None else pace.over(passing(upload, self._sleep)),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout.connect, sock_read=timeout.read),
                    trace_request_ctx=pace,
                    ssl=self._context_for(endpoint),
                    proxy=None if proxy is None else proxy.url,
                )
                pace.closed = True
        except aiohttp.ClientSSLError as cause:
            raise refusals.not_trusted(endpoint, getattr(cause, "certificate_error", cause.os_error)) from cause
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as cause:
            _clear(cause)
            is_over = deadline is not None and self._clock.monotonic() >= deadline
            raise refusals.connect_failed(endpoint, getattr(cause, "os_error", None), proxy, is_over=is_over) from cause
        except aiohttp.ClientHttpProxyError as cause:
            raise refusals.proxy_refused(endpoint, proxy, f"{cause.status} {cause.message}") from cause
        except Exception as raised:
            if pace.source_error is not None:
                raise pace.source_error from pace.source_error.__cause__
            broken = raised.__cause__ if isinstance(raised, _Broken) else raised
            lost = isinstance(broken, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError)
            if lost and pace.reused:
                raise refusals.closed_idle(endpoint) from broken
            if isinstance(broken, aiohttp.ClientError | OSError):
                raise _translate(broken, endpoint) from broken
            raise
        finally:
            pace.closed = True
        waits = Waits(self._clock.monotonic, timeout.read, deadline)
        response = AsyncResponse(raw, endpoint, waits, watch)
        if raw.status == 408 and pace.reused:
            raise response.aborted(refusals.timed_out_idle(endpoint))
        if raw.status >= 300:
            raise await self._error(endpoint, response, request)
        if upload is not None and not upload.complete:
            raise response.aborted(refusals.answered_early(endpoint, raw.status, response.headers))
        return response

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, None
        if sessions is not None and sessions.ours():
            await sessions.close()

    def _current(self) -> _Sessions:
        if self._sessions is None or not self._sessions.ours():
            if self._sessions is not None and self._sessions.pid != os.getpid():
                _PARENTS.append(self._sessions)
            self._sessions = _Sessions()
        return self._sessions

    def _context_for(self, endpoint: str) -> ssl.SSLContext | bool:
        """What a connection to it is made with, if it speaks TLS. Raises ConfigInvalid."""
        if not is_secure(endpoint):
            return True
        if self._context is None:
            from ambry.client.tls import ClientTls

            self._context = ClientTls(self._tls, self._clock)
        return self._context.context()

    async def _error(self, endpoint: str, response: AsyncResponse, request: ApiRequest) -> AmbryError:
        body = b""
        try:
            while len(body) < refusals.ERROR_BODY_MAX and (
                piece := await response.read(refusals.ERROR_BODY_MAX - len(body))
            ):
                body += piece
        except AmbryError:
            pass  # The status alone has to do.
        error = refusals.error_of(
            endpoint, request, response.status, response.headers, body, now_ms=self._clock.wall_ms()
        )
        # Keeps the connection only if both the request and the answer are complete.
        response.finish(error)
        return error


def _clear(error: BaseException | None) -> None:
    """Empty the frames of aiohttp that an error came through: some have a name for it, and would keep it with the body."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


_PARENTS: list[_Sessions] = []
"""Never let go of: that would end the parent's watch over its own sockets, by the epoll that a fork shares."""


class _Sessions:
    """The sessions of one event loop in one process: one that keeps connections, one whose every connection is new."""

    def __init__(self) -> None:
        import aiohttp

        self.pid = os.getpid()
        self._loop = asyncio.get_running_loop()
        watching = aiohttp.TraceConfig()
        watching.on_connection_reuseconn.append(_note_reuse)
        self.keeping = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[watching],
            middlewares=[_once],
        )
        self.fresh = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            middlewares=[_once],
        )

    def ours(self) -> bool:
        """Whether they may be used here and now."""
        return self.pid == os.getpid() and self._loop is asyncio.get_running_loop() and not self.keeping.closed

    async def close(self) -> None:
        await self.keeping.close()
        await self.fresh.close()


class _Broken(Exception):
    """Hides a connection that broke, its cause, from aiohttp."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp repeats a GET, a PUT or a DELETE by itself when its connection breaks. Whether and where that is done is for
    `Attempts` to say, and a call must know that its first try may have been carried out."""
    import aiohttp

    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as cause:
        raise _Broken from cause


async def _note_reuse(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
    context.trace_request_ctx.reused = True


def require_aiohttp() -> None:
    """Raises ImportError with the way out."""
    try:
        importlib.import_module("aiohttp")
    except ImportError as cause:
        raise ImportError("AsyncAmbryClient needs aiohttp: pip install 'ambry[async]'") from cause


def _normal(raw: aiohttp.ClientResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in raw.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _translate(cause: Exception, endpoint: str) -> AmbryError:
    said = getattr(cause, "os_error", cause)
    if refusals.is_tls(said):
        return refusals.not_trusted(endpoint, said)
    if isinstance(cause, TimeoutError):
        return refusals.not_in_time(endpoint)
    if type(cause).__name__ in ("ClientResponseError", "InvalidURL"):
        return refusals.not_http(endpoint, cause)
    if type(cause).__name__ == "ServerDisconnectedError":
        return refusals.no_answer(endpoint)
    return refusals.broken(endpoint, cause)
