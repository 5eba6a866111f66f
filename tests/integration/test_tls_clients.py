"""What clients of other makers see of certificates that are not good: theirs at ports of operators and nodes, the front's own.

curl, openssl and aiohttp each look in their own way, and each is to tell its user what is wrong: not that a cable was pulled.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

import aiohttp
import pytest

from ambry.clock import SystemClock
from ambry.network.accepted import Accepted
from ambry.network.listening import NodeListener
from ambry.network.requests import Requests
from ambry.network.responding import Handler
from ambry.network.unread import Unread
from ambry.protocol.frame import MessageType
from ambry.service.admin import AdminTls, start_admin
from ambry.service.listener import bind
from ambry.service.tls import NodeRole, NodeTls, NodeTlsSection
from deploy.certificates import CertificateAuthority
from tests.support.edge import edge
from tests.support.node_certificates import CLUSTER, authority, front_section, node_section

CLIENTS = [
    pytest.param("curl", marks=pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")),
    pytest.param(
        "openssl", marks=pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
    ),
    "aiohttp",
]
KINDS = {
    "good": "",
    "expired": "expired",
    "revoked": "revoked",
    "foreign": "unknown ca",
    "none": "certificate required",
}
"""Of certificates that a client shows; what it is told."""


def shown(made: CertificateAuthority, kind: str, role: NodeRole) -> NodeTlsSection | None:
    """What a client of this kind has; all of them trust the authority."""
    if kind == "none":
        return None
    if kind == "expired":
        return node_section(authority(made.directory, days_ago=60), role, "me", days=30)
    if kind == "foreign":
        other = node_section(authority(made.directory.parent / "other"), role, "me")
        return NodeTlsSection(other.certificate, other.key, str(made.certificate_file))
    section = node_section(made, role, "me")
    if kind == "revoked":
        made.revoke(f"{role.value}-me")
    return section


async def told(client: str, port: int, ca: Path, section: NodeTlsSection | None) -> str:
    """What `client` says of a request over TLS; empty where it was served."""
    if client == "aiohttp":
        return await _told_by_aiohttp(port, ca, section)
    if client == "curl":
        command = ["curl", "-sS", "--max-time", "60", "--cacert", str(ca), f"https://127.0.0.1:{port}/things"]
        if section is not None:
            command += ["--cert", section.certificate, "--key", section.key]
    else:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(ca), "-verify_return_error"]
        command += ["-verify_ip", "127.0.0.1", "-ign_eof"]
        if section is not None:
            command += ["-cert", section.certificate, "-key", section.key]
    process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1, stderr=-1)
    async with asyncio.timeout(60):
        out, err = await process.communicate(b"GET /things HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    if b"200 OK" in out or (client == "curl" and process.returncode == 0):
        return ""
    return (out + err).decode(errors="replace")


async def _told_by_aiohttp(port: int, ca: Path, section: NodeTlsSection | None) -> str:
    context = ssl.create_default_context(cafile=str(ca))
    if section is not None:
        context.load_cert_chain(section.certificate, section.key)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
            session.get(f"https://127.0.0.1:{port}/things", ssl=context) as answer,
        ):
            assert answer.status == 200
            await answer.read()
    except (aiohttp.ClientError, OSError) as error:
        return str(error)
    return ""


def says(text: str, what: str) -> bool:
    return what in text.lower().replace("_", " ")


@pytest.fixture
def made(tmp_path: Path) -> CertificateAuthority:
    return authority(tmp_path / "certs")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_an_operators_certificate_that_is_not_good_is_refused_and_its_client_says_why(
    made: CertificateAuthority, client: str, kind: str
) -> None:
    section = shown(made, kind, NodeRole.OPERATOR)
    tls = AdminTls(NodeTls(node_section(made, NodeRole.DATANODE, "n1")), CLUSTER)
    admin = await start_admin("0.0.0.0", 0, ready=list, pages={"/things": lambda: [1, 2]}, tls=tls)
    try:
        text = await told(client, admin.port, made.certificate_file, section)
    finally:
        await admin.close()
    assert (text == "") == (kind == "good"), text
    assert says(text, KINDS[kind]), text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_nodes_certificate_that_is_not_good_is_refused_at_the_port_of_nodes_and_its_client_says_why(
    made: CertificateAuthority, client: str, kind: str
) -> None:
    """Where it is good, what these clients say is no RPC, and the connection ends without an alert."""
    section = shown(made, kind, NodeRole.FRONTEND)
    tls = NodeTls(node_section(made, NodeRole.DATANODE, "n1"))
    handlers: dict[int, Handler] = {MessageType.HELLO: lambda frame, responder: None}
    accepted = Accepted(handlers, members=(), guests_max=8, requests=Requests(), unread=Unread(), clock=SystemClock())
    listener = NodeListener(bind("127.0.0.1", 0), accepted.accept, tls.serving)
    accepted.start()
    try:
        text = await told(client, listener.port, made.certificate_file, section)
    finally:
        listener.close()
        accepted.close()
    assert text
    assert [each for each, why in KINDS.items() if why and says(text, why)] == ([] if kind == "good" else [kind]), text


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", ["good", "expired", "foreign"])
async def test_who_meets_a_front_whose_certificate_is_not_good_says_why(
    made: CertificateAuthority, tmp_path: Path, client: str, kind: str
) -> None:
    by = authority(tmp_path / "other") if kind == "foreign" else made
    if kind == "expired":
        by = authority(made.directory, days_ago=60)
    why = {"good": "", "expired": "expired", "foreign": "unable to get local issuer"}[kind]
    async with edge(tls=front_section(by)) as server:
        text = await told(client, server.port, made.certificate_file, None)
        assert (text == "") == (kind == "good"), text
        assert says(text, why), text
