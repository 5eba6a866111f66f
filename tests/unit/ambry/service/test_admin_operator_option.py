"""An admin port off loopback: operators are answered, by their certificates, and nobody else is."""

from __future__ import annotations

import asyncio
import functools
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ambry.errors import ConfigInvalid
from ambry.service import admin as admin_module
from ambry.service import admin_http
from ambry.service import turned_away as turned_away_module
from ambry.service.admin import AdminTls, start_admin
from ambry.service.admin_client import AdminUnanswered, ask_admin
from ambry.service.handshakes import Handshakes
from ambry.service.operator_option import operator, operator_option
from ambry.service.tls import NodeIdentity, NodeRole, NodeTls, NodeTlsSection, calling_context
from deploy.certificates import CertificateAuthority
from tests.support.captured_log import Events, capture_log, said
from tests.support.eventually import eventually
from tests.support.node_certificates import CLUSTER, authority, node_section


@pytest.fixture
def made(tmp_path: Path) -> CertificateAuthority:
    return authority(tmp_path / "certs")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    return capture_log(monkeypatch, admin_module)


@pytest.fixture
async def url(made: CertificateAuthority, events: Events) -> AsyncIterator[str]:
    """Of an admin port that listens off loopback as well, as n1 in TLS."""
    tls = NodeTls(node_section(made, NodeRole.DATANODE, "n1"))
    pages = {"/things": lambda: [1, 2]}
    admin = await start_admin("0.0.0.0", 0, ready=list, pages=pages, tls=AdminTls(tls, CLUSTER))
    yield f"https://127.0.0.1:{admin.port}"
    await admin.close()


async def ask(url: str, section: NodeTlsSection | None) -> object:
    own = None if section is None else Path(section.certificate)
    return await asyncio.to_thread(ask_admin, url, "GET", "/things", timeout_s=20, operator=own)


async def test_an_operator_is_answered(made: CertificateAuthority, url: str) -> None:
    assert await ask(url, node_section(made, NodeRole.OPERATOR, "me")) == [1, 2]


@pytest.mark.parametrize("role", [NodeRole.DATANODE, NodeRole.FRONTEND])
async def test_a_node_is_none(made: CertificateAuthority, url: str, events: Events, role: NodeRole) -> None:
    with pytest.raises(AdminUnanswered, match=f"{role.value}/n2 is none of an operator of test"):
        await ask(url, node_section(made, role, "n2"))
    assert f"ambry://test/{role.value}/n2" in str(said(events, "no operator is answered nothing")[0]["reason"])


async def test_an_operator_of_another_cluster_is_none(made: CertificateAuthority, url: str, tmp_path: Path) -> None:
    other = authority(tmp_path / "other", cluster="other")
    # By the same authority, and for another cluster.
    shutil.copy2(made.key_file, other.key_file)
    shutil.copy2(made.certificate_file, other.certificate_file)
    shutil.copy2(made.revoked_file, other.revoked_file)
    path = other.issue("operator-me", identity=NodeIdentity("other", NodeRole.OPERATOR, "me"), hosts=[])
    with pytest.raises(AdminUnanswered, match="ambry://other/operator/me is none of an operator of test"):
        await asyncio.to_thread(ask_admin, url, "GET", "/things", timeout_s=20, operator=path)


async def test_who_shows_nothing_or_what_was_taken_back_is_told_and_logged(
    made: CertificateAuthority, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = capture_log(monkeypatch, turned_away_module)
    with pytest.raises(AdminUnanswered, match="asks for an operator's certificate: --operator"):
        await ask(url, None)
    section = node_section(made, NodeRole.OPERATOR, "me")
    made.revoke("operator-me")
    tls = node_section(made, NodeRole.DATANODE, "n1")
    admin = await start_admin("0.0.0.0", 0, ready=list, pages={}, tls=AdminTls(NodeTls(tls), CLUSTER))
    try:
        with pytest.raises(AdminUnanswered, match=r"refuses this operator's certificate .*revoked"):
            await ask(f"https://127.0.0.1:{admin.port}", section)
    finally:
        await admin.close()
    foreign = node_section(authority(tmp_path / "foreign"), NodeRole.OPERATOR, "me")
    with pytest.raises(AdminUnanswered, match="its certificate is refused: "):
        await ask(url, foreign)
    with pytest.raises(AdminUnanswered, match="this port speaks https: ask https"):
        await ask(url.replace("https", "http"), None)
    told = [str(event["error"]) for event in said(turned, "an operator was turned away in its handshake")]
    assert any("revoked" in each for each in told)
    assert told.count("it speaks HTTP in the clear, and this port speaks HTTPS") == 1


async def test_who_answers_must_be_a_node(made: CertificateAuthority) -> None:
    tls = NodeTls(node_section(made, NodeRole.OPERATOR, "you"))
    admin = await start_admin("0.0.0.0", 0, ready=list, pages={}, tls=AdminTls(tls, CLUSTER))
    try:
        with pytest.raises(AdminUnanswered, match="operator/you, and not for a node"):
            await ask(f"https://127.0.0.1:{admin.port}", node_section(made, NodeRole.OPERATOR, "me"))
    finally:
        await admin.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_sees_it_with_an_operators_certificate(made: CertificateAuthority, url: str) -> None:
    section = node_section(made, NodeRole.OPERATOR, "me")
    shown = ["--cacert", section.authority, "--cert", section.certificate, "--key", section.key]
    for arguments, good in ((shown, True), (shown[:2], False)):
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--max-time", "20", *arguments, f"{url}/things", stdout=-1, stderr=-1
        )
        out, err = await process.communicate()
        assert (process.returncode == 0) == good, err
        assert (json.loads(out) == [1, 2]) if good else b"certificate required" in err


