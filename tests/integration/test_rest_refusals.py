"""What the frontend refuses, what a client breaks off, and that neither leaves anything behind."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import xxhash

from ambry.ids import BlobId, IdKind
from deploy.local_cluster import LocalCluster
from tests.support.content import content
from tests.support.log_file import end_of, lines_of
from tests.support.replica_reader import Held, read_copy
from tests.support.rest import Answer, call, get, metric, put, raw_exchange
from tests.support.waiting import eventually, settled

MIB = 1 << 20
BUDGET = 160 * MIB


def stored_in(cluster: LocalCluster, request_id: str) -> set[bytes]:
    """The ids of all records that the data nodes of dc1 stored for one request, from their debug logs."""
    found = set()
    for node in cluster.nodes("dc1"):
        for line in lines_of(node.log):
            if request_id in line:
                event = json.loads(line)
                if event.get("type") == "PUT" and event["event"] == "stored":
                    found.add(bytes.fromhex(event["blob"]))
    return found


def nothing_is_left(cluster: LocalCluster, records: set[bytes]) -> None:
    """Every record is deleted on every node of dc1 that knows it, and no id of a whole blob is served."""

    def alive() -> list[str]:
        found = []
        for raw in records:
            for node in cluster.nodes("dc1"):
                copy = read_copy(cluster, node.name, raw)
                if copy.held is not Held.ABSENT and not copy.state.deleted:
                    found.append(f"{copy.id} on {copy.node}: {copy.held}, {copy.state}")
        return found

    settled(alive, "tombstones on the records of an upload that failed")
    for raw in records:
        if BlobId(raw).kind is not IdKind.CHUNK:
            assert get(cluster.frontends("dc1")[0].url, str(BlobId(raw))).status in (404, 410)


def budget_is_free(cluster: LocalCluster) -> None:
    admin = cluster.frontends("dc1")[0].admin_url
    eventually(
        lambda: metric(admin, "ambry_frontend_memory_budget_free_bytes") == BUDGET,
        "all of the memory budget given back",
    )


def is_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["code"] == answer.headers["x-ambry-error-code"] == code
    assert body["request_id"] == answer.headers["x-ambry-request-id"]
    assert body["title"] and body["detail"] and body["type"] == "about:blank"
    assert answer.headers["x-ambry-frontend"] == "dc1-f1"
    assert answer.headers["x-ambry-datacenter"] == "dc1"


# --- digests ---

GOOD, BAD = b"the right bytes", b"other bytes"


def digest_headers(body: bytes) -> list[dict[str, str]]:
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    sha = base64.b64encode(hashlib.sha256(body).digest()).decode()
    sha512 = base64.b64encode(hashlib.sha512(body).digest()).decode()
    return [
        {"x-ambry-digest": xxhash.xxh3_128_hexdigest(body)},
        {"Content-MD5": md5},
        {"Content-Digest": f"sha-256=:{sha}:"},
        {"Content-Digest": f"sha-512=:{sha512}:, sha-256=:{sha}:"},
    ]


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("size", [15, 9_000_000])
def test_a_right_digest_is_taken_and_a_wrong_one_leaves_nothing(
    cluster: LocalCluster, dc1: str, which: int, size: int
) -> None:
    body = content(7, size)
    right, wrong = digest_headers(body)[which], digest_headers(body + b"!")[which]
    assert get(dc1, put(dc1, body, right)).body == body
    refused = call(dc1, "POST", "/", body, wrong)
    is_problem(refused, 400, "ChecksumMismatch")
    records = stored_in(cluster, str(refused.headers["x-ambry-request-id"]))
    # Chunks are written while the body streams in; a blob of one record is not written at all.
    assert bool(records) == (size > 4 * MIB)
    nothing_is_left(cluster, records)
    budget_is_free(cluster)


@pytest.mark.parametrize(
    "headers",
    [{"x-ambry-digest": "zz"}, {"Content-MD5": "AAAA"}, {"Content-Digest": "sha-256=:AAAA:"}],
    ids=["x-ambry-digest", "Content-MD5", "Content-Digest"],
)
def test_a_digest_that_cannot_be_one_is_refused(dc1: str, headers: dict[str, str]) -> None:
    is_problem(call(dc1, "POST", "/", GOOD, headers), 400, "InvalidRequest")


# --- uploads that end too soon ---


def half_upload(dc1: str, head: str, body: bytes, *, finish: bool) -> bytes:
    """Send a head and a part of its body, then end: `finish` half-closes and reads what is said, else a reset."""
    parts = urlsplit(dc1)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as raw:
        raw.sendall(head.encode() + body)
        if finish:
            raw.shutdown(socket.SHUT_WR)
            said = b""
            try:
                while piece := raw.recv(65536):
                    said += piece
            except ConnectionResetError:
                pass
            return said
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return b""


@pytest.mark.parametrize("finish", [True, False], ids=["half-closed", "reset"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("sent", [0, 1000, 9_500_000])
def test_an_upload_broken_off_leaves_no_blob_and_gives_its_memory_back(
    cluster: LocalCluster, dc1: str, finish: bool, chunked: bool, sent: int
) -> None:
    admin = cluster.frontends("dc1")[0].admin_url
    before = metric(admin, "ambry_frontend_bytes_received_total")
    log = cluster.frontends("dc1")[0].log
    seen = end_of(log)
    head = "POST / HTTP/1.1\r\nHost: localhost\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n" if chunked else f"Content-Length: {sent + 1000}\r\n\r\n"
    body = content(3, sent)
    said = half_upload(dc1, head, b"%x\r\n%b\r\n" % (sent, body) if chunked and sent else body, finish=finish)
    assert b" 201 " not in said
    budget_is_free(cluster)
    assert metric(admin, "ambry_frontend_bytes_received_total") == before
    eventually(lambda: metric(admin, "ambry_frontend_requests_in_flight") == 0, "no request in flight")
    requests = [event for line in lines_of(log, seen) if (event := json.loads(line)).get("op") == "put"]
    for event in requests:
        assert event["status"] in (400, 499), event
        nothing_is_left(cluster, stored_in(cluster, event["request_id"]))


def test_a_malformed_chunk_is_refused(cluster: LocalCluster, dc1: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (b"zz\r\nabc\r\n0\r\n\r\n", b"5\r\nabcdefg\r\n0\r\n\r\n", b"-5\r\nabcde\r\n0\r\n\r\n"):
        status, body = raw_exchange(dc1, head + rest)
        assert status in (0, 400), (status, body)
    budget_is_free(cluster)


# --- heads that are refused ---


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("POST / HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999\r\n\r\n", 413),
        ("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\nExpect: 200-ok\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\na", 417),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nOrigin: http://evil.example\r\n\r\na", 403),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nSec-Fetch-Site: cross-site\r\n\r\na", 403),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("PUT /%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na", 400),
        ("PUT /a%0ab HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na", 400),
        ("PUT /named/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na", 405),
        ("PUT /named/no/where/at-all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\na", 400),
        ("GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n", 204),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 204),
        ("PATCH / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (f"GET /{'a' * 5000} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (f"GET /{'a' * 20000} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nx-ambry-ttl: soon\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nx-ambry-ttl: 0\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nx-ambry-ttl: -2\r\n\r\na", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nx-ambry-private: maybe\r\n\r\na", 400),
        ("PUT /updateTtl HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("PUT /undelete HTTP/1.1\r\nHost: localhost\r\nx-ambry-blob-id: abc\r\n\r\n", 400),
    ],
)
def test_a_request_that_must_not_be_served(dc1: str, request_text: str, status: int) -> None:
    got, body = raw_exchange(dc1, request_text.encode())
    assert got == status, body[:300]


@pytest.mark.parametrize(
    "vector",
    [
        b"GET / HTTP/1.1\nHost: localhost\n\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\0c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
    ],
)
def test_bytes_that_are_not_our_http_are_refused(dc1: str, vector: bytes) -> None:
    status, _ = raw_exchange(dc1, vector)
    assert status in (0, 400, 431, 501, 505), status
    assert call(dc1, "GET", "/healthz").status == 200


def exchange_expecting(dc1: str, head: str) -> Iterator[bytes]:
    parts = urlsplit(dc1)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as raw:
        raw.sendall(head.encode())
        yield raw.recv(65536)
        raw.sendall(b"hello")
        yield raw.recv(65536)


def test_expect_100_continue_is_answered_before_the_body(dc1: str) -> None:
    head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    answers = exchange_expecting(dc1, head)
    assert next(answers) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert next(answers).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize("line", ["x-ambry-ttl: soon", "x-ambry-digest: 12", "x-ambry-target-account-name: nobody"])
def test_expect_100_continue_is_refused_before_the_body_when_a_header_is_bad(dc1: str, line: str) -> None:
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n{line}\r\n\r\n"
    answer = next(exchange_expecting(dc1, head))
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b"connection: close" in answer.lower()


# --- user metadata ---


def test_user_metadata_comes_back(dc1: str) -> None:
    sent = {"x-ambry-um-model": "minilm v2", "x-ambry-enc-um-title": "Gr%C3%B6%C3%9Fe%20%E2%82%AC", "x-ambry-um-e": ""}
    blob_id = put(dc1, b"x", sent)
    for path in (f"/{blob_id}", f"/{blob_id}/UserMetadata", f"/{blob_id}/BlobInfo"):
        answer = call(dc1, "GET", path)
        assert answer.headers["x-ambry-um-model"] == "minilm v2", path
        assert answer.headers["x-ambry-enc-um-title"] == "Gr%C3%B6%C3%9Fe%20%E2%82%AC", path
    expected = {"model": "minilm v2", "title": "Größe €", "e": ""}
    assert call(dc1, "GET", f"/{blob_id}/UserMetadata").json() == expected
    assert call(dc1, "GET", f"/{blob_id}/BlobInfo").json()["user_metadata"] == expected


def test_user_metadata_as_plain_utf8_comes_back_encoded(dc1: str) -> None:
    head = "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\nx-ambry-um-name: Größe\r\n\r\nx"
    status, body = raw_exchange(dc1, head.encode())
    assert status == 201
    answer = call(dc1, "GET", f"/{json.loads(body)['id']}/UserMetadata")
    assert answer.json() == {"name": "Größe"}


def test_user_metadata_beyond_its_bounds_is_431(dc1: str) -> None:
    most = {f"x-ambry-um-k{number:02}": "v" for number in range(64)}
    assert call(dc1, "POST", "/", b"x", most).status == 201
    is_problem(call(dc1, "POST", "/", b"x", most | {"x-ambry-um-more": "v"}), 431, "HeadersTooLarge")
    room = 4096 - len("x-ambry-um-a")
    exact = {"x-ambry-um-a": "v" * room, "x-ambry-um-b": "v" * room}
    assert call(dc1, "POST", "/", b"x", exact).status == 201
    is_problem(call(dc1, "POST", "/", b"x", exact | {"x-ambry-um-b": "v" * (room + 1)}), 431, "HeadersTooLarge")
    twice = {"x-ambry-um-a": "1", "x-ambry-enc-um-A": "2"}
    is_problem(call(dc1, "POST", "/", b"x", twice), 400, "InvalidRequest")


def test_an_unknown_account_or_container_is_400(dc1: str) -> None:
    for name in ("x-ambry-target-account-name", "x-ambry-target-container-name"):
        assert call(dc1, "POST", "/", b"x", {name: "nobody"}).status == 400
