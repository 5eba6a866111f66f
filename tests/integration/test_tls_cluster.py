"""A whole cluster in TLS, with keys, as its users meet it: curl, openssl, ssl, aiohttp; wrong certificates; rotation."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from ambry.errors import AccessDenied, DeadlineExceeded, StoreMismatch
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Hello
from deploy.local_cluster import LocalCluster
from deploy.local_layout import Member
from deploy.local_members import Status
from tests.support.clusters import shared_cluster
from tests.support.content import content
from tests.support.log_file import end_of, lines_of
from tests.support.node_certificates import authority
from tests.support.waiting import eventually

LARGE = content(5, 9_000_001)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with shared_cluster(request, tmp_path_factory, auth=True, tls=True) as made:
        yield made


def trusted(cluster: LocalCluster) -> Path:
    return cluster.directory / "certs" / "authority.crt"


def headers(cluster: LocalCluster) -> dict[str, str]:
    return {"Authorization": f"Bearer {(cluster.directory / 'admin.key').read_text().strip()}"}


def urls(cluster: LocalCluster) -> tuple[str, str]:
    return cluster.frontends("dc1")[0].url, cluster.frontends("dc2")[0].url


def context(cluster: LocalCluster) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(trusted(cluster)))


async def test_large_and_small_blobs_go_in_and_out_and_to_the_other_datacenter(cluster: LocalCluster) -> None:
    here, there = urls(cluster)
    connector = aiohttp.TCPConnector(ssl=context(cluster))
    async with aiohttp.ClientSession(connector=connector, headers=headers(cluster)) as client:
        for body in (b"", b"hello", LARGE):
            async with client.post(f"{here}/", data=body) as answer:
                assert answer.status == 201, await answer.text()
                blob = (await answer.json())["id"]
            async with client.get(f"{here}/{blob}") as answer:
                assert await answer.read() == body
            async with asyncio.timeout(60):
                while True:
                    async with client.get(f"{there}/{blob}") as answer:
                        if answer.status == 200:
                            assert await answer.read() == body
                            break
                    await asyncio.sleep(0.05)
        async with client.get(f"{here}/{blob}", headers={"Range": "bytes=4194300-4194400"}) as answer:
            assert await answer.read() == LARGE[4194300:4194401]


async def test_a_url_is_signed_for_tls_and_means_the_same_as_a_client_writes_it_anew(cluster: LocalCluster) -> None:
    here, _ = urls(cluster)
    own, name = headers(cluster), "named/default/default/a%20b%2Fc%3F+%C3%BC"
    context_of = context(cluster)
    async with aiohttp.ClientSession() as client:
        asked = {"verb": "PUT", "path": f"/{name}", "content-type": 'text/x-a; b="c d+e"'}
        more = {"x-ambry-enc-um-who": "gr%C3%BCn%26=", "x-ambry-named-upsert": "true"}
        async with client.get(f"{here}/signedUrl", params=asked, headers=own | more, ssl=context_of) as answer:
            url = (await answer.json())["url"]
        assert url.startswith(f"{here}/{name}?ambry-verb=PUT&"), "with https"
        # As a str it is quoted anew by yarl, as of every aiohttp client.
        for form in (url, URL(url, encoded=True)):
            sent = {"Content-Type": asked["content-type"]}
            async with client.put(form, data=b"hello", headers=sent, ssl=context_of) as answer:
                assert answer.status == 201, await answer.text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_is_served_where_it_trusts_the_authority_and_told_where_it_does_not(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    key = headers(cluster)["Authorization"]
    config = tmp_path / "curlrc"  # a key in an argument is everybody's to read
    config.write_text(f'header = "Authorization: {key}"\n')
    source = tmp_path / "file"
    source.write_bytes(LARGE)
    base = ["curl", "-sS", "-K", str(config), "--max-time", "30"]
    told = subprocess.run(
        [*base, "--cacert", str(trusted(cluster)), "-T", str(source), f"{urls(cluster)[0]}/"],
        capture_output=True,
        check=True,
    )
    blob = json.loads(told.stdout)["id"]
    read = subprocess.run(
        [*base, "--cacert", str(trusted(cluster)), f"{urls(cluster)[0]}/{blob}"], capture_output=True, check=True
    )
    assert read.stdout == LARGE
    log = cluster.frontends("dc1")[0].log
    before = end_of(log)
    refused = subprocess.run([*base, f"{urls(cluster)[0]}/{blob}"], capture_output=True)
    line = eventually(
        lambda: next((line for line in lines_of(log, before) if "a client was turned away" in line), None),
        "the log tells of it",
    )
    assert (
        "it refuses what is shown here" in line
        and "unknown ca" in line
        and '"client":"127.0.0.1"' in line.replace(": ", ":")
    )
    assert refused.returncode == 60 and b"certificate" in refused.stderr
    plain = subprocess.run([*base, f"{urls(cluster)[0].replace('https', 'http')}/{blob}"], capture_output=True)
    assert b"this port speaks https" in plain.stdout and LARGE[:64] not in plain.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(("option", "good"), [("-tls1_3", True), ("-tls1_2", True), ("-tls1_1", False)])
def test_openssl_meets_tls_of_today_alone(cluster: LocalCluster, option: str, good: bool) -> None:
    parts = urlsplit(urls(cluster)[0])
    command = ["openssl", "s_client", option, "-CAfile", str(trusted(cluster)), "-verify_return_error"]
    command += ["-connect", f"{parts.hostname}:{parts.port}"]
    told = subprocess.run(command, input=b"", capture_output=True, timeout=30)
    assert (b"Verify return code: 0 (ok)" in told.stdout and told.returncode == 0) == good, told.stderr


def test_a_data_nodes_port_takes_no_client_without_a_certificate(cluster: LocalCluster) -> None:
    node = cluster.nodes("dc1")[0]
    assert not _shake(node.host, node.port, context(cluster))
    certs = cluster.directory / "certs"
    mine = context(cluster)
    mine.check_hostname = False
    mine.load_cert_chain(certs / "frontend-dc1-f1.crt", certs / "frontend-dc1-f1.key")
    assert _shake(node.host, node.port, mine)
    stranger = authority(cluster.directory.parent / "stranger")
    issued = stranger.issue("x", identity=None, hosts=["127.0.0.1"])
    mine.load_cert_chain(issued, issued.with_suffix(".key"))
    assert not _shake(node.host, node.port, mine)


def _shake(host: str, port: int, trusting: ssl.SSLContext) -> bool:
    """Whether a data node answers who connects so: it tells that it is not who is meant. Where it does not, it ended that."""

    async def ask() -> bool:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(RpcConnection, host, port, ssl=trusting, server_hostname="127.0.0.1")
        try:
            await made.request(MessageType.HELLO, Hello("none", "none", "none"), timeout_s=60)
        finally:
            made.abort()
        return True

    try:
        return asyncio.run(ask())
    except (StoreMismatch, AccessDenied):
        return True
    except DeadlineExceeded:
        raise
    except OSError:
        return False


@contextlib.contextmanager
def under_load(cluster: LocalCluster) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Clients that put and get in both datacenters, all the time, none of which may fail; gives a wait for a condition."""
    from ambry import AmbryClient, TLSConfig

    key = (cluster.directory / "admin.key").read_text().strip()
    failures: list[BaseException] = []
    over = threading.Event()

    def work(url: str, lasting: bool) -> None:
        try:
            tls = TLSConfig(ca=str(trusted(cluster)))
            with AmbryClient(url, key=key, tls=tls) as kept:
                while not over.is_set():
                    with contextlib.ExitStack() as ending:
                        client = kept if lasting else ending.enter_context(AmbryClient(url, key=key, tls=tls))
                        blob = client.put(b"hello").id
                        assert client.get(blob).read() == b"hello"
        except BaseException as error:
            failures.append(error)

    def wait_for(condition: Callable[[], object]) -> None:
        # Asked once: what is connected anew may be seen whole, then in between, while the last of them follow.
        held: object = False
        for _ in range(1_200):
            held = not failures and condition()
            if failures or held:
                break
            over.wait(0.05)
        assert failures == [] and held

    workers = [threading.Thread(target=work, args=(url, lasting)) for url in urls(cluster) for lasting in (True, False)]
    for worker in workers:
        worker.start()
    try:
        yield wait_for
    finally:
        over.set()
        for worker in workers:
            worker.join()
    assert failures == []


