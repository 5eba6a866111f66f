"""Commands that ask an admin port get its answer, or one sentence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ambry.errors import ReplicaUnavailable
from ambry.service.admin import start_admin
from ambry.service.admin_client import AdminUnanswered, ask_admin


@pytest.mark.parametrize(
    "url",
    ["", "x", "n1:x", "http://", "http://n1", "http://n1:x", "http://n1:99999", "ftp://n1:1", "http://[::1:7"],
)
def test_what_is_no_address_is_said_to_be_none(url: str) -> None:
    with pytest.raises(AdminUnanswered, match="give it as http://host:port"):
        ask_admin(url, "GET", "/partitions", timeout_s=1.0)


def test_a_port_where_nobody_is_is_named() -> None:
    """It was `[Errno 111] Connection refused`; and the address without http://, as --endpoint takes it, was refused."""
    for url in ("http://127.0.0.1:1", "127.0.0.1:1"):
        with pytest.raises(AdminUnanswered, match=f"^{url}: nobody listens there; does the process run"):
            ask_admin(url, "GET", "/partitions", timeout_s=1.0)


@pytest.mark.parametrize(
    "url", ["http://u:WORD@127.0.0.1:1?tok=WORD", "u:WORD@127.0.0.1:1", "u:WORD@", "https://u:WORD@n1:1"]
)
def test_of_an_address_that_has_a_password_no_error_tells_it(url: str) -> None:
    with pytest.raises(AdminUnanswered) as raised:
        ask_admin(url, "GET", "/partitions", timeout_s=1.0)
    assert "WORD" not in str(raised.value)


async def test_what_is_no_admin_port_of_ambry_is_said_to_be_none() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(AdminUnanswered, match=r"what answers there is no admin port of ambry$"):
        await asyncio.to_thread(ask_admin, f"127.0.0.1:{port}", "GET", "/partitions", timeout_s=20.0)
    server.close()


async def test_pages_and_actions_are_answered_and_refusals_told() -> None:
    bodies: list[bytes] = []

    async def act(number: int, body: bytes) -> Any:
        bodies.append(body)
        if number == 99:
            raise ReplicaUnavailable("partition 99 is opening")
        return {"partition": number}

    admin = await start_admin(
        "127.0.0.1", 0, ready=list, pages={"/partitions": lambda: [1]}, actions={"/partitions/{number}/verify": act}
    )
    url = f"http://127.0.0.1:{admin.port}"

    def ask(method: str, path: str, body: object = None) -> Any:
        return ask_admin(url, method, path, timeout_s=20.0, body=body)

    try:
        assert await asyncio.to_thread(ask, "GET", "/partitions") == [1]
        assert await asyncio.to_thread(ask, "POST", "/partitions/7/verify", {"why": "é"}) == {"partition": 7}
        assert bodies == ['{"why":"é"}'.encode()]
        with pytest.raises(AdminUnanswered, match="partition 99 is opening"):
            await asyncio.to_thread(ask, "POST", "/partitions/99/verify")
        # Of a frontend's admin port it said that it was none, and `trailing characters (byte 4)`.
        with pytest.raises(
            AdminUnanswered, match=r"not the admin port of a data node: /nothing is no page .* /partitions"
        ):
            await asyncio.to_thread(ask, "GET", "/nothing")
    finally:
        await admin.close()
