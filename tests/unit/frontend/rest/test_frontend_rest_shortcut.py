from __future__ import annotations

import pytest

from ambry.ids import IdKind
from tests.support.fake_cluster import CHUNK, some_id
from tests.support.http_frontend import http_frontend, request


@pytest.mark.parametrize("shortcut", [True, False])
async def test_plain_requests_need_no_handler_and_all_others_do(shortcut: bool) -> None:
    async with http_frontend(shortcut=shortcut) as frontend:
        small, large = await frontend.put(b"small"), await frontend.put(b"l" * (CHUNK + 1))
        for data, plain in (
            (request("GET", f"/{small}"), True),
            (request("POST", "/", {"x-ambry-um-a": "b"}, b"new"), True),
            (request("PUT", "/", {}, b"new"), True),
            (request("GET", f"/{large}"), False),
            (request("GET", f"/{some_id(kind=IdKind.CHUNK)}"), False),
            (request("HEAD", f"/{small}"), False),
            (request("GET", f"/{small}", {"Range": "bytes=0-1"}), False),
            (request("PUT", "/name", {}, b"new"), False),
            (request("POST", "/", {"x-ambry-digest": "0" * 32}, b"new"), False),
            (request("DELETE", f"/{small}"), False),
            (request("GET", "/healthCheck"), False),
            (b"\x16\x03\x01 tls", False),
        ):
            async with frontend.connected() as client:
                await client.send(data)
                await client.answer(data[:4].decode("latin-1").strip())
                (connection,) = [
                    each
                    for each in frontend.server._open
                    if each.transport.get_extra_info("peername")[1] == client.writer.get_extra_info("sockname")[1]
                ]
                assert (connection.handler is None) == (shortcut and plain), data
