"""Connections between nodes whose certificates are renewed, taken back, or run out while the connections are open."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from ambry.clustermap.model import Node
from ambry.errors import AmbryError
from ambry.network import accepted as accepted_module
from ambry.network import line as line_module
from ambry.network import pool as pool_module
from ambry.network.accepted import Accepted
from ambry.network.connection import RpcConnection
from ambry.network.listening import NodeListener
from ambry.network.pool import Peer, PeerPool
from ambry.network.requests import Requests
from ambry.network.responding import Responder
from ambry.network.unread import Unread
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.service.listener import bind
from ambry.service.tls import NodeIdentity, NodeRole, NodeTls, NodeTlsSection
from deploy.certificates import CertificateAuthority
from tests.support.captured_log import capture_log, said
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.introductions import introduction
from tests.support.node_certificates import CLUSTER, authority, node_section

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted_module, "EXPIRE_EVERY_S", 0.02)
    monkeypatch.setattr(pool_module, "PING_EVERY_S", 0.01)
    monkeypatch.setattr(pool_module, "RENEW_EVERY_S", 0.02)
    monkeypatch.setattr(line_module, "LOOK_EVERY_S", 0.005)


class House:
    """Data node n1, which answers FETCH at once and CHANGES when it is told to, and who connects to it."""

    def __init__(self, made: CertificateAuthority) -> None:
        self.made = made
        self.now_ms = SystemClock().wall_ms()
        self.clock = SettableClock(self.now_ms)
        self.section = node_section(made, NodeRole.DATANODE, "n1")
        self.tls = NodeTls(self.section)
        self.waiting: list[Responder] = []
        self.hellos: list[Responder] = []
        own = introduction("n1", cluster=CLUSTER, clock=self.clock)

        def hello(frame: Frame, responder: Responder) -> None:
            own.check_caller(messages.decode(frame.header, Hello))
            self.hellos.append(responder)
            responder.reply(own.hello())

        self.accepted = Accepted(
            {
                MessageType.HELLO: hello,
                MessageType.PING: lambda frame, responder: responder.reply(messages.Pong(1)),
                MessageType.FETCH: lambda frame, responder: responder.reply(Empty()),
                MessageType.CHANGES: lambda frame, responder: self.waiting.append(responder),
            },
            members=("n1", "n2", "n3"),
            guests_max=8,
            requests=Requests(),
            unread=Unread(),
            clock=self.clock,
            tls=self.tls,
        )
        self.listener = NodeListener(bind("127.0.0.1", 0), self.accepted.accept, self.tls.serving)
        self.accepted.start()
        self.peers: list[Peer] = []
        self.callers: list[NodeTls] = []
        self.pools: list[PeerPool] = []

    def connect(self, section: NodeTlsSection, name: str) -> Peer:
        tls = NodeTls(section)
        pool = PeerPool(
            [Node(name="n1", host="127.0.0.1", port=self.listener.port, datacenter="dc1", datacenter_id=1)],
            introduction=introduction(name, cluster=CLUSTER, clock=self.clock),
            random_source=random.Random(1),
            tls=tls,
        )
        self.pools.append(pool)
        self.callers.append(tls)
        pool.start()
        return pool["n1"]

    async def look(self) -> None:
        """All look at their files, twice: what cannot be used is said the second time."""
        for tls in (self.tls, *self.callers) * 2:
            await tls.tick()

    async def close(self) -> None:
        self.listener.close()
        self.accepted.close()
        for pool in self.pools:
            await pool.stop()


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[House]:
    house = House(authority(path))
    try:
        yield house
    finally:
        await house.close()


async def ask(peer: Peer) -> None:
    await peer.request(MessageType.FETCH, Empty(), timeout_s=20)


async def held(house: House, peer: Peer) -> asyncio.Task[Frame]:
    """A request that waits for its answer at the node."""
    count = len(house.waiting)
    task = asyncio.create_task(peer.request(MessageType.CHANGES, Empty(), timeout_s=20))
    await eventually(lambda: len(house.waiting) > count)
    return task


async def keeps_asking(peer: Peer, until: Callable[[], object]) -> None:
    """Ask all the time, and never in vain."""
    async with asyncio.timeout(20):
        while not until():
            await ask(peer)


async def test_who_is_revoked_is_answered_what_it_asked_and_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that was taken back opened no connection more, and kept those that it had."""
    events = capture_log(monkeypatch, accepted_module)
    async with opened(tmp_path) as house:
        # These two read the list of a moment ago, so nothing but the node itself sends n2 away.
        sections = [node_section(house.made, NodeRole.DATANODE, name) for name in ("n2", "n3")]
        two, three = (
            house.connect(NodeTlsSection(section.certificate, section.key, section.authority), name)
            for section, name in zip(sections, ("n2", "n3"), strict=True)
        )
        await eventually(lambda: two.connected and three.connected)
        waits, of_three = await held(house, two), await held(house, three)
        house.made.revoke("datanode-n2")
        await house.look()
        await eventually(lambda: said(events, "a node's certificate is not good any more"))
        with pytest.raises(AmbryError, match=r"it was taken back|not connected"):
            await ask(two)
        house.waiting[0].reply(Empty())
        await waits
        await eventually(lambda: not two.connected and house.accepted.count == 1)
        assert len(said(events, "a node's certificate is not good any more")) == 1
        assert "ambry://test/datanode/n2 at 127.0.0.1:" in str(events[0]["peer"])
        await ask(three)
        house.waiting[1].reply(Empty())
        await of_three


