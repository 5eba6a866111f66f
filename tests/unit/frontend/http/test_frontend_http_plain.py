from __future__ import annotations

import pytest

from ambry.errors import InvalidRequest
from ambry.service.origin import Hosts
from frontend.http.plain import REMEMBERED_MAX, SIZE_MAX, PlainReads, PlainUploads

HEAD = b"GET /abcd HTTP/1.1\r\nHost: localhost:80\r\nUser-Agent: a/1 (b)\r\nAccept: */*\r\n\r\n"


def target(data: bytes, heads: PlainReads | None = None) -> bytes | None:
    found = (heads or PlainReads(Hosts())).target(data, 4)
    return None if found is None else found.target


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: localhost",
        b"host:127.0.0.1:8080\r\nACCEPT-ENCODING: gzip, deflate\r\nConnection: Keep-Alive",
        b"Host: [::1]\r\ntraceparent: 00-1-2-01\r\nAccept-Language:\ten",
    ],
)
def test_a_get_with_preferences_and_descriptions_is_plain(lines: bytes) -> None:
    heads = PlainReads(Hosts())
    for name in (b"abcd", b"ABCD", b"a-_d"):
        assert target(b"GET /%s HTTP/1.1\r\n%s\r\n\r\n" % (name, lines), heads) == name


