"""Connections to every peer, kept up in the background.

A peer is connected before it is needed and again as soon as it is lost: after a growing, jittered delay of at most 0.3 s,
so that a node that is well again is used within seconds. A call to a peer that is not connected fails at once, and the caller
goes to the next replica. Pings find a peer that is connected but does not answer, and what its clock says.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ambry.checksum import Buffer
from ambry.clustermap.health import NodeHealth
from ambry.clustermap.model import Node
from ambry.errors import (
    AccessDenied,
    AmbryError,
    DeadlineExceeded,
    Overloaded,
    PeerConnectionLost,
    ProtocolViolation,
)
from ambry.network.connection import RpcConnection
from ambry.network.identity import check_shown
from ambry.network.introduction import Introduction
from ambry.network.line import REFUSED_DRAIN_S, RENEW_EVERY_S, RENEWED_DRAIN_S, Line, drain
from ambry.network.pending import OnPart, OnReply, PendingCall
from ambry.network.tcp import tune
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello, Message, Pong
from ambry.service.logs import get_logger
from ambry.service.tls import NodeRole, NodeTls

log = get_logger()

CONNECT_TIMEOUT_S = 2.0
RETRY_MIN_S = 0.05
RETRY_MAX_S = 0.2
PING_EVERY_S = 1.0
PING_TIMEOUT_S = 2.0
SILENT_PINGS_MAX = 3
MISSED_PINGS_MAX = 10
"""So many pings without an answer in a row end a connection: sooner where nothing else came from the peer either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSample:
    """What one exchange told about the wall clock of a peer: `offset_ms` is how far it is ahead of ours.

    It is right within `half_round_trip_ms`.
    """

    peer: str
    offset_ms: float
    half_round_trip_ms: float


OnSample = Callable[[str, ClockSample | None], None]
"""Hears of every hello and ping of a peer that was answered with a clock; None when it tells it no longer, for it doubts it."""


def _ignore(_peer: str, _sample: ClockSample | None) -> None: ...


class Call(Protocol):
    """As RpcConnection.call."""

    def __call__(
        self,
        type: int,
        message: Message | bytes,
        done: OnReply,
        *,
        timeout_s: float,
        body: Buffer = b"",
        checks: Buffer | None = None,
        on_part: OnPart | None = None,
    ) -> PendingCall | None: ...


