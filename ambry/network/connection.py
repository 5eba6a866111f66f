"""One RPC connection, either end: many requests at once, each with a deadline, on one socket.

Callbacks, not tasks: a call costs a dictionary entry and a write. A call's `done` is called exactly once, on the event loop:
with the reply, with the error the peer answered, when its deadline passes, or when the connection ends. A late reply is
dropped.

Bounds: what is sent and not yet answered, in bytes, per connection (`Overloaded` beyond it); what a peer may have in flight
here, in requests and bytes (reading stops beyond it, which slows the sender down).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ambry.checksum import Buffer
from ambry.errors import (
    AmbryError,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    PeerConnectionLost,
    ProtocolViolation,
)
from ambry.protocol.frame import FLAG_ERROR, FLAG_REPLY, Frame, FrameDecoder, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import ErrorReply, Message
from ambry.service.logs import get_logger

log = get_logger()

SWEEP_S = 0.05
SERVED_REQUESTS_MAX = 1024
SERVED_BYTES_MAX = 64 << 20

OnReply = Callable[[Frame | AmbryError], None]
"""Hears once how a call ended: with the reply, or with the error that came instead."""


class PendingCall(msgspec.Struct):
    deadline: float
    size: int
    done: OnReply


Handler = Callable[[Frame, "Responder"], None]
"""Answers one type of request. Must call the responder once, now or later; raising an AmbryError answers with it."""
Answered = Callable[[int, AmbryError | None, float], None]
"""Hears of every request when it is answered: its type, the error that was the answer, the seconds since its last byte."""


class Responder:
    """Answers one request, once."""

    __slots__ = ("answered", "connection", "deadline", "frame", "received_at")

    def __init__(self, connection: RpcConnection, frame: Frame, received_at: float) -> None:
        self.connection = connection
        self.frame = frame
        self.received_at = received_at
        """When its last byte came, on the event loop's clock, as `deadline`."""
        self.deadline = received_at + frame.timeout_ms / 1000
        """Nobody waits for the answer after it."""
        self.answered = False

    def reply(self, message: Message, body: Buffer = b"", checks: Buffer | None = None) -> None:
        """Send the answer. The body is borrowed until the transport has sent it: do not change it.

        Raises ProtocolViolation for an answer that no frame can hold, and the request is not answered then.
        """
        self.connection._answer(self, FLAG_REPLY, message, body, checks, None)

    def fail(self, error: AmbryError) -> None:
        """Answer with an error."""
        self.connection._answer(self, FLAG_REPLY | FLAG_ERROR, ErrorReply(error.code, error.message), b"", None, error)


_NONE: Mapping[int, Handler] = {}


