"""The serving end of an RPC connection: requests come in, each is answered once.

Bounds, for whoever is at the other end:

- what a peer has in flight here, in requests and bytes: it was told how much we take (ambry/network/introduction.py) and keeps
  to it; one that does not is read no further;
- what the requests of all peers hold (ambry/network/requests.py): beyond it they are refused;
- what answers hold until the peer has read them, of one connection and of the process. An answer is admitted by its size before
  its bytes are read from a disk, small ones by what is unread already: requests that would make more wait, unread or unbegun;
- how large a request is, and how long a part of one may lie here (ambry/network/receiving.py);
- how late a request may come: one whose caller does not wait any more is not begun. A node that was stopped finds such requests
  in its sockets when it goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from ambry.checksum import Buffer
from ambry.errors import (
    AccessDenied,
    AmbryError,
    CallAbandoned,
    DeadlineExceeded,
    InternalError,
    NotUnderstood,
    Overloaded,
    PeerConnectionLost,
    ProtocolViolation,
    StoreMismatch,
)
from ambry.network.ages import Ages
from ambry.network.allowed import allowed_to, before_hello, to_nobody
from ambry.network.connection import RpcConnection
from ambry.network.introduction import REQUEST_BYTES_MAX, REQUESTS_MAX
from ambry.network.receiving import no_room
from ambry.network.requests import REQUEST_OVERHEAD_BYTES, Requests
from ambry.network.responding import Handler, Responder, Tally
from ambry.network.sending import FileBody, SendingConnection
from ambry.network.tcp import tune
from ambry.network.unread import UNREAD_MAX, UNREAD_SHARE, UNREAD_SMALL_MAX, Unread
from ambry.protocol.frame import SENT_MASK, Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Message
from ambry.service.logs import get_logger

log = get_logger()

SERVED_REQUESTS_MAX = REQUESTS_MAX + 64
SERVED_BYTES_MAX = REQUEST_BYTES_MAX + (16 << 20)
"""Beyond it a peer is read no further: a little more than it was told, for headers, pings and the like."""
LOOK_AGAIN_S = 0.01
_CANCEL = int(MessageType.CANCEL)
WAIT_MS_MAX = 600_000
"""Nobody waits for longer, whatever a frame says: what is asked here is answered within seconds, or a poll of one minute."""


class ServingConnection(SendingConnection):
    """The serving end of one connection; it makes no calls.

    `handlers` answer the peer's requests, by type; those of another type, and those with flags that this release does not know,
    are refused and harm no other. `tally` hears of every answer, also of one that comes when the connection is gone.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[int, Handler],
        tally: Tally | None = None,
        on_lost: Callable[[RpcConnection], None] | None = None,
        unread: Unread | None = None,
        requests: Requests | None = None,
        on_denied: Callable[[str, AmbryError], None] | None = None,
    ) -> None:
        super().__init__(requests=requests or Requests(), on_refused=self._note_refused, on_lost=on_lost)
        self._handlers = self._introduced_handlers = handlers
        """Those of now, and those once it has said who it is."""
        self._tally = tally
        self._on_denied = on_denied
        self._denied = False
        self._unread = unread or Unread()
        self._ages = Ages()
        self._open: dict[int, Responder] = {}
        """Requests that are not answered, by correlation."""
        self._open_bytes = 0
        self._unbegun: deque[Responder] = deque()
        """Those whose handler was not called: too much is unread."""
        self._asking: deque[tuple[Responder, int, asyncio.Future[None]]] = deque()
        """Those whose answers, of so many bytes, may not be made yet."""
        self._reserved = 0
        self._write_paused = False
        self._looking: asyncio.TimerHandle | None = None

    def introduced(self) -> None:
        """It has said who it is, and is one of our cluster."""
        self.known = True
        self._handlers = self._introduced_handlers

    def refuse_all(self, why: str) -> None:
        """Begin nothing from now on: its certificate is not good any more. What was begun is answered."""
        self._handlers = self._introduced_handlers = to_nobody(self._handlers, why)

    @property
    def idle(self) -> bool:
        """Whether everything is answered, and the answers have left."""
        return not self._open and not self._queued_bytes

    @property
    def unread_bytes(self) -> int:
        """What answers hold: those being made, and those that the kernel has not taken."""
        return self._reserved + self._queued_bytes

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tune(transport)
        if self.shown is not None:
            self._introduced_handlers = allowed_to(self.shown.identity, self._handlers)
            self._handlers = before_hello(self._introduced_handlers)
        self._unread.connections[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unread.connections.pop(self, None)
        if self._looking is not None:
            self._looking.cancel()
        unbegun, self._unbegun = set(map(id, self._unbegun)), deque()
        for responder in list(self._open.values()):
            # What was not begun, or only waits or reads, is not done for nobody. A write takes its course.
            if responder.on_abandoned is not None or id(responder) in unbegun:
                self._abandon(responder, PeerConnectionLost(f"{self.peer} is gone"))

    def pause_writing(self) -> None:
        self._write_paused = True
        self._balance()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._go_on()

    # --- taking requests ---

    def _serve(self, frame: Frame) -> None:
        now = self._loop.time()
        self._awaited = 0
        number = frame.correlation
        open_ = self._open
        if number in open_ or frame.type == _CANCEL:
            self._serve_again(frame)
            return
        timeout_ms = frame.timeout_ms
        deadline = now + (timeout_ms if 0 < timeout_ms < WAIT_MS_MAX else WAIT_MS_MAX) / 1000
        ages = self._ages
        # Twice the clocks' resolution is no delay.
        if 0 <= ((int(now * 1000) - frame.sent_ms) & SENT_MASK) - ages.base_ms <= 2:
            ages.seen_at = now
        else:
            deadline -= ages.age_s(frame.sent_ms, now)
        size = len(frame.body) + len(frame.header) + REQUEST_OVERHEAD_BYTES
        open_[number] = responder = Responder(self, frame, now, deadline, size)
        self._open_bytes += size
        requests = self._requests
        requests.bytes += size
        if requests.bytes > requests.easy_bytes and not requests.fits(frame):
            requests.refused += 1
            responder.fail(no_room(size))
            return
        if (
            self._unbegun
            or self._write_paused
            or self._outgoing_bytes >= UNREAD_SMALL_MAX
            or (self._unread.at_most > self._unread.bytes_max and self._stuffed())
        ):
            self._unbegun.append(responder)
            self._balance()
            return
        self._begin(responder, now)
        if len(open_) >= SERVED_REQUESTS_MAX or self._open_bytes >= SERVED_BYTES_MAX:
            self._balance()

    def _note_refused(self, type: int, error: AmbryError) -> None:
        if self._tally is not None:
            self._tally.failed(type, error, 0.0)

    def _note_denied(self, error: AmbryError) -> None:
        """Its certificate does not let it: told once for each connection, and of many connections as of many handshakes."""
        if self.encrypted and not self._denied and self._on_denied is not None:
            self._denied = True
            shown = self.shown.identity if self.shown is not None else None
            self._on_denied(f"{shown.uri if shown else 'nobody'} at {self.peer}", error)

    def _serve_again(self, frame: Frame) -> None:
        """A frame came that is about a request of before, or says so."""
        responder = self._open.get(frame.correlation)
        if frame.type != _CANCEL:
            self._violation(ProtocolViolation(f"a second request with number {frame.correlation}"))
        elif responder is not None:
            self._abandon(responder, CallAbandoned("the caller gave up"))

    def _begin(self, responder: Responder, now: float) -> None:
        frame = responder.frame
        try:
            if responder.deadline <= now:
                raise DeadlineExceeded("the request came when nobody waited for its answer any more; nothing was done")
            handler = self._handlers.get(frame.type)
            if handler is None or frame.flags:
                raise NotUnderstood(f"no request of type {frame.type} with flags {frame.flags:#04x} is known here")
            handler(frame, responder)
        except AmbryError as error:
            if isinstance(error, AccessDenied | StoreMismatch):
                self._note_denied(error)
            responder.fail(error)
        except messages.UNREADABLE as error:
            responder.fail(ProtocolViolation(f"the header of a request of type {frame.type} cannot be read: {error}"))
        except MemoryError:
            log.warning("no memory for a request", peer=self.peer, type=frame.type)
            responder.fail(Overloaded("the data node is out of memory; retry shortly"))
        except Exception as error:
            log.exception("request handler failed", peer=self.peer, type=frame.type)
            responder.fail(InternalError(f"{type(error).__name__} in the data node; its log has the details"))

    # --- answering ---

    def _answer(
        self,
        responder: Responder,
        flags: int,
        message: Message,
        body: Buffer | FileBody,
        checks: Buffer | None,
        error: AmbryError | None,
    ) -> None:
        """Send an answer and let the request go."""
        frame = responder.frame
        if responder.answered:
            if not responder.abandoned:
                log.error("request answered twice", peer=self.peer, type=frame.type, second=type(message).__name__)
            return
        head = encode_head(frame.type, frame.correlation, messages.encode(message), body, checks, flags=flags)
        responder.answered = True
        responder.on_abandoned = None
        self._open.pop(frame.correlation, None)
        self._open_bytes -= responder.size
        self._requests.bytes -= responder.size
        self._reserved -= responder.reserved
        tally = self._tally
        if tally is not None:
            seconds = self._loop.time() - responder.received_at
            if error is None:
                tally.took[frame.type](seconds)
                tally.succeeded[frame.type]()
            else:
                tally.failed(frame.type, error, seconds)
        if self._transport is not None:
            made = len(head) + len(body)
            self._unread.at_most += made
            self._made_bytes += made
            if isinstance(body, FileBody):
                self._send_from_file(head, body)
            else:
                self._send(head, body)
        if self._read_paused or self._asking:
            self._loop.call_soon(self._go_on)

    def _abandon(self, responder: Responder, why: AmbryError) -> None:
        """Nobody waits for the answer any more."""
        stop = responder.on_abandoned
        responder.fail(why)
        responder.abandoned = True
        if stop is not None:
            stop()

    def expire(self, now: float) -> None:
        """Answer what nobody waits for any more, whatever holds it up: at the other end it counts until it is answered.

        Who only reads or waits for it stops. A write takes its course, and what comes of it is told to nobody.
        """
        for responder in [responder for responder in self._open.values() if responder.deadline <= now]:
            self._abandon(responder, DeadlineExceeded("it was not done in time; a change may still happen"))

    # --- bounding what is unread ---

    def _stuffed(self) -> bool:
        """Whether too much is unread to begin with another request."""
        if self._write_paused or self._outgoing_bytes >= UNREAD_SMALL_MAX:
            return True
        return self._unread.full() and self.unread_bytes > UNREAD_SHARE

    def _may_make(self, size: int) -> bool:
        """Whether an answer of so many bytes may be made; one always may, where the process has room."""
        held = self.unread_bytes
        if held and held + size > UNREAD_MAX:
            return False
        return held + size <= UNREAD_SHARE or not self._unread.full()

    async def _admit(self, responder: Responder, size: int) -> None:
        if not self._try_admit(responder, size):
            future: asyncio.Future[None] = self._loop.create_future()
            self._asking.append((responder, size, future))
            self._look_later()
            await future

    def _try_admit(self, responder: Responder, size: int) -> bool:
        if responder.reserved >= size > 0:
            return True  # it was asked before
        if self._asking or not self._may_make(size):
            return False
        self._reserve(responder, size)
        return True

    def _reserve(self, responder: Responder, size: int) -> None:
        responder.reserved = size
        self._reserved += size
        self._unread.at_most += size

    def _go_on(self) -> None:
        """Begin and admit what may be now."""
        now = self._loop.time()
        while self._asking:
            responder, size, future = self._asking[0]
            if future.done() or responder.answered:
                self._asking.popleft()  # its task was cancelled
            elif responder.deadline <= now:
                self._asking.popleft()
                future.set_exception(DeadlineExceeded("nobody took the answers before this one in time"))
            elif self._may_make(size):
                self._asking.popleft()
                self._reserve(responder, size)
                future.set_result(None)
            else:
                break
        while self._unbegun and not self._stuffed():
            responder = self._unbegun.popleft()
            if not responder.answered:
                self._begin(responder, now)
        self._balance()
        if self._asking or self._unbegun:
            self._look_later()

    def _look_later(self) -> None:
        """The kernel takes bytes without telling."""
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_AGAIN_S, self._look)

    def _look(self) -> None:
        self._looking = None
        if self._transport is not None:
            self._go_on()

    def _balance(self) -> None:
        """Read only while the peer takes its answers and has not too much in flight here."""
        if self._transport is None or self._transport.is_closing():
            return
        full = (
            self._write_paused
            or bool(self._unbegun)
            or len(self._open) >= SERVED_REQUESTS_MAX
            or self._open_bytes >= SERVED_BYTES_MAX
        )
        if self._unbegun:
            self._look_later()
        if full != self._read_paused:
            self._read_paused = full
            self._read_or_not()
