"""A lock is waited for, as long as was said."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from ambry.client.flock_within import flock_within


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a"
    made.touch()
    return made


def words() -> str:
    return "somebody has it"


def test_what_nobody_has_is_had_and_shared_with_who_shares_it(path: Path) -> None:
    with path.open() as one, path.open() as other:
        for each in (one, other):
            flock_within(each.fileno(), fcntl.LOCK_SH, 0, path, words)
        with pytest.raises(TimeoutError) as found:
            flock_within(one.fileno(), fcntl.LOCK_EX, 0.01, path, words)
    assert (found.value.strerror, found.value.filename) == ("somebody has it", str(path))


def test_it_is_had_when_who_has_it_gives_it_back(path: Path) -> None:
    holder = os.open(path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with path.open() as file:
        waits = threading.Thread(target=flock_within, args=(file.fileno(), fcntl.LOCK_EX, 60, path, words))
        waits.start()
        os.close(holder)
        waits.join(60)
        assert not waits.is_alive()
        with path.open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
