"""One RPC connection: many calls at once, each with a deadline, on one socket. Who opened it calls; the other end serves.

Callbacks, not tasks: a call costs a dictionary entry and a write. A call's `done` is called exactly once, on the event loop:
with the reply, with the error the peer answered, when its deadline passes, or when the connection ends. A late reply is
dropped.

Bound: what is sent and not yet answered, in calls and in bytes (`Overloaded` beyond it). A call that was given up counts until
its answer comes or the connection ends: until then its bytes stand in our buffers, or the peer holds them.

How a connection serves is in ambry/network/serving.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ssl import SSLError
from typing import cast

from ambry.checksum import Buffer
from ambry.clustermap.health import NodeHealth
from ambry.errors import (
    AmbryError,
    AnswerDamaged,
    DeadlineExceeded,
    NotUnderstood,
    Overloaded,
    PeerConnectionLost,
    ProtocolViolation,
)
from ambry.network.deadline_timer import DeadlineTimer
from ambry.network.identity import Shown, shown_on
from ambry.network.inflow import COUNTED_BYTES, TURN_BYTES
from ambry.network.introduction import CANCEL
from ambry.network.pending import OnPart, OnReply, PendingCall
from ambry.network.responding import refusal
from ambry.network.scratch import memory_of
from ambry.protocol.frame import (
    BODY_SIZE_MAX,
    FLAG_DAMAGED,
    FLAG_REPLY,
    FLAGS_UNKNOWN,
    SENT_MASK,
    Frame,
    FrameDecoder,
    MessageType,
    Prefix,
    encode_head,
)
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Hello, Message
from ambry.service.logs import get_logger
from ambry.service.turned_away import why

log = get_logger()

SWEEP_S = 0.05
"""Calls that are late are looked for no more often."""
SILENT_IN_FLIGHT_MAX = 16 << 20
"""Body bytes that may wait for a peer that does not answer: it must not hold the memory of everything sent to it."""


class RpcConnection(asyncio.BufferedProtocol):
    """The calling end of one connection, and what both ends share. Outcomes count for `health`."""

    def __init__(
        self,
        *,
        on_lost: Callable[[RpcConnection], None] | None = None,
        in_flight_bytes_max: int = 64 << 20,
        health: NodeHealth | None = None,
        body_size_max: int = BODY_SIZE_MAX,
    ) -> None:
        self.peer = ""
        self.encrypted = False
        """Whether the other end has shown a certificate, and what goes over it is nobody else's to read."""
        self.shown: Shown | None = None
        """What that certificate says; None in the clear."""
        self.pieces_received = 0
        """Counts what came from the peer, whatever it was; only read it."""
        self.in_flight_bytes = 0
        """Body bytes sent whose answer did not come, those of calls that were given up included; only read it."""
        self._on_lost = on_lost
        self._bytes_max = in_flight_bytes_max
        self._bytes_easy = min(SILENT_IN_FLIGHT_MAX, in_flight_bytes_max)
        self._calls_max: float = float("inf")
        self._may_cancel = False
        self._health = health or NodeHealth()
        self._loop = asyncio.get_running_loop()
        self._timer = DeadlineTimer(self._loop, self._expire, rest_s=SWEEP_S)
        memory = memory_of(self._loop)
        self._inflow = memory.inflow
        self._decoder = FrameDecoder(
            body_size_max, scratch=memory.scratch, admit=self._admit_frame, allocate=memory.buffers.take
        )
        self._read_paused = False
        """Whether nothing is read until those who serve what came have room again."""
        self._awaits_turn = False
        """Whether nothing is read until our turn comes."""
        self._taken = 0
        """What of the memory of frames under way is counted."""
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, PendingCall] = {}
        self._given_up: dict[int, int] = {}
        """The sizes of calls that ended before their answer, by correlation."""
        self._next_correlation = 1
        self._outgoing: list[Buffer] = []
        self._outgoing_bytes = 0

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once it has ended."""
        return self._transport

    def obey(self, hello: Hello) -> None:
        """Keep to what the peer said it takes, and use what it understands."""
        if hello.bytes_max:
            self._bytes_max = min(self._bytes_max, hello.bytes_max)
            self._bytes_easy = min(self._bytes_easy, hello.bytes_max)
        if hello.requests_max:
            self._calls_max = hello.requests_max
        self._may_cancel = CANCEL in hello.features

    @property
    def calls_waiting(self) -> int:
        """Calls whose answer is waited for; none once it has ended."""
        return len(self._calls)

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.shown = shown_on(transport)
        self.encrypted = self.shown is not None
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if address else ""

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._decoder.room[:TURN_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        self.pieces_received += 1
        if nbytes >= COUNTED_BYTES and not self._inflow.allows(nbytes):
            self._await_turn()
        try:
            frames = self._decoder.received(nbytes)
        except ProtocolViolation as error:
            self._violation(error)
            return
        except MemoryError:
            # A part of a frame is lost: the peer connects anew, and its calls are tried elsewhere or again.
            log.warning("connection closed: no memory left for a frame", peer=self.peer)
            self.abort()
            return
        if self._decoder.taken != self._taken:
            self._note_taken(self._decoder.taken)
        if not frames:
            self._on_part()
            return
        for frame in frames:
            flags = frame.flags
            if not flags & FLAG_REPLY:
                self._serve(frame)
                continue
            call = self._calls.pop(frame.correlation, None)
            if call is None:
                self.in_flight_bytes -= self._given_up.pop(frame.correlation, 0)
                continue
            self.in_flight_bytes -= call.size
            if self._health.failures and call.foreground and not flags & FLAG_DAMAGED:
                # A refusal is an answer: only silence, broken connections and broken answers speak against a node.
                self._health.record(True)
            try:
                call.done(frame if flags == FLAG_REPLY else self._error_of(frame, call))
            except Exception:
                # A caller's bug is its own: the other calls of this connection go on.
                log.exception("a caller failed at its answer", peer=self.peer)

    def _await_turn(self) -> None:
        """Read no more in this turn of the loop."""
        if not self._awaits_turn:
            self._awaits_turn = True
            self._inflow.wait(self)
            self._read_or_not()

    def read_on(self) -> bool:
        """As Inflow asks."""
        self._awaits_turn = False
        return self._read_or_not()

    def _read_or_not(self) -> bool:
        """Read unless something speaks against it, and say so."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        reads = not (self._read_paused or self._awaits_turn)
        if reads:
            transport.resume_reading()
        else:
            transport.pause_reading()
        return reads

    def _on_part(self) -> None:
        """A part of a frame came, and none ended."""
        call = self._calls.get(self._decoder.under_way)
        if call is not None and call.on_part is not None:
            try:
                call.on_part(*self._decoder.verified_part())
            except Exception:
                log.exception("a caller failed at a part of its answer", peer=self.peer)

    def _admit_frame(self, _prefix: Prefix | None, _size: int) -> bool:
        """As FrameDecoder asks: what was asked for is bounded already."""
        return True

    def _note_taken(self, taken: int) -> None:
        """So much memory a frame has that is under way."""
        self._taken = taken

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._timer.stop()
        calls, self._calls = self._calls, {}
        self._given_up.clear()
        self._outgoing = []
        self.in_flight_bytes = self._outgoing_bytes = 0
        if self._on_lost is not None:
            self._on_lost(self)
        reason = f": {why(exc)}" if isinstance(exc, SSLError) else ""
        for call in calls.values():
            self._fail(call, PeerConnectionLost(f"the connection to {self.peer} ended before the answer{reason}"))

    def _violation(self, error: ProtocolViolation) -> None:
        log.warning("connection closed", peer=self.peer, error=error.message)
        self.abort()

    # --- calling ---

    def call(
        self,
        type: int,
        message: Message | bytes,
        done: OnReply,
        *,
        timeout_s: float,
        body: Buffer = b"",
        checks: Buffer | None = None,
        foreground: bool = True,
        on_part: OnPart | None = None,
    ) -> PendingCall | None:
        """Send a request; `message` may be encoded already. The body is borrowed until `done` was called.

        What is not `foreground` is small and never many: no bound holds it back, and its end does not count for the health of
        the peer. Returns None when it has ended already.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            done(PeerConnectionLost(f"not connected to {self.peer}"))
            return None
        size = len(body)
        waiting = self.in_flight_bytes
        if (
            (waiting + size > self._bytes_easy or len(self._calls) + len(self._given_up) >= self._calls_max)
            and foreground
            and not self._admits(waiting + size)
        ):
            done(Overloaded(f"{waiting} bytes are waiting for {self.peer} already"))
            return None
        correlation = self._next_correlation
        self._next_correlation += 1
        now = self._loop.time()
        head = encode_head(
            type,
            correlation,
            messages.header_of(message),
            body,
            checks,
            timeout_ms=max(1, int(timeout_s * 1000)),
            sent_ms=int(now * 1000) & SENT_MASK or 1,
        )
        call = PendingCall(self, correlation, now + timeout_s, size, done, foreground, on_part)
        self._calls[correlation] = call
        self.in_flight_bytes = waiting + size
        if call.deadline < self._timer.at:
            self._timer.set(call.deadline, now)
        self._send(head, body)
        return call

    def _admits(self, waiting: int) -> bool:
        """Whether so many bytes may be in flight, and one call more."""
        if waiting > (self._bytes_max if self._health.well else self._bytes_easy) and self.in_flight_bytes:
            return False
        return len(self._calls) + len(self._given_up) < self._calls_max

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

        call = self.call(type, message, done, timeout_s=timeout_s, foreground=False)
        try:
            return await future
        except asyncio.CancelledError:
            if call is not None:
                call.cancel()
            raise

    def _error_of(self, frame: Frame, call: PendingCall) -> AmbryError:
        """What an answer says that is no plain reply."""
        if frame.flags & FLAG_DAMAGED:
            if call.foreground:
                self._health.record(False)
            return AnswerDamaged(f"the body of an answer of {self.peer} fails its checksum")
        if frame.flags & FLAGS_UNKNOWN:
            return NotUnderstood(
                f"{self.peer} answered with flags {frame.flags:#04x}, which this release does not know"
            )
        try:
            return messages.error_of(frame.header)
        except ProtocolViolation as violation:
            return violation

    def _fail(self, call: PendingCall, error: AmbryError) -> None:
        """End a call that found no answer."""
        if call.foreground:
            self._health.record(False)
        try:
            call.done(error)
        except Exception:
            log.exception("a caller failed at its answer", peer=self.peer)

    def _expire(self) -> None:
        now = self._loop.time()
        late = [call for call in self._calls.values() if call.deadline <= now]
        for call in late:
            if self._calls.pop(call.correlation, None) is not None:
                self._given_up[call.correlation] = call.size
                self._fail(call, DeadlineExceeded(f"{self.peer} did not answer in time"))
        # A long poll waits for a minute: to look twenty times a second was half of what a node at rest cost.
        if self._calls:
            self._timer.set(min(call.deadline for call in self._calls.values()), now)

    def _give_up(self, call: PendingCall) -> None:
        if self._calls.get(call.correlation) is not call:
            return
        del self._calls[call.correlation]
        self._given_up[call.correlation] = call.size
        if self._may_cancel:
            self._send(encode_head(MessageType.CANCEL, call.correlation, b""), b"")

    # --- both ends ---

    def _serve(self, frame: Frame) -> None:
        """A request came."""
        self._send(
            refusal(frame, NotUnderstood(f"a caller answers no requests, of type {frame.type} or any other")), b""
        )

    def _send(self, head: bytes, body: Buffer) -> None:
        """Queue a frame; what one turn of the event loop queues leaves in one system call."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        if head:
            self._outgoing.append(head)
            self._outgoing_bytes += len(head)
        if len(body):
            self._outgoing.append(body)
            self._outgoing_bytes += len(body)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        self._outgoing_bytes = 0
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
