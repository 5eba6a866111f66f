"""Header fields: gathered, joined, and held against what a route understands. Sections are of RFC 9110 unless they say so."""

from __future__ import annotations

import pytest
from aiohttp import web

from ambry.errors import InvalidRequest
from frontend.http.exchange import Exchange
from frontend.http.fields import SINGLE, gather, list_of
from frontend.http.route import Route
from tests.support.http_frontend import Answer, RawClient, http_frontend
from tests.support.plain_server import plain_server


def test_names_are_in_lower_case_and_lines_of_a_list_are_joined() -> None:
    """5.3"""
    fields = [("Accept", "a/b"), ("If-None-Match", '"a"'), ("ACCEPT", "c/d"), ("if-none-match", '"b", "c"'), ("Cookie", "a=1"),
              ("cookie", "b=2"), ("X-Whatever", "1"), ("x-whatever", "2")]  # fmt: skip
    assert gather(fields, "x-own-") == {
        "accept": "a/b, c/d",
        "if-none-match": '"a", "b", "c"',
        "cookie": "a=1; b=2",
        "x-whatever": "1, 2",
    }


@pytest.mark.parametrize("name", [*sorted(SINGLE), "x-own-anything"])
def test_what_may_stand_there_once_is_refused_twice(name: str) -> None:
    """5.3: nobody can tell which of the two is meant, and a proxy may have meant the other."""
    with pytest.raises(InvalidRequest, match=name):
        gather([(name, "1"), (name.title(), "1")], "x-own-")


def test_empty_elements_of_a_list_are_passed_over() -> None:
    """5.6.1.2"""
    assert list(list_of(",a ,,\tb,")) == ["a", "b"]


async def read(exchange: Exchange) -> web.Response:
    return web.Response(text="read")


async def store(exchange: Exchange) -> web.Response:
    body = exchange.body if exchange.body is not None else await exchange.http.content.read()
    return web.Response(text=body.decode() or "nothing")


READ = Route(
    needs=None,
    op="read",
    methods=("GET",),
    target="/read",
    handle=read,
    headers=frozenset({"x-own-a"}),
    query=frozenset({"q"}),
)
STORE = Route(
    needs=None,
    op="store",
    methods=("PUT",),
    target="/store",
    handle=store,
    takes_body=True,
    headers=frozenset({"x-plain-b", "content-encoding"}),
    header_prefixes=("x-plain-um-",),
)

# field, what reads and what storing answer
CASES = [
    ("Accept: text/html;q=0", 200, 200),  # 12.5.1: may be disregarded
    ("Accept-Encoding: identity;q=0", 200, 200),
    ("TE: trailers", 200, 200),  # 10.1.4
    ("Prefer: return=minimal", 200, 200),  # RFC 7240 section 2
    ("X-Unknown: 1", 200, 200),  # 5.1: unrecognized fields should be ignored
    ("Range: bytes=0-1", 200, 200),  # 14.2: ignored but by GET, and there by choice
    ("If-Modified-Since: yesterday", 200, 200),  # 13.1.3
    ("Expect: 100-Continue", 200, 200),  # 10.1.1
    ("Expect: 200-ok", 417, 417),
    ("Expect: ", 417, 417),
    ("Content-Range: bytes 0-1/2", 400, 400),  # 14.5
    ("Content-Encoding: gzip", 400, 200),
    ("Content-Language: de", 400, 400),
    ("Content-Disposition: attachment", 400, 400),
    ("Content-Digest: sha-256=:AAAA:", 400, 400),  # RFC 9530; no route here understands it
    ("Repr-Digest: sha-256=:AAAA:", 400, 400),
    ("Digest: sha-256=AAAA", 400, 400),
    ("Want-Content-Digest: sha-256=1", 400, 400),
    ("Want-Repr-Digest: sha-256=1", 400, 400),
    ("Want-Digest: sha-256", 400, 400),
    ("If: (<urn:x>)", 400, 400),  # RFC 4918: a condition too
    ("If-Schedule-Tag-Match: x", 400, 400),
    ("Idempotency-Key: 1", 400, 400),
    ("X-HTTP-Method-Override: DELETE", 400, 400),
    ("X-HTTP-Method: DELETE", 400, 400),
    ("X-Method-Override: DELETE", 400, 400),
    ("X-Plain-B: 1", 400, 200),
    ("X-Plain-Later: 1", 400, 400),
    ("X-Plain-Nonsense: 1", 400, 400),
    ("X-Plain-Um-Key: 1", 400, 200),
    ("X-Plain-B: 1\r\nx-plain-b: 1", 400, 400),
    ("Range: bytes=0-1\r\nRange: bytes=1-2", 400, 400),
    ("Content-Type: a/b\r\nContent-Type: a/b", 400, 400),
    ("Trailer: X-Checksum", 200, 200),  # 6.5.1
    ("Trailer: X-Checksum, Content-Digest", 400, 400),
    ("Trailer: x-plain-b", 400, 400),
    ("Upgrade: h2c", 200, 200),  # 7.8: it may be ignored
]


async def exchange(client: RawClient, head: str, body: bytes = b"") -> Answer:
    await client.send(head.encode() + body)
    return await client.answer()


