"""Where requests end in what was read, and what the parser takes of them that this server does not speak. Pure."""

from __future__ import annotations

from aiohttp import HttpVersion11
from aiohttp.http_parser import RawRequestMessage

from ambry.errors import AmbryError, HttpVersionNotSupported, InvalidRequest, NotSupported


def request_line(head: bytes) -> bytes:
    """The first line of a head that is whole, without its end and the empty lines before it."""
    return head.lstrip(b"\r\n").partition(b"\r\n")[0]


def unspoken(line: bytes, message: RawRequestMessage) -> AmbryError | None:
    """What the parser lets pass and this server does not speak; None for what it does."""
    if line and not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        # Of other protocols the parser takes RTSP and ICY.
        return HttpVersionNotSupported("this server speaks HTTP/1.1 and HTTP/1.0")
    if line.count(b" ") > 2:
        return InvalidRequest("one space stands before the target of a request, and one behind it (RFC 9112 section 3)")
    codings = message.headers.getall("Transfer-Encoding", None)
    if codings is not None and (len(codings) > 1 or codings[0].lower() != "chunked"):
        # Nobody can tell where such a request ends (RFC 9112 section 6.1).
        return NotSupported("of the transfer codings only chunked is known here, once and as the last")
    return None


def is_last(message: RawRequestMessage) -> bool:
    """Whether nothing that follows on the connection is a request, whatever the parser makes of it."""
    if "Upgrade" in message.headers or message.method == "CONNECT":
        # It takes what follows for another protocol, and we speak none.
        return True
    # `close` wins over `keep-alive` (RFC 9112 section 9.3); the parser has it the other way round for HTTP/1.0.
    return message.version < HttpVersion11 and "close" in ",".join(message.headers.getall("Connection", ())).lower()


def next_cut(data: bytes) -> int:
    """Where a head or a chunked body may end in these bytes, and nowhere before: behind the first empty line."""
    for start in (b"\n", b"\r\n"):
        if data.startswith(start):
            return len(start)
    end = data.find(b"\r\n\r\n")
    return end + 4 if end >= 0 else len(data)