async def test_what_a_revoked_node_waits_for_ends_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted_module, "REFUSED_DRAIN_S", 0.05)
    async with opened(tmp_path) as house:
        section = node_section(house.made, NodeRole.DATANODE, "n2")
        two = house.connect(NodeTlsSection(section.certificate, section.key, section.authority), "n2")
        await eventually(lambda: two.connected)
        waits = await held(house, two)
        house.made.revoke("datanode-n2")
        await house.look()
        with pytest.raises(AmbryError, match="ended before the answer"):
            await waits
        await eventually(lambda: house.accepted.count == 0)


async def test_a_node_that_is_revoked_is_not_called_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, pool_module)
    async with opened(tmp_path) as house:
        two = house.connect(node_section(house.made, NodeRole.DATANODE, "n2"), "n2")
        await eventually(lambda: two.connected)
        waits = await held(house, two)
        house.made.revoke("datanode-n1")
        await house.callers[0].tick()
        await eventually(lambda: not two.connected)
        assert said(events, "a peer's certificate is not good any more")[0]["reason"] == "it was taken back"
        house.waiting[0].reply(Empty())
        await waits
        await eventually(lambda: "revoked" in str([line.get("error") for line in said(events, "peer unreachable")]))


async def test_whose_authority_left_goes_and_who_has_another_stays(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as house:
        other = authority(tmp_path / "b")
        both = tmp_path / "both.crt"
        both.write_bytes(house.made.certificate_file.read_bytes() + other.certificate_file.read_bytes())
        section = NodeTlsSection(house.section.certificate, house.section.key, str(both))
        house.tls = house.accepted._tls = NodeTls(section)
        house.listener._tls = house.tls.serving
        three = node_section(other, NodeRole.DATANODE, "n3")
        peers = [
            house.connect(NodeTlsSection(given.certificate, given.key, str(house.made.certificate_file)), name)
            for given, name in ((node_section(house.made, NodeRole.DATANODE, "n2"), "n2"), (three, "n3"))
        ]
        await eventually(lambda: all(peer.connected for peer in peers))
        both.write_bytes(house.made.certificate_file.read_bytes())
        await house.look()
        await eventually(lambda: not peers[1].connected)
        await ask(peers[0])
        assert peers[0].connected


async def test_who_has_another_certificate_is_connected_anew_and_no_call_is_lost(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        two = house.connect(node_section(house.made, NodeRole.DATANODE, "n2"), "n2")
        await eventually(lambda: two.connected)
        before = two._connection
        waits = await held(house, two)
        house.made.rotate("datanode-n2", days=90)
        await house.look()
        await keeps_asking(two, lambda: two._connection is not before)
        assert [hello.shown.until_ms > house.now_ms + 80 * DAY_MS for hello in house.hellos if hello.shown] == [
            False,
            True,
        ]
        assert house.accepted.count == 2, "what waits for its answer waits"
        house.waiting[0].reply(Empty())
        await waits
        await eventually(lambda: house.accepted.count == 1)
        await ask(two)


async def test_one_that_would_be_refused_keeps_the_connection_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator gave out certificates of an authority that nobody trusted yet."""
    events = capture_log(monkeypatch, pool_module)
    async with opened(tmp_path / "a") as house:
        section = node_section(house.made, NodeRole.DATANODE, "n2")
        two = house.connect(section, "n2")
        await eventually(lambda: two.connected)
        before = two._connection
        foreign = node_section(authority(tmp_path / "b"), NodeRole.DATANODE, "n2")
        for source, target in ((foreign.key, section.key), (foreign.certificate, section.certificate)):
            Path(target).write_bytes(Path(source).read_bytes())
        await house.look()
        wanted = "a peer cannot be connected anew with what certificates there are now; the connection before stays"
        await keeps_asking(two, lambda: said(events, wanted))
        assert two._connection is before and len(said(events, wanted)) == 1


async def test_no_connection_outlives_the_certificate_of_either_end(tmp_path: Path) -> None:
    """n2's runs out after 5 days, n1's after 30: that of n2 is gone first, and comes again when it has another."""
    async with opened(tmp_path) as house:
        two = house.connect(node_section(house.made, NodeRole.DATANODE, "n2", days=5), "n2")
        three = house.connect(node_section(house.made, NodeRole.DATANODE, "n3", days=90), "n3")
        await eventually(lambda: two.connected and three.connected)
        first = two._connection
        house.clock.wall += 6 * DAY_MS
        await eventually(lambda: two._connection is not first)
        await ask(three)
        unchanged = three._connection
        house.clock.wall += 25 * DAY_MS
        await eventually(lambda: three._connection is not unchanged)


async def test_who_is_about_to_run_out_is_connected_anew_when_it_has_another(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        two = house.connect(node_section(house.made, NodeRole.DATANODE, "n2", days=90), "n2")
        await eventually(lambda: two.connected)
        before = two._connection
        house.made.rotate("datanode-n1", days=60)
        await house.tls.tick()
        await ask(two)
        assert two._connection is before, "what it shows now is seen by who connects"
        house.clock.wall += 30 * DAY_MS - 30_000
        await keeps_asking(two, lambda: two._connection is not before)
        assert two._connection is not None and two._connection.shown is not None
        assert two._connection.shown.until_ms > house.now_ms + 59 * DAY_MS
        assert two._connection.shown.identity == NodeIdentity(CLUSTER, NodeRole.DATANODE, "n1")


async def test_who_is_turned_away_in_its_handshake_leaves_nothing_behind(tmp_path: Path) -> None:
    """Each stayed among the strangers, until those who came for good were told that there are too many connections."""
    async with opened(tmp_path / "a") as house:
        given = node_section(authority(tmp_path / "b"), NodeRole.DATANODE, "n2")
        context = NodeTls(
            NodeTlsSection(given.certificate, given.key, str(house.made.certificate_file))
        ).calling.context
        loop = asyncio.get_running_loop()
        for _ in range(3):
            lost = asyncio.Event()
            with contextlib.suppress(OSError):
                await loop.create_connection(
                    lambda lost=lost: RpcConnection(on_lost=lambda _: lost.set()),  # type: ignore[misc]
                    "127.0.0.1",
                    house.listener.port,
                    ssl=context,
                )
                await lost.wait()
        await eventually(lambda: not house.listener._handshakes)
        assert house.accepted.count == 0