class Peer:
    """One data node as seen from this process."""

    def __init__(
        self,
        node: Node,
        *,
        introduction: Introduction,
        random_source: random.Random,
        in_flight_bytes_max: int,
        on_sample: OnSample,
        tls: NodeTls | None = None,
        role: NodeRole = NodeRole.DATANODE,
    ) -> None:
        """`role` is what it must be by its certificate, where it shows one."""
        self.node = node
        self._tls = tls
        self._role = role
        self.health = NodeHealth(self._judge)
        self.usable = False
        """Connected, and answering as far as we know; only read it."""
        self.call: Call = self._refuse
        """As RpcConnection.call; fails at once when not connected. Outcomes count for the peer's health."""
        self.hello: Hello | None = None
        """What the node last said of itself."""
        self.clock_sample: ClockSample | None = None
        """The last one."""
        self.room_bytes = -1
        """What puts may still use of its disk, as it said a moment ago; -1: it does not say."""
        self._introduction = introduction
        self._on_sample = on_sample
        self._random = random_source
        self._in_flight_bytes_max = in_flight_bytes_max
        self._connection: RpcConnection | None = None
        self._renew_at = 0.0
        """Not before it is tried again to connect anew, after it was in vain; on the event loop's clock."""
        self._complained_of_renewal = False
        self._draining: dict[asyncio.Task[None], None] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None

    @property
    def in_flight_bytes(self) -> int:
        return self._connection.in_flight_bytes if self._connection is not None else 0

    def understands(self, feature: str) -> bool:
        """Whether the node is connected, and announced this feature (introduction.py)."""
        return self.connected and self.hello is not None and feature in self.hello.features

    def describe(self) -> dict[str, Any]:
        """For the admin port."""
        return {
            "node": self.node.name,
            "address": self.node.address,
            "connected": self.connected,
            "well": self.health.well,
            "release": self.hello.release if self.hello else None,
            "layout_version": self.hello.layout_version if self.hello else None,
            "clock_offset_ms": round(self.clock_sample.offset_ms, 3) if self.clock_sample else None,
        }

    def _judge(self) -> None:
        self.usable = self._connection is not None and self.health.well

    def _take(self, connection: RpcConnection | None) -> RpcConnection | None:
        """Go on with this connection, or without one; returns the one before."""
        before, self._connection = self._connection, connection
        # Every call of the data path comes this way: it goes to the connection itself.
        self.call = connection.call if connection is not None else self._refuse
        self._judge()
        return before

    def _refuse(self, type: int, message: Message | bytes, done: OnReply, **_more: object) -> None:
        done(self._not_connected())

    def _not_connected(self) -> PeerConnectionLost:
        """Without the name: who asked puts that before every outcome."""
        return PeerConnectionLost(f"not connected to {self.node.address}")

    async def request(self, type: int, message: Message, *, timeout_s: float) -> Frame:
        """As RpcConnection.request; raises PeerConnectionLost at once when not connected."""
        connection = self._connection
        if connection is None:
            raise self._not_connected()
        return await connection.request(type, message, timeout_s=timeout_s)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep_connected(), name=f"peer:{self.node.name}")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        connection = self._take(None)
        if connection is not None:
            connection.close()
        for draining in list(self._draining):
            draining.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)

    async def _keep_connected(self) -> None:
        delay_s = RETRY_MIN_S
        complained = False
        while True:
            try:
                line = await self._connect()
                self._take(line.connection)
                log.info("peer connected", peer=self.node.name, address=self.node.address)
                delay_s, complained = RETRY_MIN_S, False
                await self._ping_until_lost(line)
                log.info("peer lost", peer=self.node.name, address=self.node.address)
            except (OSError, AmbryError, TimeoutError) as error:
                if not complained:
                    log.warning(
                        "peer unreachable",
                        peer=self.node.name,
                        address=self.node.address,
                        error=str(error) or "no answer",
                    )
                    complained = True
            given_up = self._take(None)
            if given_up is not None:
                given_up.abort()  # what did not end by itself was given up: nobody may answer on it any more
            await asyncio.sleep(delay_s * (0.5 + self._random.random()))
            delay_s = min(RETRY_MAX_S, delay_s * 2)

    def _end(self, connection: RpcConnection, within_s: float) -> None:
        """Close one that no call goes to any more, when its calls are answered."""
        task = asyncio.get_running_loop().create_task(drain(connection, within_s))
        self._draining[task] = None
        task.add_done_callback(lambda _: self._draining.pop(task, None))

    async def _renewed(self, line: Line) -> Line:
        """Another connection in place of one, and in use; or this, where the other is refused, or is no better."""
        self._renew_at = asyncio.get_running_loop().time() + RENEW_EVERY_S * (0.5 + self._random.random())
        try:
            other = await self._connect()
        except (OSError, AmbryError, TimeoutError) as error:
            if not self._complained_of_renewal:
                self._complained_of_renewal = True
                log.warning(
                    "a peer cannot be connected anew with what certificates there are now; the connection before stays",
                    peer=self.node.name,
                    address=self.node.address,
                    error=str(error) or "no answer",
                )
            return line
        self._complained_of_renewal = False
        if not other.better_than(line):
            other.connection.close()
            return line
        self._renew_at = 0.0
        self._take(other.connection)
        self._end(line.connection, RENEWED_DRAIN_S)
        log.info("peer connected anew", peer=self.node.name, address=self.node.address)
        return other

    async def _connect(self) -> Line:
        lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        context = None if self._tls is None else self._tls.calling.context
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, connection = await loop.create_connection(
                lambda: RpcConnection(
                    on_lost=lambda _connection: lost.set(),
                    in_flight_bytes_max=self._in_flight_bytes_max,
                    health=self.health,
                ),
                self.node.host,
                self.node.port,
                ssl=context,
            )
            try:
                tune(transport)
                hello = self._introduction.hello(self.node.name)
                asked_at = loop.time()
                frame = await connection.request(MessageType.HELLO, hello, timeout_s=CONNECT_TIMEOUT_S)
                answer = messages.decode(frame.header, Hello)
                self._introduction.check_node(answer, name=self.node.name, address=self.node.address)
                check_shown(connection.shown, cluster=answer.cluster, name=self.node.name, role=self._role)
                connection.obey(answer)
                self.hello = answer
                self._note_clock(answer.now_ms, asked_at)
            except BaseException:
                connection.abort()
                raise
        return Line(connection, lost, context)

    def _note_clock(self, now_ms: int, asked_at: float) -> None:
        """A peer answered with its wall clock what it was asked at `asked_at` of the loop's clock."""
        if not now_ms:
            if self.clock_sample is not None:
                # It doubts its clock: what it said before that is nothing to show as of now.
                self.clock_sample = None
                self._on_sample(self.node.name, None)
            return
        half_ms = (asyncio.get_running_loop().time() - asked_at) * 500
        # Our wall clock is read once, now: one that jumped meanwhile distorts nothing.
        offset_ms = now_ms - (self._introduction.clock.wall_ms() - half_ms)
        sample = ClockSample(peer=self.node.name, offset_ms=offset_ms, half_round_trip_ms=half_ms)
        self.clock_sample = sample
        self._on_sample(self.node.name, sample)

    async def _ping_until_lost(self, line: Line) -> None:
        """Ping all the time, and connect anew when that is due.

        Returns when the connection is lost, may not stay, or too little comes back on it.
        """
        loop = asyncio.get_running_loop()
        silent = missed = 0
        while not line.lost.is_set():
            now_ms = self._introduction.clock.wall_ms()
            if reason := line.refused(self._tls, now_ms):
                log.warning("a peer's certificate is not good any more", peer=self.node.name, reason=reason)
                self._take(None)
                self._end(line.connection, REFUSED_DRAIN_S)
                return
            if loop.time() >= self._renew_at and line.due(self._tls, now_ms):
                line = await self._renewed(line)
            connection = line.connection
            asked_at = loop.time()
            pieces = connection.pieces_received
            try:
                frame = await connection.request(MessageType.PING, Empty(), timeout_s=PING_TIMEOUT_S)
                pong = messages.decode(frame.header, Pong)
                self.room_bytes = pong.room_bytes
                self._note_clock(pong.now_ms, asked_at)
                self.health.record_probe(True)
                silent = missed = 0
            except DeadlineExceeded:
                self.health.record_probe(False)
                missed += 1
                # Large answers may hold up a ping for long. Where nothing comes at all, the link or the peer is gone.
                silent = silent + 1 if connection.pieces_received == pieces else 0
                if silent >= SILENT_PINGS_MAX or missed >= MISSED_PINGS_MAX:
                    log.warning("peer silent", peer=self.node.name, address=self.node.address, missed_pings=missed)
                    return
            except (PeerConnectionLost, ProtocolViolation):
                return
            except AccessDenied:
                # It turns us away, and answers what it began with.
                self._take(None)
                self._end(connection, REFUSED_DRAIN_S)
                raise
            except Overloaded:
                # It has no room for so much as a ping: it is there, and says so.
                self.health.record_probe(True)
                silent = missed = 0
            try:
                async with asyncio.timeout(PING_EVERY_S):
                    await line.lost.wait()
            except TimeoutError:
                continue


class PeerPool(dict[str, Peer]):
    """A Peer for each of some nodes, by name. `on_sample` hears what their clocks say."""

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        introduction: Introduction,
        random_source: random.Random,
        in_flight_bytes_max: int = 64 << 20,
        on_sample: OnSample = _ignore,
        tls: NodeTls | None = None,
        role: NodeRole = NodeRole.DATANODE,
    ) -> None:
        super().__init__(
            {
                node.name: Peer(
                    node,
                    introduction=introduction,
                    random_source=random_source,
                    in_flight_bytes_max=in_flight_bytes_max,
                    on_sample=on_sample,
                    tls=tls,
                    role=role,
                )
                for node in nodes
            }
        )

    def all(self) -> list[Peer]:
        return list(self.values())

    def start(self) -> None:
        for peer in self.values():
            peer.start()

    async def stop(self) -> None:
        await asyncio.gather(*(peer.stop() for peer in self.values()))
