"""The HTTP of an admin port: one request and one answer for each connection (RFC 9112), with nothing from outside.

Operators, scrapers and health checks ask little of it, and a library for it is a fifth of what a data node holds at rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import cast

import msgspec

from ambry.errors import InvalidRequest, must_have
from ambry.service.logs import get_logger

log = get_logger()

HEAD_BYTES_MAX = 16 << 10
BODY_BYTES_MAX = 1 << 20
COMES_WITHIN_S = 15.0
"""Time for a whole request, and for its answer to be taken."""
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class AdminRequest(msgspec.Struct, frozen=True):
    """A whole request. `path` has no query; `headers` have names in lower case; `authority` is whom the client means."""

    method: str
    path: str
    headers: dict[str, str]
    authority: str | None
    body: bytes = b""


class AdminAnswer(msgspec.Struct):
    """What is answered; length and connection are told by who sends it."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = {}


def as_json(value: object, status: int = 200) -> AdminAnswer:
    return AdminAnswer(status, msgspec.json.encode(value))


def refusal(name: str, detail: str, status: int) -> AdminAnswer:
    return as_json({"error": name, "detail": detail}, status)


def as_bytes(answer: AdminAnswer, *, bodyless: bool = False) -> bytes:
    """An answer as it goes over its connection, which ends with it."""
    fields = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Server": "ambry",
        "Connection": "close",
        **answer.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    status = HTTPStatus(answer.status)
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{lines}\r\n".encode()
    return head if bodyless else head + answer.body


class _Refused(Exception):
    """What came is no request that is heard here."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.answer = refusal("InvalidRequest", detail, status)


def parse_head(head: bytes) -> AdminRequest:
    """The lines before the empty one. Raises InvalidRequest."""
    try:
        line, *lines = head.decode("ascii").split("\r\n")
        method, target, version = line.split(" ")
    except ValueError:
        raise InvalidRequest("the first line of a request has a method, a target and a version, in ASCII") from None
    if not version.startswith("HTTP/1."):
        raise InvalidRequest(f"{version[:20]!r} is not spoken here, but HTTP/1.1")
    headers: dict[str, str] = {}
    for each in lines:
        name, colon, value = each.partition(":")
        name = name.lower()
        if not colon or not name or not _TOKEN.issuperset(name):
            raise InvalidRequest("a line of the head is no header")
        if name in headers and name in ("host", "content-length"):
            raise InvalidRequest(f"{name} stands there twice")
        headers[name] = value.strip(" \t")
    authority = headers.get("host")
    scheme, mark, rest = target.partition("://")
    if mark and scheme.lower() == "http":
        authority, slash, path = rest.partition("/")
        target = slash + path
    return AdminRequest(method, target.partition("?")[0] or "/", headers, authority)


def _body_size(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise _Refused("give the body's Content-Length", 411)
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise _Refused("Content-Length is a number")
    if len(text) > 9 or int(text) > BODY_BYTES_MAX:
        raise _Refused(f"a body may have {BODY_BYTES_MAX} bytes", 413)
    return int(text)


Answering = Callable[[AdminRequest], Awaitable[AdminAnswer]]


def _refusing(why: str) -> Answering:
    async def refuse(_request: AdminRequest) -> AdminAnswer:
        return refusal("AccessDenied", why, 403)

    return refuse


class AdminConnection(asyncio.Protocol):
    """One connection. `ended` is called when it is over."""

    def __init__(
        self,
        answering: Answering,
        ended: Callable[[AdminConnection], None],
        refuses: Callable[[asyncio.Transport], str] | None = None,
    ) -> None:
        """`refuses` says why whoever is at the other end is answered nothing; empty where it may ask."""
        self._answering = answering
        self._refuses = refuses
        self._ended = ended
        self._came = bytearray()
        self._request: AdminRequest | None = None
        """Whose head is whole."""
        self._missing = 0
        self.task: asyncio.Task[None] | None = None
        """Answers it."""
        self.transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._refuses is not None and (why := self._refuses(self.transport)):
            self._answering = _refusing(why)
        self._late = self._loop.call_later(COMES_WITHIN_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._late is not None:
            self._late.cancel()
        if self.task is None or self.task.done():
            self._ended(self)

    def eof_received(self) -> bool:
        return self.task is not None

    def data_received(self, data: bytes) -> None:
        if self.task is not None:
            return  # one request is all that is heard of a connection
        self._came += data
        try:
            request = self._take()
        except _Refused as refused:
            self._send(refused.answer)
            return
        if request is not None:
            self.task = self._loop.create_task(self._run(request))

    def _take(self) -> AdminRequest | None:
        """The request, when all of it is here. Raises _Refused."""
        if self._request is None:
            end = self._came.find(b"\r\n\r\n")
            if max(end, len(self._came) if end < 0 else 0) > HEAD_BYTES_MAX:
                raise _Refused(f"a head may have {HEAD_BYTES_MAX} bytes", 431)
            if end < 0:
                return None
            try:
                self._request = parse_head(bytes(self._came[:end]))
            except InvalidRequest as error:
                raise _Refused(error.message) from error
            self._missing = _body_size(self._request.headers)
            del self._came[: end + 4]
            if self._missing > len(self._came) and "100-continue" in self._request.headers.get("expect", "").lower():
                must_have(self.transport, "the connection of a request").write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self._came) < self._missing:
            return None
        return msgspec.structs.replace(self._request, body=bytes(self._came[: self._missing]))

    async def _run(self, request: AdminRequest) -> None:
        if self._late is not None:
            self._late.cancel()  # an action may take its time
        try:
            answer = await self._answering(request)
        except asyncio.CancelledError:
            if self.transport is not None:
                self.transport.abort()
            raise
        except Exception as error:
            log.exception("a page of the admin port failed", path=request.path)
            answer = refusal(type(error).__name__, "it failed; the log has the details", 500)
        finally:
            if self.transport is None:
                self._ended(self)
        self._send(answer, bodyless=request.method == "HEAD")

    def _send(self, answer: AdminAnswer, *, bodyless: bool = False) -> None:
        transport = self.transport
        if transport is None:
            return
        transport.write(as_bytes(answer, bodyless=bodyless))
        self.task = None
        transport.close()
        self._late = self._loop.call_later(COMES_WITHIN_S, transport.abort)

    def close(self) -> None:
        """Close it; what was answered leaves."""
        if self.transport is not None:
            self.transport.close()