def shown(member: Member, mine: ssl.SSLContext) -> int:
    """The serial number of the certificate that a process shows other nodes."""
    with (
        socket.create_connection((member.host, member.rpc_port or member.port), timeout=20) as raw,
        mine.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        found = sock.getpeercert()
    assert found is not None
    return int(str(found["serialNumber"]), 16)


def all_connected(member: Member) -> bool:
    with urllib.request.urlopen(f"{member.admin_url}/peers", timeout=20) as answer:
        page = json.load(answer)
    return all(peer["connected"] for peer in (page["peers"] if isinstance(page, dict) else page))


def test_a_hangup_has_every_process_read_its_files_and_loses_no_connection(cluster: LocalCluster) -> None:
    """Before those that change certificates: what a process finds changed by itself, some seconds later, would be counted."""

    def read() -> dict[str, int]:
        return {each.name: each.log.read_text().count("certificates read again") for each in cluster.members}

    parts = urlsplit(urls(cluster)[0])
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context(cluster), timeout=20)

    def alive() -> bool:
        connection.request("GET", "/ping")
        return bool(connection.getresponse().read())

    with under_load(cluster) as wait_for, contextlib.closing(connection):
        assert alive()
        used, before = connection.sock, read()
        pids = {each.name: cluster.pid(each.name) for each in cluster.members}
        for pid in pids.values():
            assert pid is not None
            os.kill(pid, signal.SIGHUP)
        # A frontend has one context more, that of its front.
        wanted = {each.name: before[each.name] + (2 if each.role == "datanode" else 3) for each in cluster.members}
        wait_for(lambda: read() == wanted)
        wait_for(lambda: all(map(all_connected, cluster.members)))
        assert alive() and connection.sock is used
        assert {each.name: cluster.pid(each.name) for each in cluster.members} == pids


