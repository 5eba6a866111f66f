"""One client's connection: what it may send before it is heard, and what is kept while it is slow.

What was read goes to `Handler`, which parses and answers, or the short way (frontend/http/short.py). `Connection` stands
between it and the socket: it knows how long things may take, and what is charged for heads. Reading goes through one buffer
that all connections share, so a connection holds only what the parser keeps (a head within its bound, a body up to one read)
and an answer that the client has not taken. Nothing is made for a connection before its first byte.

Answers go to the kernel at once, and what it does not take is waited for: who has awaited a write knows that it took all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from aiohttp import web

from ambry.errors import AmbryError, RequestTimeout
from ambry.patience import Patience
from ambry.service.listener import TCP_CLOSE, state_of, unconfirmed
from ambry.service.logs import get_logger
from frontend.http.gone import GONE
from frontend.http.handler import Handler
from frontend.http.short import Begun, ShortAnswer
from frontend.http.taken import TakenSoFar

if TYPE_CHECKING:
    from frontend.http.inlet import Inlet
    from frontend.http.server import HttpServer

log = get_logger()

READ_BYTES = 16 << 10
"""Read at a time, as long as nobody has taken memory for more."""
READ_BYTES_LARGE = 256 << 10
ASK_AFTER_S = 1.0
ASKED_MAX = 4
"""When a client that floods us is asked whether it is there, for the first time, and how often at most."""


class Connection(asyncio.BufferedProtocol):
    """What the event loop talks to."""

    __slots__ = (
        "_ask_at", "_asked", "_heard", "_lingering", "_unheard", "begun", "broken", "client", "handler",
        "head_charged", "head_deadline", "inlet", "looked_at", "patience", "paused", "server", "short", "taken", "transport",
        "unsent", "view",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: HttpServer, client: str) -> None:
        self.server = server
        self.client = client
        self.handler: Handler | None = None
        self.short: ShortAnswer | None = None
        """Who answers what is here, in place of the handler."""
        self.begun: Begun | None = None
        """What was done for the request that the handler gets next."""
        self.view = server.view
        """Where the next bytes go."""
        self.inlet: Inlet | None = None
        """Takes them past the handler, if that was begun."""
        self._heard = False
        """Whether anything that it sent was taken up."""
        self._unheard = b""
        """What was read and waits to be taken up; meanwhile nothing is read."""
        self._asked = 0
        """How often it was told something to find out whether anybody is there."""
        self._ask_at = 0.0
        """When to do so again, on the event loop's clock; 0 for nothing that has begun."""
        self.taken = TakenSoFar()
        self._lingering: asyncio.Future[None] | None = None
        self.head_charged = 0
        """Bytes of heads, and of trailers, that the server's account knows of."""
        self.head_deadline = 0.0
        """On the event loop's clock, for a head that is not finished; 0 while none has begun."""
        self.patience: Patience | None = None
        """With a client that does not take its answer."""
        self.paused = False
        """Whether the kernel does not take what is written. In TLS that may be so before anything was answered."""
        self.unsent = 0
        """Bytes written that it had not confirmed at the last look, which is the end when it was ended."""
        self.looked_at = 0.0
        """When that was, on the event loop's clock."""
        self.broken = ""
        """Why we ended it, if we did."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast(asyncio.Transport, transport)
        # In TLS what stands at the limit counts as beyond it, and nothing at all would never be below it again.
        in_tls = transport.get_extra_info("ssl_object") is not None
        self.transport.set_write_buffer_limits(high=1 if in_tls else 0, low=0)
        self.server.connected(self)
        self.expect_head()

    def connection_lost(self, error: BaseException | None) -> None:
        self.server.disconnected(self)
        self._stop_lingering()
        self._unheard = b""
        if self.inlet is not None:
            self.inlet.end()
        if self.short is not None:
            self.short.lost()
        if self.begun is not None:
            self.begun.lost()
        if self.handler is not None:
            self.handler.connection_lost(error)
        self.handler, self.transport = None, GONE

    # --- reading ---

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def widen(self, large: bool) -> None:
        """Read more at a time, or as little as at first. Whoever asks for more has taken the memory for it."""
        self.view = self.server.view_large if large else self.server.view

    def buffer_updated(self, size: int) -> None:
        if self.inlet is not None:
            return self.inlet.came(size)
        data = bytes(self.view[:size])
        heavy, known = size >= READ_BYTES, self._heard
        portions = self.server.portions
        if self._unheard:
            # Whoever takes its body let it be read on, before what was read could be taken up.
            self._unheard += data
        elif portions.allows(size, heavy=heavy, known=known):
            return self._hear(data)
        else:
            self._unheard = data
            portions.wait(self, heavy=heavy, known=known)
        self.transport.pause_reading()

    def take_up(self) -> int:
        """Hear what was read, in its turn; returns how many bytes."""
        size = len(self._unheard)
        if size and not self.transport.is_closing():
            self._hear_unheard()
            hears = self.short or self.handler
            if hears is None or hears.takes_more:
                self.transport.resume_reading()
        return size

    def let_come(self) -> None:
        """Read on with a body that was held back."""
        if self.handler is not None:
            self.handler.let_come()

    @property
    def heard_all(self) -> bool:
        """Whether nothing that was read waits to be taken up, or to be answered."""
        return not self._unheard and self.short is None

    def _hear_unheard(self) -> None:
        data, self._unheard = self._unheard, b""
        if data:
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        self._heard = True
        if self.short is not None:
            self.short.came(data)
        else:
            self.take(data)

    def take(self, data: bytes) -> None:
        """Take up what came: the short way where nothing else is under way and it is taken there."""
        shortcut = self.server.shortcuts.get(data[:1])
        if shortcut is not None and (self.handler is None or self.handler.at_rest):
            try:
                if shortcut(self, data):
                    return
            except Exception:
                log.exception("a request failed on the short way", client=self.client)
                return self.abort("a bug while it was read")
        self.hand_over(data)

    def hand_over(self, data: bytes) -> None:
        """Give what came to the handler."""
        handler = self._handler()
        if handler.refused:
            # It is read all the same: a connection that is closed on unread bytes is reset, and the answer with it.
            handler.wait_for_a_turn()
        else:
            handler.feed(data)

    def _handler(self) -> Handler:
        handler = self.handler
        if handler is None:
            handler = self.handler = self.server.make_handler(self)
        if self.paused and not handler.writing_paused:
            handler.pause_writing()
        return handler

    def take_begun(self) -> Begun | None:
        """What was done for the request that is handled now."""
        begun, self.begun = self.begun, None
        return begun

    def left(self, *, ask: bool) -> bool:
        """Whether the client of a body that costs much is not there any more, though what it sent goes on; then this ends it.

        Nothing tells, until it is sent something: who is gone resets that, who is there ignores being told to continue
        (RFC 9110 section 15.2). It is told so a few times, ever more rarely, as some take five interim answers and no more.
        Without `ask` it is not: a client of HTTP/1.0 would take that for the answer.
        """
        if state_of(self.transport) == TCP_CLOSE:
            self.abort("the client went away")
            return True
        now = self.server.now()
        if ask and self._asked < ASKED_MAX and now >= self._ask_at:
            if self._ask_at:
                self._asked += 1
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._ask_at = now + ASK_AFTER_S * 3**self._asked
        return False

    # --- heads ---

    def charge(self, size: int) -> bool:
        """Take so many bytes into the account of heads, until nothing of a request is here. False where there is no room."""
        if not self.server.admission.hold_head(size):
            return False
        self.head_charged += size
        self.server.charged.add(self)
        return True

    def expect_head(self) -> None:
        """From now on a head has its time to come."""
        self.head_deadline = self.server.now() + self.server.limits.head_timeout_s
        self.server.heads.add(self)

    def head_is_over(self) -> None:
        """The head that was expected is whole, or will not be."""
        self.head_deadline = 0.0
        self.server.heads.discard(self)

    def head_is_late(self) -> None:
        """The time for a head is over. Who began one is told so, who did not is not there."""
        if self._unheard:
            self.expect_head()  # it may be here
        elif self.handler is None or not self.handler.head_size:
            self.transport.close()
        else:
            seconds = self.server.limits.head_timeout_s
            self.handler.refuse(RequestTimeout(f"the request's headers did not come within {seconds:g} s"))

    def rest(self) -> None:
        """A short answer has left: the next request has its time to come."""
        if self.handler is None:
            self.expect_head()
        else:
            self.handler.rest()

    @property
    def idle(self) -> bool:
        """Whether nothing of a request is here: it may be closed, and nobody loses anything."""
        return self.heard_all and (self.handler is None or self.handler.idle)

    # --- the end ---

    def eof_received(self) -> bool:
        """The client sends no more. It still gets the answers to what it asked."""
        self._hear_unheard()
        self._stop_lingering()
        if self.short is not None:
            return self.short.input_ends()
        return self.handler is not None and self.handler.input_ends()

    async def linger(self) -> None:
        """That was the last answer. Send no more, and wait until the client has seen that (RFC 9112 section 9.6).

        It may still be sending, whoever of us wished to end it: a connection that is closed on bytes which nobody read, or
        that come then, is reset, and what the client has not taken of the answer is lost.
        """
        handler = self.handler
        if handler is None or handler.no_more or self.transport.is_closing() or self._lingering is not None:
            return
        handler.listen_no_more()
        self._lingering = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError, OSError):  # the other end may be gone already
            if self.transport.can_write_eof():  # TLS ends both ways at once
                self.transport.write_eof()
            async with asyncio.timeout(self.server.lingering_s):
                await self._lingering

    def part(self) -> None:
        """That was the last answer, and the client was told so."""
        self._handler()
        self.server.keep(self._part())

    async def _part(self) -> None:
        await self.linger()
        self.transport.close()

    def _stop_lingering(self) -> None:
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    def abort(self, reason: str) -> None:
        """End it at once; who waits for it to take bytes sees a ConnectionError. The first `reason` goes into the log."""
        if not self.broken and not self.transport.is_closing():
            self.unsent = unconfirmed(self.transport)
        self.broken = self.broken or reason
        self.transport.abort()

    def turn_down(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """Answer every further request with `handle`; what is being answered is not touched."""
        self._handler().turn_down(handle)

    def give_up(self, error: AmbryError) -> None:
        """Stop what is under way: an upload is refused with `error`, an answer is broken off."""
        if (self.handler is None or not self.handler.give_up(error)) and self.transport.get_write_buffer_size():
            self.abort("the frontend stopped")

    def end(self) -> asyncio.Task[None] | None:
        """Close it, whatever is under way; the task that ends with it."""
        task = self.handler.cancel() if self.handler is not None else None
        self.transport.close() if self.idle else self.transport.abort()
        return task

    # --- writing ---

    def pause_writing(self) -> None:
        self.paused = True
        self.unsent = 0
        self.looked_at = self.server.now()
        self.server.slow.add(self)
        if self.short is None and self.handler is not None:
            self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.paused = False
        self.server.slow.discard(self)
        self.taken.look(self.transport)
        if self.patience is not None:
            self.patience.moved(self.unsent)
        if (short := self.short) is not None and short.handed:  # and not what TLS itself had to send before
            short.sent()
        elif short is None and self.handler is not None and self.handler.writing_paused:
            self.handler.resume_writing()
