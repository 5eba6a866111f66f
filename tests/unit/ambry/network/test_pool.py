"""Peers over real loopback sockets: kept connected, found dead, found again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from ambry.clustermap.model import Node
from ambry.errors import AmbryError, BlobNotFound, DeadlineExceeded, InternalError, Overloaded, PeerConnectionLost
from ambry.network import pool as module
from ambry.network.connection import RpcConnection
from ambry.network.pool import ClockSample, OnSample, Peer, PeerPool
from ambry.network.responding import Responder
from ambry.network.serving import ServingConnection
from ambry.protocol.frame import FLAG_REPLY, Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello, Pong
from tests.support.captured_log import capture_log, said
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.introductions import introduction
from tests.support.ports import free_ports
from tests.support.swallowing_link import SwallowingLink

LONG_S = 60.0


class FakeNode:
    """A data node that greets, and answers as a test says."""

    def __init__(self, *, cluster: str = "c", name: str = "n1") -> None:
        self.hello = Hello(cluster, name)
        self.handler: Callable[[Frame, Responder], None] = lambda frame, responder: responder.reply(Empty())
        self.connections: list[ServingConnection] = []
        self.lost = 0
        self.pings: list[Frame] = []
        (self.port,) = free_ports(1)  # it stays ours while the node is down
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", self.port)

    def _accept(self) -> ServingConnection:
        made = ServingConnection(handlers=dict.fromkeys(MessageType, self._handle), on_lost=self._note_lost)
        self.connections.append(made)
        return made

    def _note_lost(self, _connection: RpcConnection) -> None:
        self.lost += 1

    def _handle(self, frame: Frame, responder: Responder) -> None:
        if frame.type == MessageType.HELLO:
            responder.reply(self.hello)
        else:
            self.pings.append(frame)
            self.handler(frame, responder)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.abort()


@pytest.fixture
async def node() -> AsyncIterator[FakeNode]:
    made = FakeNode()
    await made.start()
    yield made
    made.stop()


def pool_of(*nodes: FakeNode) -> PeerPool:
    return pool_hearing(None, *nodes)


def pool_hearing(on_sample: OnSample | None, *nodes: FakeNode, clock: SettableClock | None = None) -> PeerPool:
    return pool_at(*(node.port for node in nodes), on_sample=on_sample, clock=clock)


def pool_at(*ports: int, on_sample: OnSample | None = None, clock: SettableClock | None = None) -> PeerPool:
    return PeerPool(
        [
            Node(name=f"n{number}", datacenter="dc1", datacenter_id=1, host="127.0.0.1", port=port)
            for number, port in enumerate(ports, 1)
        ],
        introduction=introduction("me", cluster="c", clock=clock),
        random_source=random.Random(1),
        on_sample=on_sample or (lambda peer, sample: None),
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_MIN_S", 0.005)
    monkeypatch.setattr(module, "RETRY_MAX_S", 0.02)
    monkeypatch.setattr(module, "PING_EVERY_S", 0.01)
    monkeypatch.setattr(module, "PING_TIMEOUT_S", 0.05)


async def connected(pool: PeerPool) -> Peer:
    pool.start()
    peer = pool["n1"]
    await eventually(lambda: peer.connected)
    return peer


async def test_a_peer_is_connected_before_it_is_needed(node: FakeNode) -> None:
    pool = pool_of(node)
    peer = await connected(pool)
    assert peer.usable
    await peer.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    await pool.stop()
    assert not peer.connected
    with pytest.raises(PeerConnectionLost, match="not connected"):
        await peer.request(MessageType.PING, Empty(), timeout_s=LONG_S)


async def test_a_call_to_a_peer_that_is_away_fails_at_once() -> None:
    away = FakeNode()
    await away.start()
    away.stop()
    pool = pool_of(away)
    pool.start()
    outcomes: list[Frame | AmbryError] = []
    pool["n1"].call(MessageType.PING, Empty(), outcomes.append, timeout_s=LONG_S)
    assert [type(outcome) for outcome in outcomes] == [PeerConnectionLost]
    assert "n1" not in str(outcomes[0]), "who asked puts the name before it"
    assert pool["n1"].in_flight_bytes == 0
    await pool.stop()


async def test_a_peer_that_comes_later_or_comes_back_is_found(node: FakeNode) -> None:
    node.stop()
    pool = pool_of(node)
    pool.start()
    peer = pool["n1"]
    for _ in range(3):
        assert not peer.connected
        await node.start()
        await eventually(lambda: peer.connected)
        await peer.request(MessageType.PING, Empty(), timeout_s=LONG_S)
        node.stop()
        await eventually(lambda: not peer.connected)
    await pool.stop()


@pytest.mark.parametrize(("cluster", "name"), [("other", "n1"), ("c", "n9")])
async def test_a_node_of_another_cluster_or_name_is_not_used(cluster: str, name: str) -> None:
    stranger = FakeNode(cluster=cluster, name=name)
    await stranger.start()
    pool = pool_of(stranger)
    pool.start()
    await eventually(lambda: stranger.lost >= 2)  # it was given up, and tried again
    assert not pool["n1"].connected
    await pool.stop()
    stranger.stop()


async def test_a_release_without_a_common_version_is_not_used_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead = FakeNode()
    ahead.hello = Hello("c", "n1", version_min=7, version_max=9, release="9.9.9")
    await ahead.start()
    pool = pool_of(ahead)
    events = capture_log(monkeypatch, module)
    pool.start()
    await eventually(lambda: ahead.lost >= 2)
    assert not pool["n1"].connected
    errors = [event["error"] for event in said(events, "peer unreachable")]
    assert len(errors) == 1
    assert "n1 (release 9.9.9) speaks 7 to 9" in errors[0]
    await pool.stop()
    ahead.stop()


async def test_hello_and_pings_tell_how_far_the_clock_of_a_peer_is_off(node: FakeNode) -> None:
    ours = SettableClock(wall=1_000_000)
    node.hello = Hello("c", "n1", now_ms=1_000_000 - 86_400_000)
    node.handler = lambda frame, responder: responder.reply(Pong(1_000_000 + 3_600_000))
    samples: list[ClockSample | None] = []
    pool = pool_hearing(lambda _peer, sample: samples.append(sample), node, clock=ours)
    peer = await connected(pool)
    await eventually(lambda: len(samples) >= 2)
    for sample, offset_ms in zip(samples, (-86_400_000, 3_600_000), strict=False):
        assert sample is not None and sample.peer == "n1"
        assert sample.half_round_trip_ms >= 0
        assert sample.offset_ms == pytest.approx(offset_ms + sample.half_round_trip_ms)
    assert peer.clock_sample in samples
    await pool.stop()


async def test_a_peer_that_does_not_tell_its_time_gives_no_sample(node: FakeNode) -> None:
    samples: list[ClockSample | None] = []
    pool = pool_hearing(lambda _peer, sample: samples.append(sample), node)
    peer = await connected(pool)
    await eventually(lambda: peer.usable)
    pings = len(node.pings)
    await eventually(lambda: len(node.pings) > pings + 1)
    assert samples == []
    await pool.stop()


async def test_what_a_peer_said_of_its_clock_before_it_doubted_it_is_shown_no_longer(node: FakeNode) -> None:
    """A node that restarted with its clock a day ahead was shown as right by everybody for as long as it ran."""
    node.hello = Hello("c", "n1", now_ms=1_000_000)
    node.handler = lambda frame, responder: responder.reply(Pong())
    heard: list[tuple[str, bool]] = []
    pool = pool_hearing(lambda peer, sample: heard.append((peer, sample is not None)), node)
    peer = await connected(pool)
    await eventually(lambda: len(heard) == 2)
    assert heard == [("n1", True), ("n1", False)]
    assert peer.describe()["clock_offset_ms"] is None
    await pool.stop()


async def test_a_greeting_that_cannot_be_read_does_not_end_the_trying() -> None:
    """A name that is not UTF-8 used to raise UnicodeDecodeError and end the task: the peer was never tried again."""
    node = FakeNode()
    honest = node._handle
    tries = 0

    def babble(frame: Frame, responder: Responder) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:

            class Raw(messages.Message, frozen=True, array_like=True):
                cluster: bytes = b"c"

            encoded = messages.encode
            messages.encode = lambda _message: b"\x93\xa1c\xa2\xff\xfe\xa0"
            try:
                responder.reply(Raw())
            finally:
                messages.encode = encoded
        else:
            honest(frame, responder)

    node._handle = babble  # type: ignore[method-assign]
    await node.start()
    pool = pool_of(node)
    pool.start()
    await eventually(lambda: pool["n1"].connected)
    await pool.stop()
    node.stop()


async def test_a_peer_that_does_not_answer_pings_is_suspect_until_it_does(node: FakeNode) -> None:
    pool = pool_of(node)
    peer = await connected(pool)
    await eventually(lambda: peer.usable)
    node.handler = lambda frame, responder: None
    await eventually(lambda: not peer.usable)
    assert peer.connected
    node.handler = lambda frame, responder: responder.reply(Empty())
    await eventually(lambda: peer.usable)
    await pool.stop()


async def test_a_connection_that_is_given_up_is_closed(node: FakeNode) -> None:
    """A ping that was answered with an error made the peer connect anew, and the old connection stayed open for ever."""
    pool = pool_of(node)
    peer = await connected(pool)
    node.handler = lambda frame, responder: responder.fail(InternalError("sick"))
    await eventually(lambda: len(node.connections) >= 4)
    node.handler = lambda frame, responder: responder.reply(Empty())
    await eventually(lambda: peer.usable)
    await eventually(lambda: node.lost >= len(node.connections) - 1)
    await pool.stop()


async def test_silence_speaks_against_a_node_and_a_refusal_does_not(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_EVERY_S", 3_600.0)
    samples: list[ClockSample | None] = []
    node.handler = lambda frame, responder: responder.reply(Pong(1))
    pool = pool_hearing(lambda _peer, sample: samples.append(sample), node)
    peer = await connected(pool)
    await eventually(lambda: bool(samples))  # the one ping is over
    outcomes: asyncio.Queue[Frame | AmbryError] = asyncio.Queue()

    async def call(timeout_s: float) -> Frame | AmbryError:
        peer.call(MessageType.GET, Empty(), outcomes.put_nowait, timeout_s=timeout_s)
        return await asyncio.wait_for(outcomes.get(), 60)

    def refuse(frame: Frame, responder: Responder) -> None:
        raise BlobNotFound("no")

    node.handler = refuse
    for _ in range(10):
        assert isinstance(await call(LONG_S), BlobNotFound)
    assert peer.health.well
    node.handler = lambda frame, responder: None
    for _ in range(3):
        assert isinstance(await call(0.1), DeadlineExceeded)
    assert not peer.health.well
    await pool.stop()


@pytest.fixture
async def link(node: FakeNode) -> AsyncIterator[SwallowingLink]:
    made = SwallowingLink(node.port)
    await made.start()
    yield made
    made.stop()


async def test_a_link_that_swallows_everything_is_given_up_and_whole_again_soon_after_it_heals(
    node: FakeNode, link: SwallowingLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stayed until TCP gave up, and was found to be well again by TCP's back-off: 115 s after healing."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.2)
    node.handler = lambda frame, responder: responder.reply(Pong(1))
    pool = pool_at(link.port)
    peer = await connected(pool)
    await eventually(lambda: peer.usable)
    outcomes: list[Frame | AmbryError] = []
    link.swallows = True
    peer.call(MessageType.PUT, Empty(), outcomes.append, timeout_s=LONG_S, body=b"x" * 1000)
    await eventually(lambda: not peer.connected and bool(outcomes))
    assert [type(outcome) for outcome in outcomes] == [PeerConnectionLost]
    assert peer.in_flight_bytes == 0
    tries = link.made
    await eventually(lambda: link.made >= tries + 3)  # each try is given up, too
    assert not peer.connected
    link.swallows = False
    await eventually(lambda: peer.usable)
    await peer.request(MessageType.PING, Empty(), timeout_s=LONG_S)
    await pool.stop()


async def test_a_peer_whose_answers_come_but_slowly_is_not_given_up(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pings wait behind large answers: where bytes arrive, the peer is there."""
    monkeypatch.setattr(module, "MISSED_PINGS_MAX", 1_000_000)
    node.handler = lambda frame, responder: responder.reply(Pong(1))
    pool = pool_of(node)
    peer = await connected(pool)
    await eventually(lambda: peer.usable)
    pings = 0

    def trickle(frame: Frame, responder: Responder) -> None:
        nonlocal pings
        pings += 1
        # Something else comes meanwhile: an answer to a call that nobody knows of any more.
        responder.connection._send(encode_head(MessageType.GET, 1 << 40, b"", flags=FLAG_REPLY), b"")

    node.handler = trickle
    await eventually(lambda: pings > 3 * module.SILENT_PINGS_MAX)
    assert peer.connected
    assert not peer.usable
    monkeypatch.setattr(module, "MISSED_PINGS_MAX", 5)
    await eventually(lambda: len(node.connections) > 1)  # but not for ever
    await pool.stop()


