"""Locks that processes and threads hold, and that go with them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ambry.client.locked_file import listed, try_lock


def test_one_has_it_at_a_time_and_the_next_one_after(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = try_lock(path)
    assert first is not None and try_lock(path) is None
    path.unlink()
    second = try_lock(path)  # another file: whoever removes it is done with it
    assert second is not None
    first.close()
    assert try_lock(path) is None
    second.close()
    assert try_lock(path) is not None


def test_threads_that_make_and_remove_it_are_never_two(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", [0], [0]

    def work() -> None:
        done = 0
        while done < 200:
            if (held := try_lock(path)) is None:
                continue
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            inside[0] -= 1
            path.unlink()
            held.close()
            done += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_nothing_is_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):
        try_lock(tmp_path / "lock")
    assert listed(tmp_path) == ["lock"] and listed(tmp_path / "nothing") == []
