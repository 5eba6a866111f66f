"""The forms of an answer with many parts: multipart/mixed (RFC 2046), and frames (ambry/rest/frames.py).

A part is an answer of its own, with the headers that it would have alone, and which item it answers (`x-ambry-batch-index`)
with which status. Parts come in the order in which they are ready.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from ambry.rest import frames
from frontend.http.exchange import Exchange
from frontend.http.fields import list_of
from frontend.http.inert import GUARDS


class ManyParts(web.StreamResponse):
    """An answer of a length that nobody knows before its end."""

    _send_headers_immediately = False


class Multipart:
    """For whoever has a MIME parser."""

    def __init__(self, boundary: str) -> None:
        self.content_type = f"multipart/mixed; boundary={boundary}"
        self.end = f"\r\n--{boundary}--\r\n".encode()
        self._before = f"\r\n--{boundary}\r\n"

    def head(self, lines: str, size: int) -> bytes:
        return f"{self._before}{lines}Content-Length: {size}\r\n\r\n".encode()


class Frames:
    """For whoever wants to know how long a part is before it comes."""

    content_type = frames.CONTENT_TYPE
    end = b""

    def head(self, lines: str, size: int) -> bytes:
        return frames.frame_head(lines, size)


Form = Multipart | Frames


def form_of(exchange: Exchange) -> Form:
    """Frames where they are asked for by name (`Accept`), else multipart."""
    wanted = [element.partition(";")[0].strip(" \t").lower() for element in list_of(exchange.headers.get("accept", ""))]
    # Nobody who stored a blob could know what this request's id would be.
    return Frames() if frames.CONTENT_TYPE in wanted else Multipart(exchange.context.id)


def begin(form: Form) -> ManyParts:
    headers: Mapping[str, str] = {"Content-Type": form.content_type, "Cache-Control": "no-store", **GUARDS}
    # No browser shows it: a part may be of any type.
    return ManyParts(status=200, headers={**headers, "Content-Disposition": "attachment"})