class RpcConnection(asyncio.BufferedProtocol):
    """One end of one connection.

    `handlers` answer the peer's requests, by type; those of another type are refused. `on_answered` hears of every answer,
    also of one that comes when the connection is gone.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[int, Handler] = _NONE,
        on_answered: Answered | None = None,
        on_lost: Callable[[RpcConnection], None] | None = None,
        in_flight_bytes_max: int = 64 << 20,
    ) -> None:
        self.peer = ""
        self._handlers = handlers
        self._on_answered = on_answered
        self._on_lost = on_lost
        self._in_flight_bytes_max = in_flight_bytes_max
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder()
        # What the loop asks for every piece that arrives is answered by the decoder itself: one call less.
        self.get_buffer = self._decoder.get_buffer  # type: ignore[method-assign]
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, PendingCall] = {}
        self.in_flight_bytes = 0
        """Body bytes sent and not yet answered; only read it."""
        self._next_correlation = 1
        self._sweep: asyncio.TimerHandle | None = None
        self._served_requests = 0
        self._served_bytes = 0
        self._outgoing: list[Buffer] = []
        self._write_paused = False
        self._read_paused = False

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if address else ""

    def buffer_updated(self, nbytes: int) -> None:
        try:
            frames = self._decoder.received(nbytes)
        except ProtocolViolation as error:
            self._violation(error)
            return
        for frame in frames:
            if frame.flags & FLAG_REPLY:
                self._take_reply(frame)
            else:
                self._serve(frame)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._balance()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._balance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        calls, self._calls = self._calls, {}
        self.in_flight_bytes = 0
        if self._on_lost is not None:
            self._on_lost(self)
        for call in calls.values():
            self._end(call, PeerConnectionLost(f"the connection to {self.peer} ended before the answer"))

    def _violation(self, error: ProtocolViolation) -> None:
        log.warning("connection closed", peer=self.peer, error=error.message)
        self.abort()

    # --- calling ---

    def call(
        self,
        type: int,
        message: Message,
        done: OnReply,
        *,
        timeout_s: float,
        body: Buffer = b"",
        checks: Buffer | None = None,
    ) -> None:
        """Send a request. The body is borrowed until `done` was called, and must not change before."""
        transport = self._transport
        if transport is None or transport.is_closing():
            done(PeerConnectionLost(f"not connected to {self.peer}"))
            return
        size = len(body)
        if self.in_flight_bytes and self.in_flight_bytes + size > self._in_flight_bytes_max:
            done(Overloaded(f"{self.in_flight_bytes} bytes are waiting for {self.peer} already"))
            return
        correlation = self._next_correlation
        self._next_correlation += 1
        head = encode_head(
            type, correlation, messages.encode(message), body, checks, timeout_ms=max(1, int(timeout_s * 1000))
        )
        self._calls[correlation] = PendingCall(self._loop.time() + timeout_s, size, done)
        self.in_flight_bytes += size
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_S, self._expire)
        self._send(head, body)

    async def request(self, type: int, message: Message, *, timeout_s: float) -> Frame:
        """Send a request without a body and wait for its reply. Raises the AmbryError that ended it."""
        future: asyncio.Future[Frame] = self._loop.create_future()

        def done(outcome: Frame | AmbryError) -> None:
            if future.done():
                return
            if isinstance(outcome, AmbryError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.call(type, message, done, timeout_s=timeout_s)
        return await future

    def _take_reply(self, frame: Frame) -> None:
        call = self._calls.pop(frame.correlation, None)
        if call is None:
            return  # its deadline had passed
        self.in_flight_bytes -= call.size
        if not frame.flags & FLAG_ERROR:
            self._end(call, frame)
            return
        try:
            error: AmbryError = messages.error_of(frame.header)
        except ProtocolViolation as violation:
            error = violation
        self._end(call, error)

    def _end(self, call: PendingCall, outcome: Frame | AmbryError) -> None:
        """Tell a caller how its call ended. Its bug is its own: the other calls of this connection go on."""
        try:
            call.done(outcome)
        except Exception:
            log.exception("a caller failed at its answer", peer=self.peer)

    def _expire(self) -> None:
        now = self._loop.time()
        late = [number for number, call in self._calls.items() if call.deadline <= now]
        for number in late:
            call = self._calls.pop(number, None)
            if call is not None:
                self.in_flight_bytes -= call.size
                self._end(call, DeadlineExceeded(f"{self.peer} did not answer in time"))
        self._sweep = self._loop.call_later(SWEEP_S, self._expire) if self._calls else None

    # --- serving ---

    def _serve(self, frame: Frame) -> None:
        self._served_requests += 1
        self._served_bytes += len(frame.body)
        self._balance()
        responder = Responder(self, frame, self._loop.time())
        try:
            handler = self._handlers.get(frame.type)
            if handler is None:
                raise ProtocolViolation(f"this end of the connection answers no requests of type {frame.type}")
            handler(frame, responder)
        except AmbryError as error:
            responder.fail(error)
        except Exception as error:
            log.exception("request handler failed", peer=self.peer, type=frame.type)
            responder.fail(InternalError(f"{type(error).__name__} in the data node; its log has the details"))

    def _answer(
        self,
        responder: Responder,
        flags: int,
        message: Message,
        body: Buffer,
        checks: Buffer | None,
        error: AmbryError | None,
    ) -> None:
        frame = responder.frame
        if responder.answered:
            log.error("request answered twice", peer=self.peer, type=frame.type, second=type(message).__name__)
            return
        transport = self._transport
        if transport is not None and not transport.is_closing():
            head = encode_head(frame.type, frame.correlation, messages.encode(message), body, checks, flags=flags)
            self._send(head, body)
        responder.answered = True
        self._served_requests -= 1
        self._served_bytes -= len(frame.body)
        self._balance()
        if self._on_answered is not None:
            self._on_answered(frame.type, error, self._loop.time() - responder.received_at)

    def _balance(self) -> None:
        """Read only while the peer takes its answers and has not too much in flight here."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        full = (
            self._write_paused or self._served_requests >= SERVED_REQUESTS_MAX or self._served_bytes >= SERVED_BYTES_MAX
        )
        # Replies to our own calls come on the same socket: an end that calls never stops reading.
        full = full and not self._calls
        if full != self._read_paused:
            self._read_paused = full
            if full:
                transport.pause_reading()
            else:
                transport.resume_reading()

    # --- both ---

    def _send(self, head: bytes, body: Buffer) -> None:
        """Queue a frame; what one turn of the event loop queues leaves in one system call."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(head)
        if len(body):
            self._outgoing.append(body)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        transport = self._transport
        if transport is None or transport.is_closing() or not outgoing:
            return
        if len(outgoing) == 1:
            transport.write(outgoing[0])
        else:
            transport.writelines(outgoing)

    def close(self) -> None:
        """Close after what is written was sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


def tune(transport: asyncio.BaseTransport) -> None:
    """Let several large bodies queue before writing pauses."""
    cast(Any, transport).set_write_buffer_limits(high=8 << 20, low=2 << 20)
