"""What enters a cache of blobs and what goes, among threads, forked children and those who were killed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry import BlobId, ChecksumMismatch, RequestTimeout
from ambry.client import locked_file
from ambry.client.cache import BlobCache
from ambry.client.cache_plan import CachedBlob
from ambry.client.locked_file import try_lock
from ambry.clock import SystemClock
from tests.support.blob_cache import cache_of, files_in, kept_in, new_id, used_long_ago
from tests.support.content import content
from tests.support.stub_frontend import hexdigest

DATA = content(5, 300_001)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_bytes_that_a_disk_changed_do_not_enter(directory: Path) -> None:
    cache = cache_of(directory)
    blob = new_id()
    arrival = cache.claim(blob)
    assert arrival is not None
    arrival.target.write_bytes(b"other bytes")
    with pytest.raises(ChecksumMismatch, match="read back"):
        arrival.admit(hexdigest(DATA))
    arrival.release()
    assert cache.find(blob) is None and files_in(directory) <= {"CACHEDIR.TAG", "lock"}


def test_what_killed_downloads_left_goes_after_a_day_or_when_it_is_asked_for(directory: Path) -> None:
    cache = cache_of(directory)
    old, new, running = new_id(), new_id(), new_id()
    for blob in (old, new, running):
        arrival = cache.claim(blob)
        assert arrival is not None
        arrival.target.with_name(f"{blob}.{blob}.part").write_bytes(bytes(5000))
        if blob is running:
            continue
        arrival._held.close()  # as a kill does
        if blob is old:
            for path in (directory / "incoming").glob(f"{old}*"):
                used_long_ago(path, 100_000)
    assert cache.sweep(24 * 3600) >= 5000
    left = {name.partition(".")[0] for name in files_in(directory / "incoming")}
    assert left == {str(new), str(running)}
    assert cache.sweep(0) >= 5000
    assert {name.partition(".")[0] for name in files_in(directory / "incoming")} == {str(running)}


def test_a_cache_whose_lock_somebody_keeps_is_told_in_the_end(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped in it was waited for without an end."""
    monkeypatch.setattr(locked_file, "WAIT_S", 0.05)
    cache = cache_of(directory)
    blob = kept_in(cache, DATA)
    held = try_lock(directory / "lock")
    assert held is not None
    says = f"{directory}/lock: process {os.getpid()} has had it locked for .* or name another cache .AMBRY_CACHE_DIR"
    with pytest.raises(RequestTimeout, match=says):
        cache.remove(blob)
    # The sum that it would keep is kept the next time.
    assert cache.find(blob, sha256=hashlib.sha256(DATA).hexdigest()) == cache.path_of(blob)
    held.close()
    assert cache.remove(blob)


@pytest.mark.parametrize("how", ["shrink", "remove", "drop_unused"])
@pytest.mark.parametrize("lost", ["bytes", "sum"])
def test_an_entry_that_lost_something_goes_as_any_other(directory: Path, lost: str, how: str) -> None:
    """It was passed over by all of them, counted for ever, and pushed out those that were intact."""
    cache = cache_of(directory)
    blob = kept_in(cache, DATA)
    path = cache.path_of(blob)
    if lost == "bytes":
        path.chmod(0o600)
        os.truncate(path, 1000)
    else:
        (directory / "sums" / str(blob)).unlink()
    used_long_ago(path, 1000)
    assert [each.id for each in cache.entries()] == [blob] and cache.find(blob) is None
    if how == "remove":
        assert cache.remove(blob) and not cache.remove(blob)
    else:
        gone = cache.shrink(0) if how == "shrink" else cache.drop_unused(500)
        assert [each.id for each in gone] == [blob]
    assert files_in(directory) == {"CACHEDIR.TAG", "lock"}


def test_what_somebody_asked_for_meanwhile_stays(directory: Path) -> None:
    asked_for: list[BlobId] = []

    class Busy(BlobCache):
        """Where a blob is asked for as soon as all were listed."""

        def entries(self) -> Iterator[CachedBlob]:
            found = list(super().entries())
            for blob in asked_for:
                assert self.find(blob) is not None
            yield from found

    cache = Busy(directory, max_bytes=1 << 30, clock=SystemClock())
    one, two = kept_in(cache, b"one"), kept_in(cache, b"two")
    for blob in (one, two):
        used_long_ago(cache.path_of(blob), 1000)
    asked_for.append(one)
    assert [each.id for each in cache.drop_unused(500)] == [two]
    used_long_ago(cache.path_of(one), 1000)
    assert cache.shrink(0) == []
    asked_for.clear()
    assert [each.id for each in cache.shrink(0)] == [one]


def test_nobody_is_kept_waiting_while_the_entries_are_listed(directory: Path) -> None:
    """20,000 were listed under the lock, for a second and a half, twice for each blob that came."""
    free: list[bool] = []

    class Watched(BlobCache):
        def entries(self) -> Iterator[CachedBlob]:
            if (directory / "lock").exists():
                held = try_lock(directory / "lock")
                free.append(held is not None)
                if held is not None:
                    held.close()
            return super().entries()

    cache = Watched(directory, max_bytes=1 << 30, clock=SystemClock())
    kept_in(cache, DATA)
    cache.shrink(0)
    assert free == [True, True] and files_in(directory) == {"CACHEDIR.TAG", "lock"}


def test_a_blob_is_on_the_disk_before_it_has_its_place(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(number: int) -> None:
        assert not list((directory / "blobs").iterdir())
        synced.append(str(Path(f"/proc/self/fd/{number}").readlink().relative_to(directory)))
        fsync(number)

    monkeypatch.setattr(os, "fsync", note)
    blob = kept_in(cache_of(directory), DATA)
    assert synced[0] == f"incoming/{blob}" and synced[1].startswith(f"sums/{blob}") and synced[2] == "sums"


def test_a_child_that_was_forked_in_the_cache_leaves_it_to_the_parent(directory: Path) -> None:
    """A thread was in the cache when workers were forked: every other process waited until these ended."""
    cache = cache_of(directory)
    blob = new_id()
    arrival = cache.claim(blob)
    assert arrival is not None
    if (pid := os.fork()) == 0:
        try:
            arrival.release()  # as the end of a block does, which the child leaves too
        finally:
            os._exit(0 if (directory / "incoming" / f"{blob}.lock").exists() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert cache.claim(blob) is None
    arrival.release()
    assert cache.claim(blob) is not None


def test_what_is_on_its_way_counts_as_held(directory: Path) -> None:
    cache = cache_of(directory, max_bytes=1000)
    kept = new_id()
    arrival = cache.claim(kept)
    assert arrival is not None
    arrival.target.write_bytes(bytes(600))
    arrival.admit("")
    arrival.release()
    other = cache.claim(new_id())
    assert other is not None
    other.target.write_bytes(bytes(500))
    cache.make_room(new_id(), 100)
    assert list(cache.entries()) == []