async def test_without_tls_it_listens_on_loopback_alone_and_there_asks_nobody(made: CertificateAuthority) -> None:
    with pytest.raises(ConfigInvalid, match="node_tls is not set"):
        await start_admin("0.0.0.0", 0, ready=list, pages={})
    tls = AdminTls(NodeTls(node_section(made, NodeRole.DATANODE, "n1")), CLUSTER)
    admin = await start_admin("127.0.0.1", 0, ready=list, pages={"/things": lambda: 1}, tls=tls)
    try:
        assert await ask(f"http://127.0.0.1:{admin.port}", None) == 1
    finally:
        await admin.close()


async def test_handshakes_that_come_to_nothing_leave_room(made: CertificateAuthority, url: str) -> None:
    context = calling_context(node_section(made, NodeRole.OPERATOR, "me"))
    stranger = ssl.create_default_context(cafile=str(made.certificate_file))
    port = int(url.rpartition(":")[2])
    for _ in range(2 * admin_module.CONNECTIONS_MAX):
        with pytest.raises((OSError, EOFError)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=stranger)
            await reader.readexactly(1)
            writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET /things HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert (await reader.read()).endswith(b"[1,2]")
    writer.close()


async def test_of_strangers_that_say_nothing_the_oldest_gives_way_and_the_rest_goes_when_the_port_closes(
    made: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None here ends by its own time."""
    monkeypatch.setattr(admin_module, "Handshakes", functools.partial(Handshakes, within_s=3_600.0))
    lines = capture_log(monkeypatch, turned_away_module)

    async def ends(reader: asyncio.StreamReader) -> None:
        async with asyncio.timeout(60):
            assert await reader.read() == b""

    tls = AdminTls(NodeTls(node_section(made, NodeRole.DATANODE, "n1")), CLUSTER)
    admin = await start_admin("0.0.0.0", 0, ready=list, pages={"/things": lambda: [1, 2]}, tls=tls)
    try:
        silent = [await asyncio.open_connection("127.0.0.1", admin.port) for _ in range(admin_module.CONNECTIONS_MAX)]
        me = node_section(made, NodeRole.OPERATOR, "me")
        assert await ask(f"https://127.0.0.1:{admin.port}", me) == [1, 2]
        await ends(silent[0][0])
        assert not any(reader.at_eof() for reader, _ in silent[1:])
        assert [line["error"] for line in lines] == ["others came, and it had not said who it is"]
    finally:
        await admin.close()
    for reader, writer in silent:
        await ends(reader)
        writer.close()


async def test_who_comes_to_a_port_full_of_operators_waits_until_one_leaves(
    made: CertificateAuthority, url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was closed without a word, there and in the log."""
    monkeypatch.setattr(admin_http, "COMES_WITHIN_S", 3_600.0)
    section, port = node_section(made, NodeRole.OPERATOR, "me"), int(url.rpartition(":")[2])
    context = calling_context(section)
    there = [await asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(admin_module.CONNECTIONS_MAX)]
    # A handshake of TLS 1.3 is over for a client before the server has its certificate: who is told to go on is known.
    for reader, writer in there:
        writer.write(b"POST /things HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    waiting = [asyncio.create_task(ask(url, section)) for _ in range(3)]
    await eventually(lambda: said(events, "the admin port is full; who comes waits"))
    assert not any(each.done() for each in waiting)
    for reader, writer in there:
        writer.write(b"x")
        assert b"takes GET, HEAD, and not POST" in await reader.read()
        writer.close()
    assert await asyncio.gather(*waiting) == [[1, 2]] * 3


def test_the_option_comes_from_the_command_line_or_the_environment() -> None:
    @click.command()
    @operator_option
    def command() -> None:
        click.echo(str(operator()))

    run = CliRunner().invoke
    assert run(command, ["--operator", "a.crt"]).output == "a.crt\n"
    assert run(command, [], env={"AMBRY_OPERATOR": "b.crt"}).output == "b.crt\n"
    assert run(command, []).output == "None\n"
