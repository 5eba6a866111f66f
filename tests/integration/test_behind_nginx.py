"""The configuration of nginx that docs/operations.md gives, in front of a frontend: bodies pass, and it knows who asks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.clock import SystemClock
from frontend.audit.file import AuditFile
from frontend.audit.trail import AuditTrail
from tests.support.access import access_with, bearer, fresh_key
from tests.support.content import content
from tests.support.eventually import GIVE_UP_S, eventually
from tests.support.http_frontend import RawClient, http_frontend, request
from tests.support.ports import free_ports

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
PROXY, CLIENT = "127.0.0.2", "127.0.0.3"
pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def configuration(directory: Path, port: int, to: int) -> str:
    """That of the documentation, on loopback and without TLS."""
    match = re.search(r"^    server \{ .*?^    \}$", OPERATIONS.read_text(), re.DOTALL | re.MULTILINE)
    assert match is not None, "there is no example for nginx"
    server = re.sub(r" *ssl_\w+ .*\n", "", match[0])
    for old, new in (
        ("listen 443 ssl", f"listen {PROXY}:{port}"),
        ("http://10.0.3.20:17100", f"http://127.0.0.1:{to}"),
    ):
        assert old in server
        server = server.replace(old, new)
    # It asks from its own address, as from another machine.
    server = server.replace("proxy_pass", f"proxy_bind {PROXY};\n proxy_pass")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{each}_temp_path {directory / each};" for each in kinds)
    return f"""
        daemon off; master_process off; worker_processes 1;
        pid {directory / "pid"}; error_log {directory / "error.log"};
        events {{ worker_connections 64; }}
        http {{ access_log off; {paths} {server} }}
    """


@contextlib.asynccontextmanager
async def nginx(directory: Path, to: int) -> AsyncIterator[int]:
    """Gives its port."""
    directory.mkdir()
    [port] = free_ports(1)
    file = directory / "nginx.conf"
    file.write_text(configuration(directory, port, to))
    process = await asyncio.create_subprocess_exec(
        "nginx", "-p", str(directory), "-c", str(file), "-e", str(directory / "error.log"),
        stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await eventually(lambda: (directory / "pid").exists() or process.returncode is not None)
        assert process.returncode is None, (directory / "error.log").read_text()
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawClient]:
    async with asyncio.timeout(GIVE_UP_S):
        reader, writer = await asyncio.open_connection(PROXY, port, local_addr=(CLIENT, 0), limit=1 << 20)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        client.abort()


async def test_a_frontend_behind_nginx_knows_who_asks_and_what_they_made_up(tmp_path: Path) -> None:
    key = fresh_key()
    access, headers = access_with(key, SystemClock()), bearer(key)
    trail = AuditTrail(AuditFile(tmp_path / "audit", rotate_bytes=1 << 30, keep=1), clock=SystemClock())
    body = content(1, 3 << 20)
    async with (
        http_frontend(access=access, audit=trail, trusted_proxies=[PROXY], url_secret=bytes(32)) as frontend,
        nginx(tmp_path / "nginx", frontend.port) as port,
    ):
        made_up = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "Forwarded": "for=6.6.6.6"}
        host = {"Host": f"localhost:{port}"}
        async with connected(port) as client:
            await client.send(request("POST", "/", {**host, **headers, **made_up}, body))
            stored = await client.answer("POST")
            assert stored.status == 201, stored.body
            blob = stored.headers["location"]
            await client.send(request("GET", blob, {**host, **headers}))
            assert (await client.answer()).body == body
            await client.send(request("GET", blob, {**host, **made_up}))
            assert (await client.answer()).status == 401
            await client.send(request("GET", f"/signedUrl?path={blob}", {**host, **headers, **made_up}))
            assert (await client.answer()).json()["url"].startswith(f"http://localhost:{port}{blob}?")
    await trail.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_bytes().splitlines()]
    assert [(line["op"], line["client"], line["proxy"]) for line in lines] == [
        ("put", CLIENT, PROXY),
        ("get", CLIENT, PROXY),
    ]
