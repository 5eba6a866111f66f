"""Files of a BoundedFiles with bytes of their own, and calls that are stopped on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from datanode.store.bounded_files import BoundedFile, BoundedFiles
from tests.support.fake_files import FakeFiles
from tests.support.samples import content

WAIT_S = 30.0
SIZE = 500
BOUND = 3


def descriptors(below: Path) -> int:
    """How many files below a directory this process holds open."""
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            count += str(link.readlink()).startswith(str(below))
        except FileNotFoundError:
            continue  # the one that lists them
    return count


def path(root: Path, number: int) -> Path:
    return root / f"{number:03d}"


def fill(files: BoundedFiles, root: Path, count: int) -> list[BoundedFile]:
    """Files 0 to count - 1, each with bytes of its own, synced."""
    made = []
    for number in range(count):
        file = files.create(path(root, number))
        file.pwritev([content(number, SIZE)], 0)
        file.fdatasync()
        made.append(file)
    return made


def read(file: BoundedFile, size: int = SIZE, offset: int = 0) -> bytes:
    buffer = bytearray(size)
    return bytes(buffer[: file.pread(buffer, offset)])


def evict(files: BoundedFiles, root: Path, *, first: int = 900) -> list[BoundedFile]:
    """Open so many other files that all that may be closed is; returns those."""
    others = []
    for number in range(first, first + BOUND):
        file = files.create(path(root, number))
        file.pwritev([b"x"], 0)
        file.fdatasync()
        others.append(file)
    return others


class Held:
    """Stops the first call of one kind on one file, in the thread that makes it."""

    def __init__(self, disk: FakeFiles, call: str, name: str) -> None:
        self.arrived = threading.Event()
        self.go_on = threading.Event()

        def before(now: str, at: Path) -> None:
            if (now, at.name) == (call, name) and not self.arrived.is_set():
                self.arrived.set()
                if not self.go_on.wait(WAIT_S):
                    raise TimeoutError("the test never let it go on")

        disk.before = before


@contextmanager
def held(disk: FakeFiles, call: str, name: str, work: Callable[[], object]) -> Iterator[tuple[Held, Future[object]]]:
    """Run `work` in another thread up to the middle of `call` on file `name`; it goes on at the end at the latest."""
    hold = Held(disk, call, name)
    with ThreadPoolExecutor(1) as threads:
        try:
            future = threads.submit(work)
            assert hold.arrived.wait(WAIT_S)
            yield hold, future
        finally:
            hold.go_on.set()


def finish(hold: Held, future: Future[object]) -> object:
    hold.go_on.set()
    return future.result(WAIT_S)