@pytest.mark.parametrize(("field", "reads", "stores"), CASES, ids=[field[:40] for field, _, _ in CASES])
async def test_a_field_is_understood_or_harmless_or_refused(field: str, reads: int, stores: int) -> None:
    async with plain_server({"/read": READ, "/store": STORE}) as connect:
        async with connect() as client:
            answer = await exchange(client, f"GET /read HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n")
            assert answer.status == reads, answer.body
        async with connect() as client:
            head = f"PUT /store HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n{field}\r\n\r\n"
            answer = await exchange(client, head, b"body")
            assert answer.status == stores, answer.body
            assert stores != 200 or answer.body == b"body"
            assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /read?q=1 HTTP/1.1", 200),
        ("GET /read? HTTP/1.1", 200),
        ("GET /read?x=1 HTTP/1.1", 400),
        ("GET /read?q=1&q=2 HTTP/1.1", 400),
        ("GET /read?q=%zz HTTP/1.1", 400),
        ("GET /read?Q=1 HTTP/1.1", 400),
        ("PUT /store?q=1 HTTP/1.1", 400),
        # A body where none is taken asks for something too, and might be taken for the next request (9.3.1).
        ("GET /read HTTP/1.1\r\nContent-Length: 4", 400),
        ("GET /read HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
        ("GET /read HTTP/1.1\r\nContent-Length: 0", 200),
        ("GET /read HTTP/1.1\r\nContent-Length: " + "0" * 5000, 200),
        ("PUT /store HTTP/1.1\r\nContent-Length: 4", 200),
        ("PUT /store HTTP/1.1\r\nContent-Length: " + "0" * 5000 + "4", 200),
        ("PUT /store HTTP/1.1\r\nContent-Length: " + "9" * 30, 400),
        ("PUT /store HTTP/1.1\r\nTransfer-Encoding: gzip, chunked", 501),
        ("PUT /store HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
    ],
)
async def test_query_keys_and_bodies(head: str, status: int) -> None:
    async with plain_server({"/read": READ, "/store": STORE}) as connect, connect() as client:
        answer = await exchange(client, f"{head}\r\nHost: localhost\r\n\r\n", b"body" if head.endswith("4") else b"")
        assert answer.status == status, answer.body


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_a_request_to_change_the_protocol_is_answered_in_this_one_and_ends_the_connection(protocol: str) -> None:
    """RFC 9110 section 7.8: it may be ignored. What comes behind it on the connection would never be answered."""
    async with plain_server({"/read": READ, "/store": STORE}) as connect:
        for line, extra in (("GET /read", ""), ("GET /nothing", ""), ("GET /read", "x-plain-b: 1\r\nx-plain-b: 1\r\n")):
            async with connect() as client:
                head = (
                    f"{line} HTTP/1.1\r\nHost: localhost\r\n{extra}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
                )
                answer = await exchange(client, head)
                assert answer.status == (200 if line == "GET /read" and not extra else 400)
                assert answer.headers["connection"] == "close"
                assert await client.at_end()


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
@pytest.mark.parametrize("connection", ["Connection: Upgrade\r\n", "Connection: Upgrade, HTTP2-Settings\r\n", ""])
@pytest.mark.parametrize(
    ("framing", "body"),
    [("Content-Length: 4", b"body"), ("Transfer-Encoding: chunked", b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")],
)
@pytest.mark.parametrize("apart", [False, True])
async def test_a_body_that_comes_with_an_upgrade_is_taken_and_nothing_behind_it(
    protocol: str, connection: str, framing: str, body: bytes, apart: bool
) -> None:
    """It was 400: the parser, it was said, loses it. RFC 9110 section 7.8: an upgrade may be ignored."""
    head = f"PUT /store HTTP/1.1\r\nHost: localhost\r\n{connection}Upgrade: {protocol}\r\n{framing}\r\n\r\n".encode()
    behind = b"GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with plain_server({"/read": READ, "/store": STORE}) as connect, connect() as client:
        for piece in (head, body[:1], body[1:] + behind) if apart else (head + body + behind,):
            await client.send(piece)
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"body")
        assert answer.headers["connection"] == "close"
        assert await client.at_end(), "what came behind it was no request"


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_a_version_that_is_not_spoken_is_answered_in_one_that_is(version: str) -> None:
    """RFC 9110 section 15.6.6. The status line once said HTTP/2.0, which no client of 1.1 or 2 understands."""
    async with plain_server({"/read": READ}) as connect, connect() as client:
        await client.send(f"GET /read HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        line = await client.reader.readline()
        assert line.startswith(b"HTTP/1.1 505 ")
        assert b"connection: close" in (await client.reader.read()).lower()


@pytest.mark.parametrize(
    "head",
    [
        "PUT /store HTTP/1.1\r\nTransfer-Encoding: ,chunked",
        "PUT /store HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
        "PUT /store HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked",
        "GET /read HTTP/1.1\r\nTransfer-Encoding: chunked",
        "CONNECT localhost:80 HTTP/1.1",
    ],
)
async def test_behind_a_request_whose_end_is_in_doubt_nothing_is_served(head: str) -> None:
    """RFC 9112 section 6.1. What stands behind it may be the next request to one and a body to another on the way."""
    async with plain_server({"/read": READ, "/store": STORE}) as connect, connect() as client:
        tail = b"" if head.startswith("CONNECT") else b"0\r\n\r\n"
        smuggled = b"GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await client.send(head.encode() + b"\r\nHost: localhost\r\n\r\n" + tail + smuggled)
        answer = await client.answer()
        assert answer.status in (400, 501)
        assert answer.headers.get("connection", "close") == "close" and await client.at_end()


async def test_a_header_that_any_call_may_have_is_right_or_refused_where_nothing_is_done_with_it() -> None:
    """A service id of 300 characters was taken by every call but an upload."""
    async with http_frontend() as frontend:
        for method, path in (("GET", "/version"), ("HEAD", "/version"), ("OPTIONS", "/"), ("GET", "/statsReport")):
            for value, refused in (("me", False), ("x" * 256, True), ("\xe9", True)):
                answer = await frontend.call(method, path, {"x-ambry-service-id": value})
                assert (answer.status == 400) == refused, (method, path, value)
