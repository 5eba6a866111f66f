"""A body of known length whose rest goes past aiohttp's parser: straight to where it is kept (frontend/http/inlet.py).

The parser counts the bytes of a body, and would wait for those that it was not given. So there is another one for the next
request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import StreamReader, web
from aiohttp.http_parser import HttpRequestParser

from frontend.http.refusals import PARSER_LIMITS
from frontend.http.resting import Resting

if TYPE_CHECKING:
    from frontend.http.connections import Connection
    from frontend.http.server import HttpServer


class PastParser(Resting):
    """aiohttp's half of a connection, as far as it knows how much of a body is still to come."""

    __slots__ = ("_held_back", "_past", "body_left")

    def __init__(self, server: HttpServer, connection: Connection, **options: Any) -> None:
        super().__init__(server, connection, **options)
        self.body_left = 0
        """Bytes of the body that have not come, where its length is known; only read it."""
        self._past = False
        """Whether they go past the parser."""
        self._held_back = False

    def _renew_parser(self) -> None:
        """Begin with the next request, whatever the parser knows of the last."""
        options: dict[str, Any] = {
            **PARSER_LIMITS,
            "payload_exception": web.RequestPayloadError,
            "auto_decompress": False,
        }
        self._parser = HttpRequestParser(self, self._loop, self._read_bufsize, **options)

    def go_past_parser(self, content: StreamReader) -> bool:
        """Let the rest of this body go past the parser; False where it cannot now. The stream must be empty."""
        if content is not self._body or self._chunks is not None or not self.body_left:
            return False
        if self._ahead or self._waits or self._reading_paused or self.refused:
            return False
        self._past = True
        self.let_come()
        return True

    def came_past_parser(self, size: int) -> None:
        """So many bytes of it came, and are where they belong."""
        self._body.total_bytes += size
        self._past_parser(size)

    def _past_parser(self, size: int) -> None:
        self.body_left -= size
        if not self.body_left:
            self._past = False
            self._renew_parser()
            if not self.refused:
                self._body.feed_eof()

    def hold_back(self) -> None:
        """Read no more, until `let_come`: what has come is to be taken first."""
        self._held_back = True
        self._pause_reading_for_buffer()

    def let_come(self) -> None:
        """Read on, where that was held back."""
        if self._held_back:
            self._held_back = False
            if not self._waits:
                self._resume_reading_for_buffer()
