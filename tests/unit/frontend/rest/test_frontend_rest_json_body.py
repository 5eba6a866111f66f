"""Bodies that are JSON, through the call that takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from frontend.rest.json_body import SIZE_MAX
from tests.support.http_frontend import request
from tests.unit.frontend.rest.test_frontend_rest_accounts import JSON, ML, frontend_with_store

PATH = "/accounts/containers"
BODY = b'{"containers":[{"containerName":"new"}]}'


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (JSON, b"", 400),
        (JSON, b"[]", 400),
        (JSON, b"{}", 400),
        (JSON, b'{"accounts": {}}', 400),
        (JSON, b'{"accounts": [], "more": 1}', 400),
        (JSON, b'{"accounts": []}', 400),
        (JSON, b'{"accounts": ["ml"]}', 400),
        (JSON, b"\xff", 400),
        (JSON, b'{"accounts": ["\xfa"]}', 400),
        (JSON, b'{"\x8a": 1}', 400),
        (JSON, b'{"accounts": ["\\ud800"]}', 400),
        (JSON, b'{"accounts": ' + b"[" * 100_000, 400),
        ({"Content-Type": "text/plain"}, b'{"accounts": []}', 415),
        (JSON, b" " * (SIZE_MAX + 1), 413),
        ({**JSON, "Transfer-Encoding": "chunked"}, b"5\r\n     \r\n0\r\n\r\n", 400),
    ],
)
async def test_a_body_that_says_nothing_is_refused_and_changes_nothing(
    tmp_path: Path, headers: dict[str, str], body: bytes, status: int
) -> None:
    async with frontend_with_store(tmp_path) as (frontend, store):
        before = await store.head()
        answer = await frontend.call("POST", "/accounts", headers, body)
        assert answer.status == status and answer.json()["detail"]
        assert await store.head() == before


async def test_a_chunked_body_is_bounded_too(tmp_path: Path) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        chunk = b"%x\r\n%b\r\n" % (1 << 16, b" " * (1 << 16))
        body = chunk * 17 + b"0\r\n\r\n"
        answer = await frontend.call("POST", PATH, {**JSON, **ML, "Transfer-Encoding": "chunked"}, body)
        assert answer.status == 413


async def test_one_that_comes_later_is_asked_for(tmp_path: Path) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _), frontend.connected() as client:
        headers = {**JSON, **ML, "Expect": "100-continue", "Content-Length": str(len(BODY))}
        await client.send(request("POST", PATH, headers))
        assert (await client.head())[0] == 100
        await client.send(BODY)
        assert (await client.answer()).status == 200
