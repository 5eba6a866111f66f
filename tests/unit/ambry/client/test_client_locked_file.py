"""Locks that processes and threads hold, and that go with them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ambry.client import locked_file
from ambry.client.locked_file import LockedFile, listed, locked_at_once, locked_by, try_lock


@contextmanager
def forked_child() -> Generator[None]:
    """A child that was forked now and lives on until the end of the block."""
    if (pid := os.fork()) == 0:
        signal.alarm(300)
        signal.pause()
        os._exit(0)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


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


def test_a_child_that_was_forked_meanwhile_does_not_go_on_holding_it(tmp_path: Path) -> None:
    """A thread was in the cache when the workers of a data loader were forked: all processes waited for these to end."""
    held = try_lock(tmp_path / "lock")
    assert held is not None
    with forked_child():
        assert try_lock(tmp_path / "lock") is None, "the parent has it"
        held.close()
        again = try_lock(tmp_path / "lock")
        assert again is not None
        again.close()


def test_a_child_of_one_who_was_killed_does_not_hold_it_either(tmp_path: Path) -> None:
    """The one who fetched a blob was killed, its workers lived on, and others waited for the blob for ever."""
    path = tmp_path / "lock"
    told, tell = os.pipe()
    if (holder := os.fork()) == 0:
        signal.alarm(300)
        held = try_lock(path)
        if os.fork() == 0:
            signal.alarm(300)
            os.write(tell, b"%d %d" % (os.getpid(), held is not None))
        signal.pause()
        os._exit(0)
    worker = 0
    try:
        worker, was_held = (int(each) for each in os.read(told, 100).split())
        assert was_held and try_lock(path) is None
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(worker, 0)
        again = try_lock(path)
        assert again is not None
        again.close()
    finally:
        if worker:
            os.kill(worker, signal.SIGKILL)
        os.close(told)
        os.close(tell)


def test_a_child_that_was_forked_within_neither_has_the_file_nor_gives_the_lock_back(tmp_path: Path) -> None:
    with LockedFile(tmp_path / "lock") as file:
        file.lock(wait=True)
        if (pid := os.fork()) == 0:
            try:
                closed = file.closed
                file.close()
            finally:
                os._exit(0 if closed else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert try_lock(tmp_path / "lock") is None


def test_a_lock_on_a_file_that_was_removed_while_it_was_opened_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock, taken = tmp_path / "lock", fcntl.flock, [0]

    def late(file: LockedFile, how: int) -> None:
        if how & fcntl.LOCK_EX and not taken[0]:
            path.unlink()  # by the one who had it
        taken[0] += how & fcntl.LOCK_EX and 1
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    first = try_lock(path)
    assert first is not None and taken == [2] and os.path.samestat(os.fstat(first.fileno()), path.stat())
    assert try_lock(path) is None
    first.close()


def test_a_file_system_that_tells_another_file_each_time_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda one, two: False)
    with pytest.raises(OSError, match="another file each time"):
        try_lock(tmp_path / "lock")


def test_threads_that_wait_for_it_are_one_at_a_time_and_leave_nothing(tmp_path: Path) -> None:
    path, inside, most = tmp_path / "lock", [0], [0]

    def work() -> None:
        for _ in range(200):
            with locked_by(path):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and list(tmp_path.iterdir()) == []


def test_who_waits_is_told_in_the_end_who_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped (SIGSTOP) while it had a lock was waited for without a word, and without an end."""
    monkeypatch.setattr(locked_file, "WAIT_S", 0.05)
    path = tmp_path / "lock"
    with LockedFile(path) as held:
        held.lock(wait=False)
        says = f"process {os.getpid()} has had it locked for 0.05 s; it may be stopped: end it, and try again"
        with pytest.raises(TimeoutError, match=re.escape(says)) as raised, locked_by(path):
            pass
        assert raised.value.filename == str(path)
        monkeypatch.setattr(locked_file, "LOCKS", tmp_path / "nothing")
        with pytest.raises(TimeoutError, match="another process has had it"), locked_by(path):
            pass
    with locked_by(path):
        pass


def test_who_does_not_wait_leaves_nothing_either(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked_at_once(path):
        with pytest.raises(BlockingIOError), locked_at_once(path):
            pass
        assert path.exists()
    assert not path.exists()


def test_without_locks_and_where_none_can_be_made_nobody_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for path in (tmp_path / "link", tmp_path / "gone/lock"):
        with locked_by(path):
            pass

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "none here")

    monkeypatch.setattr(fcntl, "flock", refused)
    with locked_by(tmp_path / "lock"):
        assert listed(tmp_path) == ["link"]
    assert listed(tmp_path) == ["link"]


def test_without_locks_nothing_that_was_made_for_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty .part stayed beside each download, and an empty .ambry-upload beside each file that was put in parts."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "none here")

    monkeypatch.setattr(fcntl, "flock", refused)
    (tmp_path / "kept").write_text("x")
    for name in ("new", "kept"):
        with pytest.raises(OSError, match="none here"):
            try_lock(tmp_path / name)
    assert listed(tmp_path) == ["kept"]
