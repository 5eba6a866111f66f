"""What is kept of the bytes of a blob in the cache, and blobs that are asked for by their SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ambry import CacheConfig, ChecksumMismatch, InvalidRequest
from ambry.client import cache as caching
from ambry.client.cache_sums import BlobSum, parse_sum, sum_of
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend, hexdigest
from tests.support.twins import Twins

DATA = content(5, 300_001)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("line", [f"xxh3-128 {'0' * 32} 5\n", f"xxh3-128 {'0' * 32} 5 sha256 {'1' * 64}\n"])
def test_lines_are_read_as_they_were_written(line: str) -> None:
    assert parse_sum(line).line == line


@pytest.mark.parametrize("line", ["", "xxh3-128 0", "md5 0 5", "xxh3-128 0 five", "xxh3-128 0 5 sha256", "a b c d e"])
def test_what_is_no_sum_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_sum(line)


def test_a_file_is_summed_in_one_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    assert sum_of(tmp_path / "file") == BlobSum(hexdigest(DATA), len(DATA))
    assert sum_of(tmp_path / "file", with_sha256=True).sha256 == SHA256


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_bytes_of_another_sha256_never_enter(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, cache=CacheConfig(directory=directory))
    with pytest.raises(ChecksumMismatch, match=f"SHA-256 {SHA256}, and {'0' * 64} was asked for"):
        client.cached_path(blob, sha256="0" * 64)
    assert not list((directory / "blobs").iterdir())
    assert client.cached_path(blob, sha256=SHA256.upper()).read_bytes() == DATA
    with pytest.raises(ChecksumMismatch):
        client.cached_path(blob, sha256="0" * 64)
    with pytest.raises(InvalidRequest, match="64 hexadecimal digits"):
        client.cached_path(blob, sha256="abc")


def test_a_blob_that_was_here_before_is_read_for_it_once(
    stub: StubFrontend, twins: Twins, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, cache=CacheConfig(directory=directory))
    path = client.cached_path(blob)
    passes: list[Path] = []

    def counted(path: Path, *args: object, **options: object) -> BlobSum:
        passes.append(path)
        return sum_of(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(caching, "sum_of", counted)
    stub.requests.clear()
    assert [client.cached_path(blob, sha256=SHA256) for _ in range(3)] == [path] * 3
    assert (len(passes), stub.requests) == (1, [])
    with pytest.raises(ChecksumMismatch):
        client.cached_path(blob, sha256="0" * 64)
    assert client.cached_path(blob) == path  # It is the blob that was asked for by its id.
    assert len(passes) == 1


def test_bytes_that_changed_are_fetched_again_where_their_sha256_is_asked_for(
    stub: StubFrontend, twins: Twins, directory: Path
) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, cache=CacheConfig(directory=directory))
    path = client.cached_path(blob)
    path.chmod(0o600)
    path.write_bytes(DATA[::-1])
    assert client.cached_path(blob, sha256=SHA256).read_bytes() == DATA
