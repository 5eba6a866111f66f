"""What is stored stays in the cache as it goes out: whole and right, or not at all, and never an error of whoever stores."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ambry import AmbryClient, BlobInfo, CacheConfig
from ambry.client.cache import BlobCache
from ambry.client.cache_draft import CacheDraft, enter_file
from tests.support.blob_cache import cache_of, files_in, kept_in
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend

DATA = content(7, 3_000_001)


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return cache_of(tmp_path / "cache")


@pytest.fixture
def info(stub: StubFrontend) -> BlobInfo:
    with AmbryClient([stub.url]) as client:
        return client.head(stub.add(DATA))


def draft_of(cache: BlobCache, data: bytes) -> CacheDraft:
    draft = CacheDraft(cache)
    for start in range(0, len(data), 1_000_000):
        draft.write(memoryview(data)[start : start + 1_000_000])
    return draft


def test_what_was_stored_is_read_here_without_a_request(stub: StubFrontend, info: BlobInfo, cache: BlobCache) -> None:
    path = draft_of(cache, DATA).enter(info)
    stub.requests.clear()
    with AmbryClient([stub.url], cache=CacheConfig(directory=cache.directory)) as client:
        assert client.cached_path(info.id) == path == cache.path_of(info.id)
    assert path.read_bytes() == DATA and cache.is_intact(info.id) and stub.requests == []
    assert files_in(cache.directory) == {"CACHEDIR.TAG", "lock", f"blobs/{info.id}", f"sums/{info.id}"}
    assert draft_of(cache, DATA).enter(info) == path  # Of somebody who stored the same at the same time.


def test_a_draft_has_no_name_until_it_is_whole(info: BlobInfo, cache: BlobCache) -> None:
    """Who is killed leaves nothing: what has no name goes with the last who has it open."""
    draft = draft_of(cache, DATA)
    assert files_in(cache.directory) == {"CACHEDIR.TAG"}
    draft.close()
    assert draft.enter(info) is None and not cache.has(info.id)


def test_what_is_not_the_blob_does_not_enter(info: BlobInfo, cache: BlobCache, tmp_path: Path) -> None:
    assert draft_of(cache, DATA[:-1]).enter(info) is None
    assert draft_of(cache, DATA[:-1] + b"x").enter(info) is None
    (tmp_path / "file").write_bytes(DATA[1:] + b"x")
    assert enter_file(cache, info, tmp_path / "file") is None
    assert not cache.has(info.id) and not files_in(cache.directory) - {"CACHEDIR.TAG", "lock"}


def test_the_bound_of_the_cache_holds(info: BlobInfo, tmp_path: Path) -> None:
    small = cache_of(tmp_path / "small", len(DATA) - 1)
    other = kept_in(small, b"other")
    assert draft_of(small, DATA).enter(info) is None and small.has(other)
    enough = cache_of(tmp_path / "small", len(DATA) + 1)
    assert draft_of(enough, DATA).enter(info) is not None and not enough.has(other)


def test_a_blob_that_another_process_fetches_is_left_to_it(info: BlobInfo, cache: BlobCache) -> None:
    arrival = cache.claim(info.id)
    assert arrival is not None and draft_of(cache, DATA).enter(info) is None
    arrival.release()


def test_a_file_enters_by_a_link_or_by_a_copy(info: BlobInfo, cache: BlobCache, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    path = enter_file(cache, info, tmp_path / "file")
    assert path is not None and path.samefile(tmp_path / "file")
    cache.remove(info.id)
    other = Path("/dev/shm") / f"ambry-test-{os.getpid()}"
    try:
        other.write_bytes(DATA)
        path = enter_file(cache, info, other)
        assert path is not None and path.read_bytes() == DATA and not path.samefile(other)
    finally:
        other.unlink()


def test_where_no_file_can_be_nothing_fails(info: BlobInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").write_text("no directory")
    assert draft_of(cache_of(tmp_path / "none"), DATA).enter(info) is None
    cache = cache_of(tmp_path / "cache")
    draft = draft_of(cache, DATA)
    monkeypatch.setattr(os, "link", lambda *args, **said: (_ for _ in ()).throw(OSError("no links here")))
    assert draft.enter(info) is None and not cache.has(info.id)
