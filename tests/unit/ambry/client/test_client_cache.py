"""Blobs that are kept on this machine, with both clients: whole and right, asked for once, bounded, and without a network."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from ambry import (
    AccessDenied,
    BlobId,
    BlobNotFound,
    CacheConfig,
    ChecksumMismatch,
    Offline,
    RequestTimeout,
    RetryPolicy,
    Timeout,
    TooLarge,
    Unavailable,
)
from ambry.home import user_cache
from tests.support.blob_cache import cache_of, files_in, used_long_ago
from tests.support.content import content
from tests.support.named_frontend import named_frontend
from tests.support.stub_frontend import StubFrontend, hexdigest
from tests.support.twins import Twins

DATA = content(5, 300_001)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def keeping(directory: Path, **said: object) -> CacheConfig:
    return CacheConfig(directory=directory, **said)  # type: ignore[arg-type]


def test_a_blob_is_fetched_once_and_then_nothing_is_asked(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, cache=keeping(directory))
    path = client.cached_path(blob)
    assert path.read_bytes() == DATA
    stub.requests.clear()
    assert client.cached_path(BlobId.parse(blob)) == path
    assert twins.connect(stub.url, cache=keeping(directory)).cached_path(blob) == path
    assert twins.connect(stub.url).cached_path(blob, cache_dir=directory) == path
    assert stub.requests == []
    assert files_in(directory) == {"CACHEDIR.TAG", "lock", f"blobs/{blob}", f"sums/{blob}"}


@pytest.mark.parametrize("part", ["blobs", "sums", "incoming", "names"])
def test_a_part_of_the_cache_that_was_removed_is_made_again(
    stub: StubFrontend, twins: Twins, directory: Path, part: str
) -> None:
    kept, other = stub.add(DATA), stub.add(DATA[1:])
    client = twins.connect(stub.url, cache=keeping(directory))
    client.cached_path(kept)
    shutil.rmtree(directory / part)
    assert client.cached_path(kept).read_bytes() == DATA
    assert client.cached_path(other).read_bytes() == DATA[1:]
    assert stat.S_IMODE((directory / part).stat().st_mode) == 0o700


def test_the_file_can_be_mapped_and_not_written(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    path = twins.connect(stub.url).cached_path(stub.add(DATA), cache_dir=directory)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[100:200] == DATA[100:200]
        cache_of(directory).shrink(0)
        assert not path.exists()
        assert mapped[-100:] == DATA[-100:]  # whoever has it keeps it


def test_an_empty_blob_is_kept_too(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    client = twins.connect(stub.url)
    blob = stub.add(b"")
    assert client.cached_path(blob, cache_dir=directory).read_bytes() == b""
    stub.requests.clear()
    assert client.cached_path(blob, cache_dir=directory).read_bytes() == b""
    assert stub.requests == []


def test_what_is_not_there_is_an_error_and_leaves_nothing(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    blob = stub.add(b"x")
    del stub.blobs[blob]
    with pytest.raises(BlobNotFound):
        twins.connect(stub.url).cached_path(blob, cache_dir=directory)
    assert files_in(directory) <= {"CACHEDIR.TAG", "lock"}


@pytest.mark.parametrize("fault", ["corrupt", "wrong-digest"])
def test_wrong_bytes_never_enter(stub: StubFrontend, twins: Twins, directory: Path, fault: str) -> None:
    blob = stub.add(DATA)
    stub.fail("GET", fault)
    client = twins.connect(stub.url, cache=keeping(directory))
    with pytest.raises(ChecksumMismatch):
        client.cached_path(blob)
    assert not [name for name in files_in(directory) if name.startswith(("blobs", "incoming"))]
    assert client.cached_path(blob).read_bytes() == DATA


def test_a_download_that_broke_off_is_gone_on_with(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    data = content(6, 5 << 20)
    blob = stub.add(data)
    stub.fail("GET", "cut", after=4 << 20)
    stub.fail("GET", "status")
    hasty = twins.connect(stub.url, retry=RetryPolicy(max_attempts=1), cache=keeping(directory))
    with pytest.raises(Unavailable):
        hasty.cached_path(blob)
    stub.requests.clear()
    assert hasty.cached_path(blob).read_bytes() == data
    assert any("range" in each.headers for each in stub.seen("GET"))
    assert not [name for name in files_in(directory) if name.startswith("incoming")]


def test_the_least_recently_used_goes_when_the_room_is_needed(
    stub: StubFrontend, twins: Twins, directory: Path
) -> None:
    client = twins.connect(stub.url, cache=keeping(directory, max_bytes=250))
    one, two, three = (stub.add(bytes([number]) * 100) for number in range(3))
    paths = [client.cached_path(blob) for blob in (one, two)]
    for path, seconds in zip(paths, (200, 100), strict=True):
        used_long_ago(path, seconds)
    client.cached_path(one)  # used again
    client.cached_path(three)
    assert {path.name for path in (directory / "blobs").iterdir()} == {one, three}
    assert {path.name for path in (directory / "sums").iterdir()} == {one, three}
    assert client.cached_path(two).read_bytes() == bytes([1]) * 100  # it is fetched again


def test_a_blob_that_can_never_be_kept_is_refused_before_it_is_read(
    stub: StubFrontend, twins: Twins, directory: Path
) -> None:
    client = twins.connect(stub.url, cache=keeping(directory, max_bytes=250))
    kept = client.cached_path(stub.add(bytes(100)))
    stub.requests.clear()
    with pytest.raises(TooLarge, match="251 bytes, and the cache may hold 250"):
        client.cached_path(stub.add(bytes(251)))
    assert stub.seen("GET") == [] and kept.exists()


@pytest.mark.parametrize("how", ["cut", "other bytes", "no sum"])
def test_a_file_that_is_not_what_came_is_fetched_again(
    stub: StubFrontend, twins: Twins, directory: Path, how: str
) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, cache=keeping(directory))
    path = client.cached_path(blob)
    path.chmod(0o600)
    if how == "cut":
        os.truncate(path, 1000)
    elif how == "other bytes":
        path.write_bytes(bytes(len(DATA)))
        assert client.cached_path(blob) == path  # nobody looked
    else:
        (directory / "sums" / blob).unlink()
    assert client.cached_path(blob, verify=True).read_bytes() == DATA
    assert cache_of(directory).is_intact(BlobId.parse(blob))


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_cache_that_others_may_write_into_is_not_trusted(
    stub: StubFrontend, twins: Twins, directory: Path, mode: int
) -> None:
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(AccessDenied, match="chmod go-w"):
        twins.connect(stub.url).cached_path(stub.add(DATA), cache_dir=directory)


@pytest.mark.parametrize("inside", ["", "blobs", "sums", "incoming", "names"])
def test_neither_a_hit_nor_a_miss_is_from_where_others_may_write(
    stub: StubFrontend, twins: Twins, directory: Path, inside: str
) -> None:
    """A hit looked at nothing, and a miss at the top alone: whoever could write below it put any bytes under an id."""
    client = twins.connect(stub.url, cache=keeping(directory))
    here, other = stub.add(DATA), stub.add(b"other")
    client.cached_path(here)
    (directory / inside).chmod(0o770)
    for blob in (here, other):
        with pytest.raises(AccessDenied, match=re.escape(f"{directory / inside} can be written by others")):
            client.cached_path(blob)
    assert not (directory / "blobs" / other).exists()
    (directory / inside).chmod(0o755)
    assert client.cached_path(here).read_bytes() == DATA


def test_what_belongs_to_somebody_else_is_not_trusted(
    stub: StubFrontend, twins: Twins, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = twins.connect(stub.url, cache=keeping(directory))
    blob = stub.add(DATA)
    client.cached_path(blob)
    owner = directory.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner:
        with pytest.raises(AccessDenied, match=rf"belongs to another user \(uid {owner}\)"):
            client.cached_path(blob)
    else:
        assert client.cached_path(blob).read_bytes() == DATA, "root may write anywhere"
    if not os.getuid():
        os.chown(directory / "blobs", owner + 2, -1)
        with pytest.raises(AccessDenied, match=rf"blobs belongs to another user \(uid {owner + 2}\)"):
            client.cached_path(blob)


def test_offline_a_hit_needs_no_network_and_a_miss_says_so(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    blob, other = stub.add(DATA), stub.add(b"other")
    twins.connect(stub.url, cache=keeping(directory)).cached_path(blob)
    stub.requests.clear()
    client = twins.connect(stub.url, cache=keeping(directory, offline=True))
    assert client.cached_path(blob).read_bytes() == DATA
    with pytest.raises(Offline, match=rf"{other} is not in the cache .*AMBRY_OFFLINE"):
        client.cached_path(other)
    with pytest.raises(Offline, match="offline"):
        client.get_bytes(other)
    with pytest.raises(ConnectionError):
        client.put(b"x")
    with pytest.raises(Offline, match="was never looked up"):
        client.cached_path("some/name")
    for signed in (f"http://u:WORD@store/{other}?sig=WORD", "http://store/named/a/c/n?sig=WORD#WORD"):
        with pytest.raises(Offline, match="http://store") as raised:
            client.cached_path(signed)
        assert "WORD" not in raised.value.message
    assert stub.connections == 1 and stub.requests == []


def test_one_waits_while_another_fetches(stub: StubFrontend, twins: Twins, directory: Path) -> None:
    blob = stub.add(DATA)
    cache = cache_of(directory)
    arrival = cache.claim(BlobId.parse(blob))
    assert arrival is not None and cache.claim(BlobId.parse(blob)) is None
    with pytest.raises(RequestTimeout, match=rf"process {os.getpid()} is still fetching"):
        twins.connect(stub.url, fake_time=True).cached_path(blob, cache_dir=directory, timeout=Timeout(total=60))
    found: list[Path] = []
    waiting = threading.Thread(
        target=lambda: found.append(twins.connect(stub.url).cached_path(blob, cache_dir=directory))
    )
    waiting.start()
    arrival.target.write_bytes(DATA)
    arrival.admit(hexdigest(DATA))
    waiting.join()
    arrival.release()
    assert found[0].read_bytes() == DATA
    assert stub.requests == []


def test_threads_that_want_the_same_fetch_it_once(stub: StubFrontend, directory: Path) -> None:
    twins = Twins("sync")
    blob = stub.add(DATA)
    client = twins.connect(stub.url, cache=keeping(directory))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(client.cached_path(blob))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and {path.read_bytes() for path in found} == {DATA}
    assert len(stub.seen("GET")) == 1
    twins.close()


def test_a_name_is_looked_up_each_time_and_what_it_was_is_used_offline_alone(tmp_path: Path, twins: Twins) -> None:
    with named_frontend(tmp_path / "metadata") as url:
        said: dict[str, Any] = {"account": "ml", "container": "models", "service_id": "test"}
        client = twins.connect(url, cache=keeping(tmp_path / "cache"), **said)
        client.put(b"one", name="a/model")
        assert client.cached_path("a/model").read_bytes() == b"one"
        client.put(b"two", name="a/model")
        assert client.cached_path("ambry://ml/models/a/model").read_bytes() == b"two"
    alone = twins.connect(url, cache=keeping(tmp_path / "cache", offline=True), **said)
    assert alone.cached_path("a/model").read_bytes() == b"two"
    elsewhere = twins.connect("http://127.0.0.1:1", cache=keeping(tmp_path / "cache", offline=True), **said)
    with pytest.raises(Offline, match="was never looked up"):
        elsewhere.cached_path("a/model")


def test_the_directory_is_where_caches_of_a_user_are() -> None:
    assert user_cache({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == Path("/x/ambry")
    assert user_cache({"HOME": "/h"}) == Path("/h/.cache/ambry")
