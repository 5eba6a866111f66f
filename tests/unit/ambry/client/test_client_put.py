"""Putting, with both clients: what is sent, what is checked, what is repeated."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ambry import (
    ChecksumMismatch,
    InvalidRequest,
    ProtocolViolation,
    RetryPolicy,
    TooLarge,
    TransferConfig,
    Unavailable,
)
from tests.support.ports import free_ports
from tests.support.stub_frontend import StubFrontend, hexdigest
from tests.support.twins import QUICK, Twins

DATA = bytes(range(256)) * 5000


def test_what_is_put_can_be_read_back(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url, account="ml", container="models")
    info = client.put(
        DATA,
        ttl=timedelta(hours=1),
        content_type="model/x",
        metadata={"run": "42", "name": "größe", "blank": "", "edge": " x"},
        filename="modèle.bin",
        durability="geo",
    )
    assert (info.size, info.checksum, info.durability) == (len(DATA), hexdigest(DATA), "geo")
    assert info.expires is not None and info.created is not None
    assert info.expires - info.created == timedelta(hours=1)
    head = client.head(info.id)
    assert head.metadata == {"run": "42", "name": "größe", "blank": "", "edge": " x"}
    assert (head.content_type, head.filename, head.size) == ("model/x", "modèle.bin", len(DATA))
    assert client.get_bytes(str(info.id)) == DATA
    sent = stub.seen("POST")[0].headers
    assert sent["x-ambry-target-account-name"] == "ml"
    assert sent["x-ambry-target-container-name"] == "models"
    assert sent["x-ambry-enc-um-name"] == "gr%C3%B6%C3%9Fe"
    assert sent["x-ambry-ttl"] == "3600"


def test_an_in_memory_body_is_announced_with_size_and_digest(stub: StubFrontend, twins: Twins) -> None:
    twins.connect(stub.url).put(memoryview(bytearray(DATA)))
    sent = stub.seen("POST")[0].headers
    assert sent["content-length"] == str(len(DATA))
    assert sent["x-ambry-digest"] == hexdigest(DATA)
    assert "transfer-encoding" not in sent


@pytest.mark.parametrize("kind", ["path", "handle", "list", "generator", "unseekable", "empty", "sized generator"])
def test_every_kind_of_body_arrives_whole(stub: StubFrontend, twins: Twins, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "body.bin"
    path.write_bytes(b"skipped" + DATA)
    handle = path.open("rb")
    handle.seek(7)

    class Pipe:
        def __init__(self) -> None:
            self._inner = io.BytesIO(DATA)

        def read(self, size: int) -> bytes:
            return self._inner.read(min(size, 1000))

    pieces = [DATA[at : at + 70_000] for at in range(0, len(DATA), 70_000)]
    sources: dict[str, Any] = {
        "path": path,
        "handle": handle,
        "list": pieces,
        "generator": iter(pieces),
        "unseekable": Pipe(),
        "empty": b"",
        "sized generator": iter(pieces),
    }
    expected = {"path": b"skipped" + DATA, "empty": b""}.get(kind, DATA)
    seen: list[tuple[int, int | None]] = []
    size = len(DATA) if kind == "sized generator" else None
    info = twins.connect(stub.url).put(
        sources[kind], size=size, progress=lambda done, total: seen.append((done, total))
    )
    handle.close()
    assert stub.blobs[str(info.id)] == expected
    assert seen[-1][0] == len(expected)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    chunked = "transfer-encoding" in stub.seen("POST")[0].headers
    assert chunked == (kind in ("generator", "unseekable"))
    assert info.filename == ("body.bin" if kind == "path" else "")


def test_an_async_iterable_is_a_body_for_the_async_client_only(stub: StubFrontend, twins: Twins) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield DATA
        yield b"end"

    client = twins.connect(stub.url)
    if twins.kind == "sync":
        with pytest.raises(TypeError, match="AsyncAmbryClient"):
            client.put(body())
    else:
        assert stub.blobs[str(client.put(body()).id)] == DATA + b"end"


@pytest.mark.parametrize("body", ["path/or/text", {"a": 1}, 7, io.StringIO("text"), None])
def test_what_is_no_body_is_refused_before_anything_is_sent(stub: StubFrontend, twins: Twins, body: Any) -> None:
    with pytest.raises(TypeError, match=r"body|rb"):
        twins.connect(stub.url).put(body)
    assert stub.requests == []


def test_a_str_is_never_a_body_and_the_message_says_what_to_pass(stub: StubFrontend, twins: Twins) -> None:
    with pytest.raises(TypeError, match=r"pathlib\.Path"):
        twins.connect(stub.url).put("model.bin")
    with pytest.raises(TypeError, match="encode"):
        twins.connect(stub.url).put(iter(["text"]))
    assert stub.blobs == {}


@pytest.mark.parametrize("fault", ["wrong-digest", "no-digest"])
def test_a_put_acknowledged_with_another_digest_is_deleted_and_raised(
    stub: StubFrontend, twins: Twins, fault: str
) -> None:
    stub.fail("POST", fault)
    with pytest.raises((ChecksumMismatch, ProtocolViolation), match="deleted"):
        twins.connect(stub.url).put(iter([DATA]))
    assert stub.deleted == set(stub.blobs) and len(stub.deleted) == 1


def test_a_given_checksum_is_sent_and_a_wrong_one_stores_nothing(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    assert client.put(DATA, checksum=hexdigest(DATA).upper()).checksum == hexdigest(DATA)
    with pytest.raises(ChecksumMismatch):
        client.put(iter([DATA]), checksum="0" * 32)
    with pytest.raises(InvalidRequest, match="xxh3-128"):
        client.put(DATA, checksum="sha256:abc")
    assert len(stub.blobs) == 1


def test_a_body_of_another_size_than_announced_is_not_stored(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    with pytest.raises(InvalidRequest, match="longer"):
        client.put(iter([b"abc", b"def"]), size=4)
    with pytest.raises(InvalidRequest, match="ended after 6 of the 7"):
        client.put(iter([b"abc", b"def"]), size=7)
    with pytest.raises(InvalidRequest, match="has 3 bytes"):
        client.put(b"abc", size=4)
    assert stub.blobs == {}


def test_an_error_of_the_source_is_raised_as_it_is(stub: StubFrontend, twins: Twins) -> None:
    def body() -> Iterator[bytes]:
        yield DATA
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        twins.connect(stub.url).put(body())
    assert stub.blobs == {}


def test_an_early_refusal_is_raised_instead_of_a_broken_pipe(stub: StubFrontend, twins: Twins) -> None:
    stub.fail("POST", "status", status=413, code="TooLarge", detail="split it", early=True)
    taken = 0

    def body() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(4000):
            taken += 1
            yield bytes(1 << 16)

    with pytest.raises(TooLarge, match="split it") as caught:
        twins.connect(stub.url).put(body())
    assert caught.value.request_id == "stub-request"
    assert (caught.value.endpoint, caught.value.attempts) == (stub.url, 1)
    assert taken < 4000


@pytest.mark.parametrize("fault", ["reset-before", "reset-after", "status"])
def test_a_body_that_can_be_had_again_is_put_again(
    stub: StubFrontend, twins: Twins, tmp_path: Path, fault: str
) -> None:
    path = tmp_path / "body"
    path.write_bytes(DATA)
    stub.fail("POST", fault, status=500, code="InternalError")
    seen: list[int] = []
    transfer = TransferConfig(chunk_size=10_000)
    info = twins.connect(stub.url).put_file(path, progress=lambda done, _: seen.append(done), transfer=transfer)
    assert stub.blobs[str(info.id)] == DATA
    assert len(stub.seen("POST")) == 2
    assert seen == sorted(set(seen)), "progress went back"


@pytest.mark.parametrize(("status", "code"), [(503, "MetadataUnavailable"), (405, "MethodNotAllowed")])
def test_a_large_file_goes_as_one_where_there_is_no_metadata_store_for_its_parts(
    stub: StubFrontend, twins: Twins, tmp_path: Path, status: int, code: str
) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(DATA)
    stub.fail("POST", "status", status=status, code=code)
    client = twins.connect(stub.url, retry=RetryPolicy(max_attempts=1))
    info = client.put_file(path, transfer=TransferConfig(threshold=len(DATA)))
    assert stub.blobs[str(info.id)] == DATA
    assert [seen.path for seen in stub.seen("POST")] == ["/uploads", "/"]
    assert not path.with_name("large.bin.ambry-upload").exists()


def test_a_body_that_can_be_had_once_is_not_put_again(stub: StubFrontend, twins: Twins) -> None:
    stub.fail("POST", "status")
    with pytest.raises(Unavailable, match="try again later"):
        twins.connect(stub.url).put(iter([DATA]))
    assert len(stub.seen("POST")) == 1


def test_a_body_that_was_not_touched_goes_to_the_next_endpoint(stub: StubFrontend, twins: Twins) -> None:
    dead = f"http://127.0.0.1:{free_ports(1)[0]}"
    info = twins.connect(dead, stub.url).put(iter([DATA]))
    assert stub.blobs[str(info.id)] == DATA


def test_retry_after_is_honoured(stub: StubFrontend, twins: Twins) -> None:
    stub.fail("POST", "status", retry_after="7")
    client = twins.connect(stub.url, fake_time=True, retry=RetryPolicy(base=0.0))
    client.put(DATA)
    assert twins.clock.slept == [7.0]
    stub.fail("POST", "status", retry_after="900")
    with pytest.raises(Unavailable) as caught:
        client.put(DATA)
    assert caught.value.retry_after_s == 900.0


@pytest.mark.parametrize("key", ["Upper", "with space", "", "ü", "colon:"])
def test_a_metadata_key_that_would_not_come_back_is_refused(stub: StubFrontend, twins: Twins, key: str) -> None:
    with pytest.raises(InvalidRequest, match="metadata key"):
        twins.connect(stub.url).put(b"", metadata={key: "x"})


def test_nothing_given_by_the_caller_can_add_a_header(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    client.put(b"", metadata={"a": "x\r\nx-ambry-ttl: 1"})
    assert client.head(next(iter(stub.blobs))).metadata == {"a": "x\r\nx-ambry-ttl: 1"}
    for extra in ({"filename": "a\r\nb: c"}, {"content_type": "a\nb"}):
        with pytest.raises(InvalidRequest, match=next(iter(extra))):
            client.put(b"", **extra)
    options: list[dict[str, Any]] = [{"account": "a\r\nb: c"}, {"container": "a\nb"}, {"service_id": "a\rb"}]
    for option in options:
        with pytest.raises(InvalidRequest, match=next(iter(option))):
            twins.connect(stub.url, **option)
    assert len(stub.requests) == 2


def test_a_kept_connection_closed_by_the_server_costs_nothing(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url, retry=QUICK)
    stub.close_after_answer = True
    for _ in range(20):
        client.put(b"x")
    assert len(stub.blobs) == 20