def test_certificates_are_renewed_under_load_and_nobody_notices(cluster: LocalCluster) -> None:
    """All of them, front and nodes, while requests go on; processes that are connected anew show the new ones."""
    made = authority(cluster.directory / "certs")
    before = _serial(cluster)
    with under_load(cluster) as wait_for:
        for name in made.names():
            made.rotate(name)
        wait_for(lambda: _serial(cluster) != before)
    cluster.kill("dc1-n1", "TERM")
    cluster.start("dc1-n1")


def test_the_authority_is_replaced_under_load_and_nobody_notices(cluster: LocalCluster, tmp_path: Path) -> None:
    """As docs/operations.md says it, with a node that is started anew in between; at its end the old one counts no more."""
    certs, old = cluster.directory / "certs", tmp_path / "certs"
    made = authority(certs)
    shutil.copytree(certs, old)
    node, frontend = cluster.nodes("dc1")[0], "frontend-dc1-f1"
    mine = context(cluster)
    mine.check_hostname = False

    def lets_in(directory: Path) -> bool:
        mine.load_cert_chain(directory / f"{frontend}.crt", directory / f"{frontend}.key")
        return _shake(node.host, node.port, mine)

    def trusts() -> bool:
        """Whether every process shows what is there by now, and is shown it."""
        mine.load_verify_locations(trusted(cluster))
        return lets_in(certs) and all(
            shown(each, mine) == made.read(f"{each.role}-{each.name}").serial_number for each in cluster.members
        )

    with under_load(cluster) as wait_for:
        made.rotate_authority()
        wait_for(lambda: lets_in(certs))
        for name in made.names():
            made.rotate(name)
        wait_for(trusts)
        assert lets_in(old), "it is good until the authority is retired"
        cluster.kill("dc1-n1", "TERM")
        cluster.start("dc1-n1")
        made.retire()
        wait_for(lambda: not lets_in(old))
        wait_for(lambda: trusts() and all(map(all_connected, cluster.members)))


def test_a_node_whose_certificate_was_revoked_is_not_ready_until_it_has_another(cluster: LocalCluster) -> None:
    """It said that it was; a frontend goes on with what is connected, and says what is wrong."""
    made = authority(cluster.directory / "certs")
    node, frontend = cluster.nodes("dc1")[0], cluster.frontends("dc1")[0]

    def status_of(member: Member) -> Status:
        return next(each for each in cluster.status() if each.member.name == member.name)

    assert (status_of(node).state, status_of(frontend).warnings) == ("ready", ())
    made.revoke(f"datanode-{node.name}")
    found = eventually(lambda: status_of(node) if status_of(node).state != "ready" else None, "it is not ready")
    assert found.state == "not ready" and "node_tls.certificate: it was revoked" in found.detail
    made.rotate(f"datanode-{node.name}")
    eventually(lambda: status_of(node).state == "ready" and all_connected(node), "it is again")
    made.rotate("front", days=10)
    warned = eventually(lambda: status_of(frontend).warnings, "it is told in time")
    assert warned[0].startswith("tls.certificate expires in 9 days") and status_of(frontend).state == "ready"


def _serial(cluster: LocalCluster) -> str:
    parts = urlsplit(urls(cluster)[0])
    trusting = context(cluster)
    with (
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as raw,
        trusting.wrap_socket(raw, server_hostname="127.0.0.1") as sock,
    ):
        shown = sock.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])
