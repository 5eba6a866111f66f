from __future__ import annotations

import pytest

from ambry.service.origin import Hosts
from frontend.http.plain_names import PATH_SIZE_MAX, PlainName, PlainNamedReads, PlainNamedUploads

HEAD = b"GET /named/a/c-1/x/y.z HTTP/1.1\r\nHost: localhost:80\r\nAccept: */*\r\n\r\n"
PUT = b"PUT /named/a/c-1/x/y.z HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 2\r\nx-ambry-um-a: b\r\n\r\nhi"


def test_a_name_is_what_stands_behind_the_container() -> None:
    reads = PlainNamedReads(Hosts())
    assert reads.read(HEAD) == (PlainName("a", "c-1", b"x/y.z"), None, "")
    keyed = HEAD.replace(b"Accept: */*", b"Authorization: Bearer k")
    assert reads.read(keyed) == (PlainName("a", "c-1", b"x/y.z"), "Bearer k", "")
    traced = HEAD.replace(b"Accept: */*", b"TraceParent: 00-1")
    assert reads.read(traced) == (PlainName("a", "c-1", b"x/y.z"), None, "00-1")
    for key in (b"/", b"//", b".", b"../x", b"a/", b"-", b"!$&'()*+,;=:@_~", b"x" * PATH_SIZE_MAX):
        assert reads.read(HEAD.replace(b"x/y.z", key)) == (PlainName("a", "c-1", key), None, "")


@pytest.mark.parametrize(
    "data",
    [
        HEAD.replace(b"GET ", b"HEAD "),
        HEAD.replace(b"x/y.z", b""),
        HEAD.replace(b"x/y.z", b"%41"),
        HEAD.replace(b"x/y.z", b"x?"),
        HEAD.replace(b"x/y.z", b"x#"),
        HEAD.replace(b"x/y.z", b"x y"),
        HEAD.replace(b"x/y.z", b"\xc3\xa9"),
        HEAD.replace(b"x/y.z", b"x" * (PATH_SIZE_MAX + 1)),
        HEAD.replace(b"/a/", b"//"),
        HEAD.replace(b"/a/", b"/%61/"),
        HEAD.replace(b"/named", b"/Named"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD.replace(b"Accept: */*", b"Range: bytes=0-1"),
        HEAD.replace(b"Accept: */*", b"x-ambry-dataset-version: true"),
        HEAD[:-1],
        HEAD + b"x",
        HEAD + HEAD,
        b" " + HEAD,
        PUT,
    ],
)
def test_other_reads_are_not_plain(data: bytes) -> None:
    assert PlainNamedReads(Hosts()).read(data) is None


def plain_uploads() -> PlainNamedUploads[bool]:
    return PlainNamedUploads(Hosts(), ["x-ambry-ttl"], ["x-ambry-um-"], lambda _headers, prefixed: prefixed)


def test_an_upload_that_came_as_a_whole() -> None:
    found = plain_uploads().upload(PUT)
    assert found is not None
    name, upload = found
    assert name == PlainName("a", "c-1", b"x/y.z")
    assert (upload.method, upload.body, upload.meaning) == ("PUT", b"hi", True)
    assert upload.headers == {"host": "localhost:80", "x-ambry-um-a": "b"}


@pytest.mark.parametrize(
    "data",
    [
        PUT[:-1],
        PUT + b"x",
        PUT.replace(b"PUT ", b"POST "),
        PUT.replace(b"Content-Length: 2\r\n", b""),
        PUT.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
        PUT.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        PUT.replace(b"x-ambry-um-a", b"x-ambry-named-upsert"),
        PUT.replace(b"x-ambry-um-a", b"If-None-Match"),
        PUT.replace(b"x-ambry-um-a", b"x-ambry-idempotency-key"),
        PUT.replace(b"x/y.z", b"%41"),
        HEAD,
    ],
)
def test_other_uploads_are_not_plain(data: bytes) -> None:
    assert plain_uploads().upload(data) is None
