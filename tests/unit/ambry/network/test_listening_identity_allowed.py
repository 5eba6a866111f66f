"""Nodes show each other who they are, over real sockets: each is let do what its role does, and nobody else is let in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from ambry.clustermap.model import Node
from ambry.errors import AccessDenied, ConfigInvalid, StoreMismatch
from ambry.network import listening as listening_module
from ambry.network import pool as pool_module
from ambry.network.accepted import Accepted
from ambry.network.connection import RpcConnection
from ambry.network.identity import ASKED_BY, Shown, check_sender
from ambry.network.introduction import INSTANCE_SIZE, Introduction
from ambry.network.listening import HANDSHAKES_MAX, NodeListener, require_tls
from ambry.network.pool import PeerPool
from ambry.network.requests import Requests
from ambry.network.responding import Responder
from ambry.network.unread import Unread
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello
from ambry.service import turned_away as turned_away_module
from ambry.service.handshakes import Handshakes
from ambry.service.listener import bind
from ambry.service.tls import NodeIdentity, NodeRole, NodeTls, NodeTlsSection
from deploy.certificates import CertificateAuthority
from tests.support.captured_log import capture_log, said
from tests.support.node_certificates import CLUSTER, authority, node_section


def introduction(name: str) -> Introduction:
    clock = SystemClock()
    return Introduction(
        cluster=CLUSTER, name=name, layout_version=1, instance=bytes(INSTANCE_SIZE), clock=clock, told_ms=clock.wall_ms
    )


@contextlib.asynccontextmanager
async def listening(section: NodeTlsSection, name: str = "n1") -> AsyncIterator[int]:
    """A node that answers every request with nothing; the port."""
    own = introduction(name)

    def hello(frame: Frame, responder: Responder) -> None:
        own.check_caller(messages.decode(frame.header, Hello))
        responder.reply(own.hello())

    handlers = {int(type): lambda frame, responder: responder.reply(Empty()) for type in MessageType}
    accepted = Accepted(
        {**handlers, MessageType.HELLO: hello},
        members=("n1", "n2"),
        guests_max=8,
        requests=Requests(),
        unread=Unread(),
        clock=SystemClock(),
    )
    tls = NodeTls(section)
    listener = NodeListener(bind("127.0.0.1", 0), accepted.accept, tls.serving)
    accepted.start()
    try:
        yield listener.port
    finally:
        listener.close()
        accepted.close()


@contextlib.asynccontextmanager
async def calling(section: NodeTlsSection | None, name: str, port: int, *, to: str = "n1") -> AsyncIterator[PeerPool]:
    node = Node(name=to, host="127.0.0.1", port=port, datacenter="dc1", datacenter_id=1)
    pool = PeerPool(
        [node],
        introduction=introduction(name),
        random_source=random.Random(1),
        tls=None if section is None else NodeTls(section),
    )
    pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


async def connected(pool: PeerPool) -> None:
    async with asyncio.timeout(20):
        while not all(peer.connected for peer in pool.all()):  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.005)


async def test_each_role_is_let_ask_what_it_asks_and_nothing_else(tmp_path: Path) -> None:
    made = authority(tmp_path)
    assert set(ASKED_BY) == set(MessageType), "every message is somebody's"
    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        for role in (NodeRole.FRONTEND, NodeRole.DATANODE):
            async with calling(node_section(made, role, "n2"), "n2", port) as pool:
                await connected(pool)
                for type in MessageType:
                    if type in (MessageType.HELLO, MessageType.CANCEL):
                        continue
                    if role in ASKED_BY[type]:
                        await pool["n1"].request(type, Empty(), timeout_s=20)
                    else:
                        with pytest.raises(AccessDenied, match=f"ambry://test/{role.value}/n2 does not let it ask"):
                            await pool["n1"].request(type, Empty(), timeout_s=20)


@contextlib.asynccontextmanager
async def connection_to(section: NodeTlsSection, port: int) -> AsyncIterator[RpcConnection]:
    """One that has not said hello."""
    loop = asyncio.get_running_loop()
    context = NodeTls(section).calling.context
    _, made = await loop.create_connection(RpcConnection, "127.0.0.1", port, ssl=context)
    try:
        yield made
    finally:
        made.abort()


async def test_before_its_hello_nobody_is_answered_and_after_it_as_before(tmp_path: Path) -> None:
    """A certificate of another cluster, by the same authority, was answered what its role asks as long as it said no hello."""
    made = authority(tmp_path)
    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        async with connection_to(node_section(made, NodeRole.DATANODE, "n2"), port) as connection:
            for type in set(MessageType) - {MessageType.HELLO, MessageType.CANCEL}:
                with pytest.raises(AccessDenied, match="say first who you are"):
                    await connection.request(type, Empty(), timeout_s=20)
            with pytest.raises(StoreMismatch, match="not for n3"):
                await connection.request(MessageType.HELLO, Hello(CLUSTER, "n3", "n1"), timeout_s=20)
            with pytest.raises(AccessDenied, match="say first who you are"):
                await connection.request(MessageType.CHANGES, Empty(), timeout_s=20)
            await connection.request(MessageType.HELLO, Hello(CLUSTER, "n2", "n1"), timeout_s=20)
            await connection.request(MessageType.CHANGES, Empty(), timeout_s=20)
            with pytest.raises(AccessDenied, match="does not let it ask for PUT"):
                await connection.request(MessageType.PUT, Empty(), timeout_s=20)
        path = made.issue("other", identity=NodeIdentity("other", NodeRole.DATANODE, "n2"), hosts=[])
        foreign = NodeTlsSection(str(path), str(path.with_suffix(".key")), str(made.certificate_file))
        async with connection_to(foreign, port) as connection:
            for cluster in (CLUSTER, "other"):
                with pytest.raises(StoreMismatch):
                    await connection.request(MessageType.HELLO, Hello(cluster, "n2", "n1"), timeout_s=20)
            with pytest.raises(AccessDenied, match="say first who you are"):
                await connection.request(MessageType.CHANGES, Empty(), timeout_s=20)


def test_a_sender_that_a_request_names_is_the_one_that_shows_itself() -> None:
    shown = Shown(NodeIdentity(CLUSTER, NodeRole.DATANODE, "n2"), 1)
    check_sender(shown, "n2")
    check_sender(None, "whoever")
    for name in ("n3", ""):
        with pytest.raises(AccessDenied, match="ambry://test/datanode/n2 does not let it ask in the name of"):
            check_sender(shown, name)


async def turned_away(section: NodeTlsSection | None, port: int, *, name: str = "n2", to: str = "n1") -> str:
    """Why a caller finds the node unreachable."""
    with pytest.MonkeyPatch.context() as patch:
        lines = capture_log(patch, pool_module, turned_away_module)
        async with calling(section, name, port, to=to), asyncio.timeout(20):
            while not said(lines, "peer unreachable"):  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.005)
    events = [
        line for line in lines if line["event"] in ("peer unreachable", "a node was turned away in its handshake")
    ]
    assert not [line for line in lines if line["event"] == "peer connected"]
    return " | ".join(str(line["error"]) for line in events)


async def test_a_certificate_is_good_for_its_own_name_alone(tmp_path: Path) -> None:
    made = authority(tmp_path)
    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        told = await turned_away(node_section(made, NodeRole.DATANODE, "n2"), port, name="n3")
        assert "ambry://test/datanode/n2" in told and "not for n3" in told


async def test_who_answers_must_be_the_node_that_was_meant(tmp_path: Path) -> None:
    made = authority(tmp_path)
    caller = node_section(made, NodeRole.FRONTEND, "n2")
    async with listening(node_section(made, NodeRole.FRONTEND, "n1")) as port:
        assert "not for the datanode n1" in await turned_away(caller, port), (
            "a frontend's certificate is no data node's"
        )
    async with listening(node_section(made, NodeRole.DATANODE, "n1", as_name="n9")) as port:
        assert "datanode/n9" in await turned_away(caller, port)


def _expired(made: CertificateAuthority, path: Path) -> NodeTlsSection:
    return node_section(authority(path / "a", days_ago=60), NodeRole.FRONTEND, "n2", days=30)


def _foreign(made: CertificateAuthority, path: Path) -> NodeTlsSection:
    found = node_section(authority(path / "other"), NodeRole.FRONTEND, "n2")
    return NodeTlsSection(certificate=found.certificate, key=found.key, authority=str(made.certificate_file))


def _revoked(made: CertificateAuthority, path: Path) -> NodeTlsSection:
    found = node_section(made, NodeRole.FRONTEND, "n2")
    made.revoke("frontend-n2")
    return NodeTlsSection(certificate=found.certificate, key=found.key, authority=found.authority)


def _front(made: CertificateAuthority, path: Path) -> NodeTlsSection:
    issued = made.issue("front", identity=None, hosts=["127.0.0.1"])
    return NodeTlsSection(
        certificate=str(issued), key=str(issued.with_suffix(".key")), authority=str(made.certificate_file)
    )


@pytest.mark.parametrize(
    ("make", "why"),
    [(_expired, "expired"), (_foreign, "unable to get|self-signed"), (_revoked, "revoked"), (_front, "purpose")],
)
async def test_bad_certificates_are_turned_away_with_a_reason(tmp_path: Path, make: object, why: str) -> None:
    made = authority(tmp_path / "a")
    section = make(made, tmp_path)  # type: ignore[operator]
    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        told = await turned_away(section, port)
        assert re.search(why, told), told


@pytest.mark.parametrize(("make", "why"), [(_expired, "certificate expired"), (_revoked, "certificate revoked")])
async def test_who_is_turned_away_learns_why(tmp_path: Path, make: object, why: str) -> None:
    """It was told that the connection had ended."""
    made = authority(tmp_path / "a")
    section = make(made, tmp_path)  # type: ignore[operator]
    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        told = await turned_away(section, port)
        assert f"ended before the answer: it refuses what is shown here: sslv3 alert {why}" in told, told


async def test_who_asks_for_what_its_certificate_does_not_let_it_stands_in_the_log_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = capture_log(monkeypatch, turned_away_module)
    made = authority(tmp_path)
    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        for role, name, why in (
            (NodeRole.OPERATOR, "me", "does not let it ask for HELLO"),
            (NodeRole.DATANODE, "n3", "and not for n2"),
        ):
            async with connection_to(node_section(made, role, name), port) as connection:
                for _ in range(3):
                    with pytest.raises((AccessDenied, StoreMismatch)):
                        await connection.request(MessageType.HELLO, Hello(CLUSTER, "n2", "n1"), timeout_s=20)
            line = said(lines, "a node was turned away for what its certificate says")[-1]
            assert why in line["error"] and line["client"].startswith(f"ambry://test/{role.value}/{name} at 127.0.0.1:")
        assert len(lines) == 2


async def test_nobody_is_heard_in_the_clear(tmp_path: Path) -> None:
    async with listening(node_section(authority(tmp_path), NodeRole.DATANODE, "n1")) as port:
        assert "in its handshake" in await turned_away(None, port)


def test_in_the_clear_nodes_are_on_loopback_alone() -> None:
    require_tls("the address", "127.0.0.1", None, loopback=True)
    require_tls("the address", "10.0.0.1", object(), loopback=False)
    with pytest.raises(ConfigInvalid, match="ambry certs"):
        require_tls("the address", "10.0.0.1", None, loopback=False)


async def test_strangers_that_say_nothing_in_their_handshake_keep_no_node_out_and_the_port_stays_open(
    tmp_path: Path,
) -> None:
    """More than 128 of them closed it for good: it was paused, and nobody counted it open again."""
    made = authority(tmp_path)
    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
        async with calling(node_section(made, NodeRole.FRONTEND, "f1"), "f1", port) as pool:
            await connected(pool)
        for _, writer in silent:
            writer.transport.abort()
        async with calling(node_section(made, NodeRole.FRONTEND, "f2"), "f2", port) as pool:
            await connected(pool)
            await pool["n1"].request(MessageType.PING, Empty(), timeout_s=20)


async def test_of_strangers_that_say_nothing_the_oldest_gives_way_and_the_rest_goes_when_the_port_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps a descriptor; none here ends by its own time."""
    monkeypatch.setattr(listening_module, "Handshakes", functools.partial(Handshakes, within_s=3_600.0))
    lines = capture_log(monkeypatch, turned_away_module)
    made = authority(tmp_path)

    async def ends(reader: asyncio.StreamReader) -> None:
        async with asyncio.timeout(60):
            assert await reader.read() == b""

    async with listening(node_section(made, NodeRole.DATANODE, "n1")) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(HANDSHAKES_MAX)]
        async with connection_to(node_section(made, NodeRole.DATANODE, "n2"), port) as connection:
            await connection.request(MessageType.HELLO, Hello(CLUSTER, "n2", "n1"), timeout_s=60)
            await ends(silent[0][0])
            await connection.request(MessageType.CHANGES, Empty(), timeout_s=60)
        assert not any(reader.at_eof() for reader, _ in silent[1:])
        assert [line["error"] for line in lines] == ["others came, and it had not said who it is"]
    for reader, writer in silent:
        await ends(reader)
        writer.close()