@pytest.mark.parametrize(
    "data",
    [
        HEAD.replace(b"GET ", b"HEAD "),
        HEAD.replace(b"GET ", b"get "),
        HEAD.replace(b"/abcd", b"/abc"),
        HEAD.replace(b"/abcd", b"/abcde"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD.replace(b"HTTP/1.1\r", b"HTTP/1.1"),
        HEAD.replace(b"GET /", b"GET  /"),
        HEAD[:-2],
        HEAD[:-1],
        HEAD + b"x",
        HEAD + b"\r\n",
        HEAD + HEAD,
        b"\r\n" + HEAD,
        HEAD.replace(b"\r\n\r\n", b"\n\n"),
        HEAD.replace(b"Accept", b"Range"),
        HEAD.replace(b"Accept: */*", b"If-None-Match: *"),
        HEAD.replace(b"Accept: */*", b"Content-Length: 0"),
        HEAD.replace(b"Accept: */*", b"Transfer-Encoding: chunked"),
        HEAD.replace(b"Accept: */*", b"Upgrade: h2c"),
        HEAD.replace(b"Accept: */*", b"Expect: 100-continue"),
        HEAD.replace(b"Accept: */*", b"x-ambry-get-option: none"),
        HEAD.replace(b"Accept: */*", b"Connection: close"),
        HEAD.replace(b"Accept: */*", b"Connection: keep-alive, upgrade"),
        HEAD.replace(b"Accept: */*", b"Host: localhost"),
        HEAD.replace(b"Accept: */*", b"Accept : */*"),
        HEAD.replace(b"Accept: */*", b" Accept: */*"),
        HEAD.replace(b"Accept: */*", b"Accept: \xff"),
        HEAD.replace(b"Accept: */*", b"Accept: a\rb"),
        HEAD.replace(b"Accept: */*", b"Accept: a\nb"),
        HEAD.replace(b"Accept: */*", b"Accept: a\x00b"),
        HEAD.replace(b"Accept: */*", b"no field"),
        HEAD.replace(b"Accept: */*", b"Accept: " + b"a" * SIZE_MAX),
        HEAD.replace(b"Host: localhost:80\r\n", b""),
        HEAD.replace(b"localhost", b"elsewhere.example"),
        HEAD.replace(b"localhost:80", b"a b"),
        b"",
        b"GET /",
        b"GET /abcd HTTP/1.1\r\n\r\n",
    ],
)
def test_whatever_is_not_wholly_plain_goes_the_ordinary_way(data: bytes) -> None:
    assert target(HEAD) == b"abcd"
    heads = PlainReads(Hosts())
    assert [target(data, heads), target(data, heads)] == [None, None]


def test_what_is_remembered_is_bounded() -> None:
    heads = PlainReads(Hosts())
    for number in range(2 * REMEMBERED_MAX):
        assert target(HEAD.replace(b"a/1", b"a/%d" % number), heads) == b"abcd"
    assert len(heads._lines._judged) <= REMEMBERED_MAX


UPLOAD = b"POST / HTTP/1.1\r\nHost: localhost\r\ncontent-length: 3\r\nx-um-a: b\r\n\r\nabc"


def understand(headers: dict[str, str], prefixed: bool) -> str:
    if headers.get("x-kind") == "unknown":
        raise InvalidRequest("no such kind")
    return f"{headers.get('x-kind', '')}{prefixed}"


@pytest.fixture
def uploads() -> PlainUploads[str]:
    return PlainUploads(Hosts(), {"x-kind"}, ("x-um-",), understand)


@pytest.mark.parametrize(
    "data",
    [
        UPLOAD,
        UPLOAD.replace(b"POST", b"PUT"),
        UPLOAD.replace(b"Host: localhost\r\ncontent-length: 3", b"Content-Length: 003\r\nHost: localhost"),
        UPLOAD.replace(b"x-um-a: b\r\n", b""),
        UPLOAD.replace(b"x-um-a", b"X-Kind"),
        UPLOAD.replace(b": 3", b":  3").replace(b"abc", b"\r\n\r"),
        UPLOAD.replace(b": 3", b": 0").replace(b"abc", b""),
    ],
)
def test_an_upload_that_came_as_a_whole_is_plain(uploads: PlainUploads[str], data: bytes) -> None:
    for _ in range(2):
        upload = uploads.upload(data)
        assert upload is not None
        assert upload.body == data.partition(b"\r\n\r\n")[2]
        assert upload.method.encode() == data.partition(b" ")[0]
        assert upload.headers["host"] == "localhost" and "content-length" not in upload.headers


@pytest.mark.parametrize(
    "data",
    [
        UPLOAD[:-1],
        UPLOAD + b"d",
        UPLOAD.replace(b"POST / ", b"POST /a "),
        UPLOAD.replace(b"POST", b"post"),
        UPLOAD.replace(b": 3", b": -3"),
        UPLOAD.replace(b": 3", b": +3"),
        UPLOAD.replace(b": 3", b": 3 "),
        UPLOAD.replace(b": 3", b": 3, 3"),
        UPLOAD.replace(b"x-um-a: b", b"Content-Length: 3"),
        UPLOAD.replace(b"x-um-a: b", b"Transfer-Encoding: chunked"),
        UPLOAD.replace(b"x-um-a: b", b"Expect: 100-continue"),
        UPLOAD.replace(b"x-um-a: b", b"Origin: http://localhost"),
        UPLOAD.replace(b"x-um-a: b", b"x-other: b"),
        UPLOAD.replace(b"x-um-a: b", b"x-um-a: b\r\nX-Um-A: c"),
        UPLOAD.replace(b"x-um-a: b", b" folded"),
        UPLOAD.replace(b"x-um-a: b", b"X-Kind: unknown"),
        UPLOAD.replace(b"content-length: 3\r\n", b""),
        UPLOAD.replace(b"Host: localhost", b"Host: elsewhere.example"),
        UPLOAD.replace(b"Host: localhost\r\n", b""),
        UPLOAD.replace(b"\r\n\r\n", b"\r\n"),
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n",
    ],
)
def test_any_other_upload_goes_the_ordinary_way(uploads: PlainUploads[str], data: bytes) -> None:
    assert uploads.upload(data) is None
    assert uploads.upload(data) is None


def test_what_the_fields_mean_is_found_once() -> None:
    asked: list[bool] = []

    def note(headers: dict[str, str], prefixed: bool) -> str:
        asked.append(prefixed)
        return headers["host"]

    uploads = PlainUploads(Hosts(), (), ("x-um-",), note)
    for data in (UPLOAD, UPLOAD.replace(b"abc", b"def"), UPLOAD.replace(b"x-um-a: b\r\n", b"")):
        upload = uploads.upload(data)
        assert upload is not None and upload.meaning == "localhost"
    assert asked == [True, False]
