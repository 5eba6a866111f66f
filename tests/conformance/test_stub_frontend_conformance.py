"""What the SDK relies on, of the stub that its tests run against and of a frontend with its data nodes alike.

Whoever teaches the SDK to rely on more of a frontend adds it here, so that the stub cannot answer what a frontend would not.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

import pytest

from ambry import (
    BlobDeleted,
    BlobId,
    BlobNotFound,
    ByteRange,
    ChecksumMismatch,
    NotDeleted,
    RangeNotSatisfiable,
)
from ambry.clock import SystemClock, system_random
from ambry.ids import IdKind, uuid7
from ambry.rest import metadata as metadata_rules
from ambry.rest import names
from tests.support import rest
from tests.support.clusters import not_caught_up, shared_cluster
from tests.support.content import content, content_digest
from tests.support.rest import Answer
from tests.support.stub_frontend import StubFrontend, hexdigest
from tests.support.twins import Twins
from tests.support.waiting import eventually, settled

DATA = bytes(range(256)) * 100


@pytest.fixture(scope="module", params=["stub", "frontend"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "stub":
        with StubFrontend() as stub:
            yield stub.url
    else:
        with shared_cluster(request, tmp_path_factory, datacenters=1, partitions=2) as cluster:
            # Until it has heard of its siblings, no replica may say that a blob is absent.
            settled(lambda: not_caught_up(cluster), "every replica has caught up with its peers")
            yield cluster.frontends()[0].url


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    made = Twins(request.param)
    yield made
    made.close()


def absent() -> str:
    """The id of a blob that was never put, in the account and a partition of every cluster here."""
    uuid = uuid7(SystemClock().wall_ms(), system_random())
    return str(BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=1, uuid=uuid))


def put(url: str, body: bytes = DATA, **headers: str) -> str:
    return rest.put(url, body, {"x-ambry-" + name.replace("_", "-"): value for name, value in headers.items()})


def refused(answer: Answer, status: int, code: str) -> None:
    """A refusal as the SDK reads it: a problem that names its code, its request and what to do."""
    assert (answer.status, answer.headers[names.ERROR_CODE]) == (status, code)
    assert answer.headers["content-type"].startswith("application/problem+json")
    problem = answer.json()
    assert (problem["code"], problem["request_id"]) == (code, answer.headers[names.REQUEST_ID])
    assert problem["detail"]


# --- over plain HTTP ---


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 25_600])
def test_an_upload_is_told_its_id_its_size_and_its_digest(url: str, size: int, chunked: bool) -> None:
    body = DATA[:size]
    answer = rest.call(url, "POST", "/", iter([body]) if chunked and body else body)
    assert answer.status == 201
    assert answer.headers["location"] == f"/{BlobId.parse(answer.blob_id)}"
    assert (answer.headers[names.BLOB_SIZE], answer.headers[names.DIGEST]) == (str(size), hexdigest(body))
    assert answer.headers["etag"].startswith('"') and answer.headers["etag"].endswith('"')
    assert answer.headers[names.DURABILITY] == "disk"
    for name in (names.REQUEST_ID, names.ANSWERED, names.DATACENTER, names.FRONTEND, "content-length"):
        assert answer.headers[name], name
    assert rest.get(url, answer.blob_id).body == body


def test_an_upload_of_another_digest_is_refused(url: str) -> None:
    refused(rest.call(url, "POST", "/", DATA, {names.DIGEST: "0" * 32}), 400, "ChecksumMismatch")
    assert rest.call(url, "POST", "/", DATA, {names.DIGEST: hexdigest(DATA)}).status == 201


def test_a_read_tells_what_was_put(url: str) -> None:
    told = {
        names.CONTENT_TYPE: "model/x",
        names.FILENAME: "model.bin",
        names.SERVICE_ID: "trainer",
        names.TTL: "3600",
        "x-ambry-um-run": "42",
        "x-ambry-enc-um-name": "gr%C3%B6%C3%9Fe",
    }
    blob = rest.put(url, DATA, told)
    read = rest.get(url, blob)
    assert (read.status, read.body) == (200, DATA)
    for answer in (read, rest.call(url, "HEAD", f"/{blob}")):
        assert {name: answer.headers[name] for name in told} == told
        assert (answer.headers[names.BLOB_SIZE], answer.headers[names.DIGEST]) == (str(len(DATA)), hexdigest(DATA))
        assert answer.headers["content-length"] == str(len(DATA))
        assert parsedate_to_datetime(answer.headers[names.CREATION_TIME]).tzinfo is not None
        assert answer.headers["etag"]


def test_text_that_a_header_cannot_carry_comes_back_in_its_encoded_form(url: str) -> None:
    headers = {names.ENCODED_FILENAME: "mod%C3%A8le.bin", "x-ambry-enc-um-k": "%0A"}
    answer = rest.get(url, rest.put(url, b"", headers))
    assert {name: answer.headers[name] for name in headers} == headers
    assert names.FILENAME not in answer.headers


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=5-", 5, 25_600),
        ("bytes=-7", 25_593, 25_600),
        ("bytes=25599-99999", 25_599, 25_600),
        ("bytes=-99999", 0, 25_600),
    ],
)
def test_a_range_is_a_part_that_says_which(url: str, asked: str, start: int, stop: int) -> None:
    blob = put(url)
    answer = rest.get(url, blob, {"Range": asked})
    assert (answer.status, answer.body) == (206, DATA[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert answer.headers[names.BLOB_SIZE] == str(len(DATA))
    assert answer.headers[names.DIGEST] == hexdigest(DATA)


@pytest.mark.parametrize(("size", "asked"), [(25_600, "bytes=25600-"), (25_600, "bytes=30000-30001"), (0, "bytes=0-")])
def test_a_range_outside_the_blob_is_told_its_size(url: str, size: int, asked: str) -> None:
    answer = rest.get(url, put(url, DATA[:size]), {"Range": asked})
    refused(answer, 416, "RangeNotSatisfiable")
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_what_is_absent_is_proven_to_be(url: str) -> None:
    blob = absent()
    refused(rest.get(url, blob), 404, "BlobNotFound")
    head = rest.call(url, "HEAD", f"/{blob}")
    assert (head.status, head.headers[names.ERROR_CODE], head.body) == (404, "BlobNotFound", b"")
    assert head.headers[names.REQUEST_ID]
    refused(rest.call(url, "PUT", "/updateTtl", headers={names.BLOB_ID: blob, names.TTL: "-1"}), 404, "BlobNotFound")


def test_a_mistyped_id_is_not_an_absent_blob(url: str) -> None:
    refused(rest.get(url, absent()[:-1] + "!"), 400, "InvalidBlobId")


def test_a_delete_is_told_apart_from_absence_and_undone(url: str) -> None:
    blob = put(url)
    for _ in range(2):
        assert rest.call(url, "DELETE", f"/{blob}").status == 202

    def is_seen() -> bool:
        refused(rest.get(url, blob), 410, "BlobDeleted")
        head = rest.call(url, "HEAD", f"/{blob}")
        return (head.status, head.headers[names.ERROR_CODE]) == (410, "BlobDeleted")

    # Two of three replicas acknowledged; who asks the third may come before it has heard of it.
    eventually(is_seen, "the delete is seen")
    assert rest.call(url, "PUT", "/undelete", headers={names.BLOB_ID: blob}).status == 200
    eventually(lambda: rest.get(url, blob).body == DATA, "it is back")
    refused(rest.call(url, "PUT", "/undelete", headers={names.BLOB_ID: blob}), 409, "NotDeleted")


def test_a_time_to_live_is_only_extended(url: str) -> None:
    blob = put(url, ttl="3600")
    assert rest.get(url, blob).headers[names.TTL] == "3600"
    assert rest.call(url, "PUT", "/updateTtl", headers={names.BLOB_ID: blob, names.TTL: "-1"}).status == 200
    eventually(lambda: rest.get(url, blob).headers[names.TTL] == "-1", "every replica that is asked has heard of it")


def test_a_head_has_no_range(url: str) -> None:
    head = rest.call(url, "HEAD", f"/{put(url)}", headers={"Range": "bytes=5-9"})
    assert (head.status, head.headers["content-length"]) == (200, str(len(DATA)))


def test_a_delete_of_what_is_absent_is_refused(url: str) -> None:
    refused(rest.call(url, "DELETE", f"/{absent()}"), 404, "BlobNotFound")


def test_a_foreign_host_is_refused(url: str) -> None:
    refused(rest.call(url, "GET", f"/{put(url)}", headers={"Host": "evil.example"}), 421, "MisdirectedRequest")


def test_a_header_that_asks_for_what_nobody_does_is_refused(url: str) -> None:
    refused(rest.call(url, "POST", "/", DATA, {"x-ambry-chunk-uploads": "true"}), 400, "InvalidRequest")


def test_the_health_check_names_the_frontend(url: str) -> None:
    answer = rest.call(url, "GET", "/healthCheck")
    assert answer.status == 200
    assert answer.headers[names.DATACENTER] and answer.headers[names.FRONTEND]


def test_a_connection_is_kept_over_answers_of_every_kind_until_the_client_closes_it(url: str) -> None:
    blob, unknown = put(url), absent()
    connection = rest.connect(url)

    def ask(method: str, path: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        response.read()
        return response

    try:
        connection.connect()
        first = connection.sock
        assert ask("GET", f"/{blob}").status == 200
        assert ask("HEAD", f"/{blob}").status == 200
        assert ask("GET", f"/{blob}", {"Range": "bytes=99999-"}).status == 416
        assert ask("GET", f"/{unknown}").status == 404
        assert ask("HEAD", f"/{unknown}").status == 404
        assert ask("POST", "/", {names.DIGEST: hexdigest(b"other")}).status == 400
        assert connection.sock is first, "closed"
        assert ask("GET", f"/{blob}", {"Connection": "close"}).will_close
    finally:
        connection.close()


# --- through the SDK ---


def test_the_sdk_reads_back_what_it_put(url: str, twins: Twins) -> None:
    client = twins.connect(url)
    metadata = {"run": "42", "name": "größe", "blank": "", "edge": " x", "lines": "a\r\nb: c", "percent": "100%"}
    info = client.put(DATA, ttl=3600, content_type="model/x", metadata=metadata, filename="modèle 100%.bin")
    head = client.head(info.id)
    for seen in (info, head):
        assert (seen.id, seen.size, seen.checksum) == (info.id, len(DATA), hexdigest(DATA))
        assert (seen.metadata, seen.filename, seen.content_type) == (metadata, "modèle 100%.bin", "model/x")
        assert (seen.expires - seen.created).total_seconds() == 3600
    assert client.get_bytes(info.id) == DATA
    assert client.get_bytes(info.id, range=ByteRange(-3)) == DATA[-3:]
    assert client.put(iter([DATA, DATA])).checksum == hexdigest(DATA + DATA)


def test_the_sdk_reads_a_blob_of_many_chunks(url: str, twins: Twins) -> None:
    size = 9_000_001
    client = twins.connect(url)
    info = client.put(iter([content(31, size)]))
    assert (info.size, info.checksum) == (size, content_digest(31, size))
    buffer = bytearray(size)
    assert client.get_into(info.id, buffer) == size
    assert buffer == content(31, size)
    assert client.get_bytes(info.id, range=(4_194_300, 4_194_310)) == content(31, size)[4_194_300:4_194_310]


def test_the_sdk_names_what_cannot_be_had(url: str, twins: Twins) -> None:
    client = twins.connect(url)
    blob = absent()
    assert not client.exists(blob)
    with pytest.raises(BlobNotFound) as caught:
        client.get(blob)
    assert caught.value.request_id and caught.value.endpoint == url
    info = client.put(DATA)
    with pytest.raises(RangeNotSatisfiable) as outside:
        client.get(info.id, range=(len(DATA), None))
    assert outside.value.size == len(DATA)
    with pytest.raises(NotDeleted):
        client.undelete(info.id)
    client.delete(info.id)
    client.delete(info.id)
    with pytest.raises(BlobDeleted):
        client.get_bytes(info.id)
    client.undelete(info.id)
    assert client.update_ttl(info.id, None).expires is None
    with pytest.raises(ChecksumMismatch):
        client.put(iter([DATA]), checksum="0" * 32)


@pytest.mark.parametrize("letter", ["x", "ü", "日"])
def test_metadata_as_large_as_the_rules_allow_goes_through_both_http_libraries(
    url: str, twins: Twins, letter: str
) -> None:
    client = twins.connect(url)
    per_letter = len(metadata_rules.encode({"k": letter})[next(iter(metadata_rules.encode({"k": letter})))])
    room = metadata_rules.SIZE_MAX - len("x-ambry-enc-um-k")
    one = {"k": letter * (room // per_letter)}
    assert client.head(client.put(b"", metadata=one).id).metadata == one
    many = {f"k{number}": letter * 8 for number in range(metadata_rules.KEYS_MAX)}
    assert client.head(client.put(b"", metadata=many).id).metadata == many


def test_the_sdk_sends_nothing_that_is_refused_for_not_being_understood(url: str, twins: Twins) -> None:
    """A frontend refuses every header that asks for what it does not do."""
    client = twins.connect(url, account="default", container="default", service_id="sdk")
    info = client.put(DATA, durability="memory", content_type="text/plain;charset=utf-8", checksum=hexdigest(DATA))
    assert client.get_bytes(info.id, range=(0, 1)) == DATA[:1]
    assert client.health().ok
    client.delete(info.id)
