"""What goes in comes out: every size and way of uploading, whole and in ranges, at both datacenters."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path

import pytest
import xxhash

from deploy.local_cluster import LocalCluster
from tests.support.clusters import seed_of
from tests.support.content import content, content_digest
from tests.support.replica_reader import Stored, every_copy_is_right
from tests.support.rest import Answer, call, everywhere, get, put, raw_exchange, replicas
from tests.support.waiting import eventually

MIB = 1 << 20
SIZES = (0, 1, 65535, 65536, 65537, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9_000_000)
BORDERS = (65536, MIB, 4 * MIB, 8 * MIB)


@pytest.fixture(scope="module")
def blobs(dc1: str) -> dict[int, Stored]:
    """One blob of every size, held by every node of both datacenters."""
    stored = {}
    for number, size in enumerate(SIZES):
        blob_id = put(dc1, content(1000 + number, size))
        stored[size] = Stored(id=blob_id, seed=1000 + number, size=size)
    for blob in stored.values():
        eventually(lambda blob=blob: everywhere(dc1, blob.id), f"{blob.id} on every node")  # type: ignore[misc]
    return stored


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    for first in range(0, len(body), size):
        yield body[first : first + size]


@pytest.mark.parametrize("size", SIZES)
def test_a_blob_reads_back_identical_at_both_datacenters(
    blobs: dict[int, Stored], dc1: str, dc2: str, size: int
) -> None:
    blob = blobs[size]
    expected = content(blob.seed, size)
    for url in (dc1, dc2):
        whole = get(url, blob.id)
        assert (whole.status, whole.headers["Content-Length"]) == (200, str(size))
        assert whole.body == expected
        assert whole.headers["x-ambry-digest"] == blob.digest
        assert whole.headers["x-ambry-blob-size"] == str(size)
        head = call(url, "HEAD", f"/{blob.id}")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(size))
        for name in ("ETag", "Last-Modified", "Content-Type", "x-ambry-digest", "x-ambry-creation-time"):
            assert head.headers[name] == whole.headers[name], name


def test_every_replica_holds_every_byte_of_every_size(cluster: LocalCluster, blobs: dict[int, Stored]) -> None:
    assert every_copy_is_right(cluster, blobs.values()) == len(SIZES) * 6


@pytest.mark.parametrize("size", [size for size in SIZES if size])
def test_ranges_are_the_bytes_they_name(blobs: dict[int, Stored], dc1: str, dc2: str, size: int) -> None:
    source = random.Random(seed_of(f"ranges of {size}"))
    body = content(blobs[size].seed, size)
    asked: list[tuple[str, int, int]] = [
        ("bytes=0-", 0, size),
        ("bytes=0-0", 0, 1),
        (f"bytes={size - 1}-", size - 1, size),
        ("bytes=-1", size - 1, size),
        (f"bytes=-{size + 10}", 0, size),
        (f"bytes=0-{size + 1000}", 0, size),
    ]
    for border in BORDERS:
        if border < size:
            asked.append((f"bytes={border - 1}-{border}", border - 1, border + 1))
            asked.append((f"bytes={border}-{border}", border, border + 1))
            asked.append(
                (
                    f"bytes={border - 70_000 if border > 70_000 else 0}-{border + 9}",
                    max(0, border - 70_000) if border > 70_000 else 0,
                    min(size, border + 10),
                )
            )
    for _ in range(6):
        first = source.randrange(size)
        last = source.randrange(first, min(size, first + 3 * MIB))
        asked.append((f"bytes={first}-{last}", first, last + 1))
        asked.append((f"bytes={first}-", first, size))
        suffix = source.randrange(1, size + 1)
        asked.append((f"bytes=-{suffix}", size - suffix, size))
    for number, (header, first, end) in enumerate(asked):
        answer = get((dc1, dc2)[number % 2], blobs[size].id, {"Range": header})
        assert answer.status == 206, header
        assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}", header
        assert answer.headers["Content-Length"] == str(end - first), header
        assert answer.body == body[first:end], header


@pytest.mark.parametrize("size", [0, 65537, 4 * MIB + 1])
def test_a_range_outside_the_blob_is_416_with_its_size(blobs: dict[int, Stored], dc1: str, size: int) -> None:
    for header in (f"bytes={size}-", f"bytes={size + 7}-{size + 9}", "bytes=-0"):
        answer = get(dc1, blobs[size].id, {"Range": header})
        assert answer.status == 416, header
        assert answer.headers["Content-Range"] == f"bytes */{size}", header
        # Range is defined for GET alone (RFC 9110 section 14.2).
        head = call(dc1, "HEAD", f"/{blobs[size].id}", headers={"Range": header})
        assert (head.status, head.headers["Content-Length"]) == (200, str(size)), header


def test_a_range_of_an_empty_blob_can_be_asked_for(blobs: dict[int, Stored], dc1: str) -> None:
    headers = {"Range": "bytes=0-10", "x-ambry-resolve-range-on-empty-blob": "true"}
    answer = get(dc1, blobs[0].id, headers)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("header", ["bytes=abc", "bytes=5-2", "items=0-1", "bytes=", "bytes=-", "bytes=1-2,,x", "0-1"])
def test_a_malformed_range_is_ignored(blobs: dict[int, Stored], dc1: str, header: str) -> None:
    answer = get(dc1, blobs[65537].id, {"Range": header})
    assert (answer.status, len(answer.body)) == (200, 65537)
    assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("size", [65537, 9_000_000])
def test_conditional_reads(blobs: dict[int, Stored], dc1: str, size: int) -> None:
    path, body = f"/{blobs[size].id}", content(blobs[size].seed, size)
    head = call(dc1, "HEAD", path)
    etag = str(head.headers["ETag"])
    modified = parsedate_to_datetime(str(head.headers["Last-Modified"])).timestamp()
    before, after = formatdate(modified - 10, usegmt=True), formatdate(modified + 10, usegmt=True)

    def ask(method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(dc1, method, path, headers=named)

    for method in ("GET", "HEAD"):
        for value in (etag, f"W/{etag}", f'"x", {etag}', "*"):
            answer = ask(method, If_None_Match=value)
            assert (answer.status, answer.body) == (304, b""), (method, value)
            assert answer.headers["ETag"] == etag
        assert ask(method, If_None_Match='"other"').status == 200
        assert ask(method, If_Match=etag).status == 200
        assert ask(method, If_Match='"other"').status == 412
        assert ask(method, If_Modified_Since=after).status == 304
        assert ask(method, If_Modified_Since=before).status == 200
        assert ask(method, If_Unmodified_Since=before).status == 412
        assert ask(method, If_Unmodified_Since=after).status == 200
    for value, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200), (head.headers["Last-Modified"], 206)):
        answer = ask(If_Range=str(value), Range="bytes=5-9")
        assert answer.status == status, value
        assert answer.body == (body[5:10] if status == 206 else body), value


def test_a_path_may_carry_a_file_extension(blobs: dict[int, Stored], dc1: str) -> None:
    assert get(dc1, f"{blobs[65536].id}.safetensors").body == content(blobs[65536].seed, 65536)


@pytest.mark.parametrize(("method", "path"), [("POST", "/"), ("PUT", "/"), ("PUT", "/model%20v1.bin")])
def test_every_way_of_uploading(dc1: str, method: str, path: str) -> None:
    body = content(77, 300_000)
    answer = call(dc1, method, path, body, {"Content-Type": "application/x-test", "x-ambry-service-id": "it"})
    assert answer.status == 201
    assert answer.headers["x-ambry-digest"] == xxhash.xxh3_128_hexdigest(body)
    assert answer.headers["ETag"] == f'"{xxhash.xxh3_128_hexdigest(body)}"'
    assert answer.headers["x-ambry-durability"] == "disk"
    read = get(dc1, answer.blob_id)
    assert read.body == body
    assert read.headers["Content-Type"] == read.headers["x-ambry-content-type"] == "application/x-test"
    assert read.headers["x-ambry-service-id"] == "it"
    assert read.headers.get("x-ambry-filename") == ("model v1.bin" if "model" in path else None)


@pytest.mark.parametrize("size", [0, 1, 100_000, 4 * MIB, 4 * MIB + 1, 9_000_000])
def test_a_chunked_upload_without_length(dc1: str, size: int) -> None:
    body = content(91, size)
    answer = call(dc1, "POST", "/", pieces(body, 333_333))
    assert (answer.status, answer.headers["x-ambry-blob-size"]) == (201, str(size))
    assert get(dc1, answer.blob_id).body == body


def test_durability_classes_are_met_and_named(dc1: str, dc2: str) -> None:
    for name in ("memory", "disk", "geo"):
        body = content(31, 5_000_000)
        answer = call(dc1, "POST", "/", body, {"x-ambry-durability": name})
        assert (answer.status, answer.headers["x-ambry-durability"]) == (201, name)
        if name == "geo":
            # Acknowledged means: in the other datacenter already.
            found = replicas(dc1, answer.blob_id)
            assert any(entry["datacenter"] == "dc2" and entry["present"] for entry in found)
            assert get(dc2, answer.blob_id).body == body
    assert call(dc1, "POST", "/", b"x", {"x-ambry-durability": "paper"}).status == 400


def test_a_gzip_body_is_stored_as_it_was_sent(dc1: str, dc2: str) -> None:
    body = gzip.compress(bytes(3_000_000))
    blob_id = put(dc1, body, {"Content-Encoding": "gzip", "Content-Type": "text/plain"})
    for headers in ({}, {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "identity"}):
        answer = get(dc1, blob_id, headers)
        assert (answer.body, answer.headers["Content-Encoding"]) == (body, "gzip")
        assert answer.headers["x-ambry-content-encoding"] == "gzip"
    eventually(lambda: everywhere(dc1, blob_id), "the blob on every node")
    assert get(dc2, blob_id).body == body


def test_active_content_is_not_run_by_browsers(dc1: str) -> None:
    for kind in ("text/html", "image/svg+xml; charset=utf-8", "application/xml"):
        answer = get(dc1, put(dc1, b"<x/>", {"Content-Type": kind}))
        assert answer.headers["Content-Disposition"] == "attachment", kind
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_many_requests_on_one_connection_in_one_write(dc1: str, blobs: dict[int, Stored]) -> None:
    one = f"GET /{blobs[1].id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    last = f"GET /{blobs[65536].id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    status, _ = raw_exchange(dc1, one * 5 + last)
    assert status == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_uploads_and_downloads(dc1: str, tmp_path: Path) -> None:
    source, target = tmp_path / "weights.bin", tmp_path / "copy.bin"
    source.write_bytes(content(55, 5_500_000))

    def curl(*arguments: str) -> str:
        done = subprocess.run(["curl", "-sS", "--fail", *arguments], capture_output=True, timeout=60, check=True)
        return done.stdout.decode()

    location = "%{stderr}%header{location}"
    for upload in (
        ["-T", str(source)],
        ["--data-binary", f"@{source}"],
        ["-H", "Transfer-Encoding: chunked", "-T", str(source)],
    ):
        done = subprocess.run(
            ["curl", "-sS", "--fail", "-o", "/dev/null", "-w", location, *upload, f"{dc1}/"],
            capture_output=True,
            timeout=60,
            check=True,
        )
        blob_id = done.stderr.decode().strip().removeprefix("/")
        curl("-o", str(target), f"{dc1}/{blob_id}")
        assert target.read_bytes() == source.read_bytes(), upload
        assert content_digest(55, 5_500_000) in curl("-I", f"{dc1}/{blob_id}")
        # An interrupted download goes on where it stopped.
        target.write_bytes(source.read_bytes()[:4_194_305])
        curl("-C", "-", "-o", str(target), f"{dc1}/{blob_id}")
        assert target.read_bytes() == source.read_bytes(), upload