async def test_a_greeting_tells_how_much_a_peer_takes(node: FakeNode) -> None:
    node.hello = msgspec.structs.replace(node.hello, requests_max=2)
    node.handler = lambda frame, responder: None
    pool = pool_of(node)
    peer = await connected(pool)
    outcomes: list[Frame | AmbryError] = []
    for _ in range(4):
        peer.call(MessageType.GET, Empty(), outcomes.append, timeout_s=LONG_S)
    assert Overloaded in [type(outcome) for outcome in outcomes]
    await pool.stop()


async def test_the_pool_knows_its_peers(node: FakeNode) -> None:
    pool = pool_of(node, node)
    assert [peer.node.name for peer in pool.all()] == ["n1", "n2"]
    with pytest.raises(KeyError):
        pool["n3"]
    await pool.stop()  # never started


async def test_a_peer_that_has_no_room_for_a_ping_stays_connected(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal ended the connection, and every call on it, of a node that had most to do."""
    monkeypatch.setattr(module, "PING_TIMEOUT_S", LONG_S)
    node.handler = lambda frame, responder: responder.fail(Overloaded("no room"))
    pool = pool_of(node)
    peer = await connected(pool)
    await eventually(lambda: len(node.pings) > module.SILENT_PINGS_MAX)
    assert peer.usable
    assert (len(node.connections), node.lost) == (1, 0)
    await pool.stop()
