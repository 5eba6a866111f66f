"""No request is a bug of ours, whatever its target and headers: drawn from what clients send, and what they should not."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.rest import names
from frontend.http.fields import HARMLESS, REFUSED
from tests.support.http_frontend import HttpFrontend, RawClient, http_frontend

FRAMING = {"connection", "content-length", "transfer-encoding", "upgrade", "expect", "host"}
"""Left to the tests of raw bytes: they decide where a request ends."""
FIELDS = sorted(
    {value for name, value in vars(names).items() if name.isupper() and not name.endswith("_PREFIX")}
    | (HARMLESS - FRAMING)
    | set(REFUSED)
    | {"x-ambry-um-a", "x-ambry-enc-um-a", "content-md5", "content-digest", "repr-digest", "content-encoding"}
)
VALUES = st.sampled_from([
    "", "*", "0", "-1", "1", "9" * 25, "9" * 5000, "-" * 20, '"a"', 'W/"a"', '"a', '"a","b"', "bytes=0-0", "bytes=-1",
    "bytes=5-",
    "bytes=0-0,2-3", f"bytes={'9' * 30}-", f"bytes=0-{'9' * 30}", "bytes=,", "bytes=1-0", "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 99 Nov 1994 99:99:99 GMT", "true", "false", "disk",
    "geo",
    "Include_All", "Include_Deleted_Blobs", "default", "text/html", "text/html;a", "gzip", "%41", "%", "%ff", "a b", "é",
    "\udcff",
    "\t", "null", "http://localhost", "cross-site", "same-origin", "sha-256=:AAAA:", "sha-256=" + ":" * 9, "a" * 255, "a" * 256,
    "; " * 100, ", " * 200, "a/b" + ";  " * 80 + "x y", "{", "[", "\x7f",
])  # fmt: skip
TEXTS = VALUES | st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=30)
SEGMENTS = st.sampled_from([
    "{id}", "{id}.bin", "{gone}", "{missing}", "BlobInfo", "UserMetadata", "Replicas", "BlobChunkIds", "Segment", "0",
    "updateTtl",
    "undelete", "healthz", "readyz", "version", "", ".", "..", "%2e", "%2F", "%", "%00", "%FF", "named", "_", "a" * 100, "~",
    "a?b=c",
    "?", "*", ":", "@",
])  # fmt: skip
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE"])
REQUESTS = st.tuples(
    METHODS,
    st.lists(SEGMENTS, max_size=4).map(lambda segments: "/" + "/".join(segments)),
    st.lists(st.tuples(st.sampled_from(FIELDS), TEXTS), max_size=5),
    st.sampled_from([b"", b"hello"]),
)


def one(method: str, path: str, fields: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


async def ask(frontend: HttpFrontend, raw: bytes, method: str) -> int:
    async with frontend.connected() as client:
        assert isinstance(client, RawClient)
        await client.send(raw)
        answer = await client.answer(method)
        assert answer.headers["x-ambry-request-id"]
        assert b"Traceback" not in answer.body
        return answer.status


@settings(max_examples=12)
@given(st.lists(REQUESTS, min_size=40, max_size=60))
def test_no_request_is_a_bug_of_ours(requests: list[tuple[str, str, list[tuple[str, str]], bytes]]) -> None:
    async def run() -> None:
        async with http_frontend() as frontend:
            blob_id, gone = await frontend.put(b"hello"), await frontend.put(b"hello")
            await frontend.call("DELETE", f"/{gone}")
            missing = blob_id[:-8] + "AAAAAAAA"
            for method, path, fields, body in requests:
                for name, id in (("{id}", blob_id), ("{gone}", gone), ("{missing}", missing)):
                    path = path.replace(name, id)
                    fields = [
                        (field, blob_id if field == names.BLOB_ID and value == "*" else value)
                        for field, value in fields
                    ]
                raw = one(method, path, fields, body)
                status = await ask(frontend, raw, method)
                assert status < 500 or status in (501, 503), raw

    asyncio.run(run())
