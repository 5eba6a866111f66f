"""What is said of a handshake that failed: to the log, and to the other end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from ambry.service import turned_away as module
from ambry.service.last_words import adopt
from ambry.service.listener import Listener, Socket, bind
from ambry.service.tls import HANDSHAKE_S, NodeRole, NodeTlsSection, calling_context, serving_context
from ambry.service.turned_away import TurnedAway, why
from tests.support.captured_log import capture_log, said
from tests.support.fake_clock import SettableClock
from tests.support.node_certificates import authority, node_section


def test_a_flood_is_a_few_lines_that_tell_how_many_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, module)
    clock = SettableClock()
    turned = TurnedAway("a client", clock.monotonic)
    for _ in range(1_000):
        turned.say("10.0.0.1", OSError("reset"))
    assert len(events) == module.LINES_AT_ONCE
    clock.advance(1.0)
    turned.say("10.0.0.2", OSError("reset"))
    turned.say("10.0.0.2", OSError("reset"))
    last = said(events, "a client was turned away in its handshake")[-1]
    assert (len(events), last["client"], last["untold"]) == (module.LINES_AT_ONCE + 1, "10.0.0.2", 980)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "it shows no certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "it refuses what is shown here: tlsv1 alert unknown ca"),
        ("HTTP_REQUEST", "it speaks no TLS: http request"),
        ("UNSUPPORTED_PROTOCOL", "no TLS that is spoken here: unsupported protocol"),
    ],
)
def test_a_reason_is_in_words(reason: str, told: str) -> None:
    error = ssl.SSLError(1, "x")
    error.reason = reason
    assert why(error) == told
    assert why(ConnectionResetError()) == "the connection ended in its handshake"


async def heard(server: NodeTlsSection, context: ssl.SSLContext) -> str:
    """What the client of a server is told that turns it away."""
    adopting: list[asyncio.Task[None]] = []

    def accepted(sock: Socket, _client: str) -> None:
        work = adopt(asyncio.Protocol(), sock, serving_context(server), within_s=HANDSHAKE_S, told=True)
        adopting.append(asyncio.get_running_loop().create_task(work))

    listener = Listener(bind("127.0.0.1", 0), accepted, name="test")
    try:
        with pytest.raises((OSError, EOFError)) as caught:
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=context)
            writer.write(b"hello")
            await reader.readexactly(1)
        with pytest.raises(ssl.SSLError):
            await adopting[0]
        return str(caught.value)
    finally:
        listener.close()


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
def test_who_is_turned_away_is_told_why(tmp_path: Path, run: Callable[[Coroutine[Any, Any, str]], str]) -> None:
    """It saw a connection that had ended, whatever was wrong."""
    made = authority(tmp_path / "a")
    server = node_section(made, NodeRole.DATANODE, "n1")
    client = node_section(made, NodeRole.FRONTEND, "f1")
    made.revoke("frontend-f1")
    section = NodeTlsSection(client.certificate, client.key, client.authority)
    assert "revoked" in run(heard(server, calling_context(section))).lower()
    nothing = ssl.create_default_context(cafile=client.authority)
    assert "certificate_required" in run(heard(server, nothing)).lower().replace(" ", "_")
    foreign = node_section(authority(tmp_path / "b"), NodeRole.FRONTEND, "f1")
    other = NodeTlsSection(foreign.certificate, foreign.key, client.authority)
    assert "unknown_ca" in run(heard(server, calling_context(other))).lower().replace(" ", "_")
    old = node_section(authority(tmp_path / "a", days_ago=60), NodeRole.FRONTEND, "f2", days=30)
    assert "expired" in run(heard(server, calling_context(old))).lower()
