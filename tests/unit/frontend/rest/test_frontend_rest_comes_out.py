"""What goes in comes out, or is refused at the door: any bytes in headers, through a real server and two HTTP libraries.

http.client reads headers as Latin-1 and takes lines of 65,536 bytes and 100 headers; aiohttp reads them as UTF-8 and takes
lines of 8,190 bytes. What the server accepted must read back equal through both.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ambry.errors import AmbryError
from ambry.rest import metadata, names, text
from tests.support.http_frontend import http_frontend

HEAD_SIZE_MAX = 16 << 10
"""Bytes of a whole response head that every client we know of takes (Node.js is the strictest)."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A frontend in a thread of its own, so that blocking clients can speak to it."""
    ready: list[int] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with http_frontend() as frontend:
            ready.append(frontend.port)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(20)
    yield ready[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def put(port: int, headers: Mapping[str, bytes]) -> tuple[int, str]:
    """An upload with headers of any bytes: status, and the blob's path. Status 0 where the client itself refused them."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", "1")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(b"x")
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Location") or ""
    except ValueError:
        return 0, ""
    finally:
        connection.close()


def by_http_client(port: int, path: str) -> dict[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"x")
        return {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def by_aiohttp(port: int, path: str) -> dict[str, str]:
    async def read() -> dict[str, str]:
        url = f"http://127.0.0.1:{port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, auto_decompress=False) as answer:
            assert (answer.status, await answer.read()) == (200, b"x")
            return {name.lower(): value for name, value in answer.headers.items()}

    return asyncio.run(read())


def filename_in(headers: Mapping[str, str]) -> str:
    if names.ENCODED_FILENAME in headers:
        return text.percent_decoded("x", headers[names.ENCODED_FILENAME])
    return headers.get(names.FILENAME, "")


def read_back(port: int, path: str) -> list[dict[str, str]]:
    """The headers as each library gives them; they fit every one."""
    both = [by_http_client(port, path), by_aiohttp(port, path)]
    for headers in both:
        assert sum(len(name) + len(value) + 4 for name, value in headers.items()) < HEAD_SIZE_MAX
        assert all(value.isascii() and value.isprintable() for value in headers.values())
    return both


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
ODD = st.text(st.sampled_from(" \t\x00\x1f\x7f\x85\xa0é%\"'\\;,=\u202e\u2028\ufeff\U0001f600aB/.:"), max_size=30)
KEYS = st.from_regex(r"[a-z0-9!#$%&'*+.^_`|~-]{1,30}", fullmatch=True)
SIZED = st.builds(
    lambda text, size: (text * size)[:size], st.sampled_from(["v", "é", "%", " x"]), st.integers(2000, 8300)
)
BYTES = st.binary(max_size=40).map(lambda data: data.translate(None, b"\r\n\0"))
CHECKED = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@CHECKED
@given(st.dictionaries(KEYS, TEXTS | ODD | SIZED, max_size=8), TEXTS | ODD)
def test_metadata_and_a_file_name_of_any_text_read_back_equal(port: int, pairs: dict[str, str], filename: str) -> None:
    headers = {name: value.encode() for name, value in metadata.encode(pairs).items()}
    if filename:
        headers[names.ENCODED_FILENAME] = text.percent_encoded("it", filename).encode()
    status, path = put(port, headers)
    try:
        metadata.check(pairs)
        text.filename("x", filename)
    except AmbryError:
        assert status in (400, 431), "what our own rules refuse is refused at the door, and nothing else"
        return
    assert status == 201
    for told in read_back(port, path):
        assert metadata.decode(told.items()) == pairs
        assert filename_in(told) == filename


@CHECKED
@given(st.dictionaries(KEYS, BYTES, max_size=4), BYTES, st.booleans())
def test_any_bytes_in_headers_read_back_as_the_text_they_were_or_are_refused(
    port: int, raw: dict[str, bytes], filename: bytes, encoded: bool
) -> None:
    prefix = names.ENCODED_METADATA_PREFIX if encoded else names.METADATA_PREFIX
    headers = {prefix + key: value for key, value in raw.items()}
    if filename:
        headers[names.ENCODED_FILENAME if encoded else names.FILENAME] = filename
    status, path = put(port, headers)
    assert status in (0, 201, 400, 431)
    if status != 201:
        return
    # A header's value has no blanks at its ends (RFC 9110 section 5.5).
    sent = {name: value.strip(b" \t").decode() for name, value in headers.items()}
    for told in read_back(port, path):
        assert metadata.decode(told.items()) == metadata.decode(sent.items())
        assert filename_in(told) == filename_in(sent)


@CHECKED
@given(st.sampled_from([names.CONTENT_TYPE, "Content-Type", names.CONTENT_ENCODING, names.SERVICE_ID, names.OWNER_ID]),
       BYTES | st.from_regex(rb"[a-z]{1,9}/[a-z]{1,9}(; ?[a-z]{1,4}=[!-~]{1,9})?", fullmatch=True))  # fmt: skip
def test_other_text_of_any_bytes_reads_back_equal_or_is_refused(port: int, name: str, value: bytes) -> None:
    status, path = put(port, {name: value})
    assert status in (0, 201, 400)
    if status == 201:
        for told in read_back(port, path):
            assert told.get(name.lower(), "") == value.strip(b" \t").decode()


def test_the_largest_answer_there_is_fits_every_client(port: int) -> None:
    """All bounds at once: what is accepted piece by piece must be readable as a whole."""
    name = "é" * (text.FILENAME_SIZE_MAX // 2)
    pairs: dict[str, str] = {}
    room = metadata.SIZE_MAX
    for number in range(metadata.KEYS_MAX):
        key = f"k{number:02}"
        size = room // (metadata.KEYS_MAX - number) - len(names.METADATA_PREFIX) - len(key)
        pairs[key] = "v" * size
        room -= size + len(names.METADATA_PREFIX) + len(key)
    headers: dict[str, Any] = dict(metadata.check(pairs))
    longest = "a" * (text.TEXT_SIZE_MAX - 2)
    headers |= {names.SERVICE_ID: longest, names.OWNER_ID: longest, names.CONTENT_ENCODING: longest}
    headers |= {names.CONTENT_TYPE: f"a/{longest}", names.ENCODED_FILENAME: text.percent_encoded("it", name)}
    status, path = put(port, {key: value.encode() for key, value in headers.items()})
    assert status == 201
    for told in read_back(port, path):
        assert metadata.decode(told.items()) == pairs
        assert filename_in(told) == name
        assert len(told) <= 100


@pytest.mark.parametrize("lines", ["x%0D%0ASet-Cookie%3A%20a=b", "%0A%0A<script>", "a%00b"])
def test_no_value_becomes_a_header_of_its_own(port: int, lines: str) -> None:
    status, path = put(port, {"x-ambry-enc-um-a": lines.encode()})
    assert status == 201
    for told in read_back(port, path):
        assert "set-cookie" not in told
        assert metadata.decode(told.items())["a"] == text.percent_decoded("x", lines)
