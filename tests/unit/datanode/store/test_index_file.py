"""The file of an index: what LMDB would take without a word, or die of, is refused; its map is small, and grows."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import IndexCorrupt, InsufficientStorage, Overloaded
from datanode.store import index_file
from datanode.store.files import OsFiles
from datanode.store.index_file import FILE_NAMES, MAP_SIZE_MIN, META_BYTES, IndexFile
from datanode.store.tables import Table, Writing

GIVE_UP_S = 60.0
COUNT_PER_MAP = 10_000
"""Keys of `put` that are more than the smallest map holds."""


def opened(directory: Path) -> IndexFile:
    directory.mkdir(exist_ok=True)
    return OsFiles().open_tables(directory)


def put(count: int, start: int = 0, size: int = 100) -> Callable[[Writing], None]:
    def change(writing: Writing) -> None:
        for number in range(start, start + count):
            writing.put(Table.ENTRIES, number.to_bytes(8, "big"), bytes(size))

    return change


def made(directory: Path) -> Path:
    tables = opened(directory)
    tables.write(put(2_000))
    tables.close()
    return directory / FILE_NAMES[0]


@pytest.mark.parametrize("size", [0, 1, META_BYTES - 1, META_BYTES, META_BYTES + 4096, 100_000])
def test_a_file_that_was_cut_is_refused_wherever_it_was_cut(tmp_path: Path, size: int) -> None:
    path = made(tmp_path)
    assert path.stat().st_size > 100_000
    with path.open("r+b") as file:
        file.truncate(size)
    with pytest.raises(IndexCorrupt):
        opened(tmp_path)


def test_a_refused_file_may_be_opened_again_by_this_process(tmp_path: Path) -> None:
    path = made(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100_000])
    with pytest.raises(IndexCorrupt):
        opened(tmp_path)
    path.write_bytes(whole)
    opened(tmp_path).close()


def test_a_page_that_the_disk_cannot_read_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through LMDB's map it is a SIGBUS, at every start."""
    path = made(tmp_path)
    original = Path.open

    def rotten(self: Path, *arguments: Any, **named: Any) -> Any:
        file = original(self, *arguments, **named)
        if self == path:
            file.close()
            return Rotten(original(self, *arguments, **named))
        return file

    monkeypatch.setattr(Path, "open", rotten)
    with pytest.raises(IndexCorrupt, match="Input/output error"):  # so it is rebuilt from the log
        opened(tmp_path)


class Rotten:
    """A file whose second piece cannot be read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._pieces = 0

    def __enter__(self) -> Rotten:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()

    def readinto(self, buffer: bytearray) -> int:
        self._pieces += 1
        if self._pieces == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return int(self._file.readinto(buffer))


# --- the map ---


def test_the_map_starts_small_and_grows_with_what_is_written(tmp_path: Path) -> None:
    """Each was 64 GiB: the address space of a process ended at 2,047 of them."""
    tables = opened(tmp_path)
    sizes = [tables.map_size]
    for number in range(4):
        tables.write(put(COUNT_PER_MAP, number * COUNT_PER_MAP))
        sizes.append(tables.map_size)
    assert sizes[0] == MAP_SIZE_MIN
    assert sizes == sorted(sizes)
    assert sizes[-1] <= 4 * (tmp_path / FILE_NAMES[0]).stat().st_size
    assert tables.count(Table.ENTRIES) == 4 * COUNT_PER_MAP
    tables.close()
    again = opened(tmp_path)
    assert sizes[-1] <= again.map_size <= 4 * (tmp_path / FILE_NAMES[0]).stat().st_size
    assert again.count(Table.ENTRIES) == 4 * COUNT_PER_MAP
    again.close()


def test_a_transaction_that_finds_the_map_full_is_undone_and_done_again(tmp_path: Path) -> None:
    tables = opened(tmp_path)
    before: list[int] = []

    def change(writing: Writing) -> None:
        assert writing.get(Table.META, b"done") is None
        writing.put(Table.META, b"done", b"once")
        before.append(tables.map_size)
        put(COUNT_PER_MAP)(writing)

    tables.write(change)
    assert before == [MAP_SIZE_MIN, 2 * MAP_SIZE_MIN]
    assert tables.count(Table.ENTRIES) == COUNT_PER_MAP
    tables.close()


def test_the_map_grows_in_the_midst_of_checkpoints_while_others_read(tmp_path: Path) -> None:
    """To grow is to map anew: a reader that were not waited for would read from where nothing is any more."""
    tables = opened(tmp_path)
    tables.write(put(300))
    stop = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        try:
            while not stop.wait(0.0005):  # else they keep the interpreter, and the test takes a minute
                if tables.get(Table.ENTRIES, bytes(8)) != bytes(100):
                    wrong.append("an entry was not found")
                page = tables.page(Table.ENTRIES, b"", 200)
                if [pair.key for pair in page] != [number.to_bytes(8, "big") for number in range(200)]:
                    wrong.append("a page is not what was written")
        except Exception as error:
            wrong.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    sizes = {tables.map_size}
    try:
        while len(sizes) < 5:
            try:
                tables.write(put(500, tables.count(Table.ENTRIES), size=1_900))
            except Overloaded:
                continue  # a reader was not run for long; the next checkpoint tries again
            sizes.add(tables.map_size)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    tables.close()


def test_a_reader_that_hangs_keeps_the_map_small_and_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs under a page of one reader stops neither the others nor, for ever, whoever writes."""
    monkeypatch.setattr(index_file, "BAR_S", 0.01)
    tables = opened(tmp_path)
    tables.write(put(100))
    env = tables._enter()  # what a reader does first, and does not come back from
    with pytest.raises(Overloaded, match="cannot grow"):
        tables.write(put(COUNT_PER_MAP))
    assert tables.get(Table.ENTRIES, bytes(8)) == bytes(100)
    assert (tables.count(Table.ENTRIES), tables.map_size) == (100, MAP_SIZE_MIN)
    assert env is not None
    tables._leave()
    tables.write(put(COUNT_PER_MAP))
    assert tables.count(Table.ENTRIES) == COUNT_PER_MAP
    tables.close()


def test_an_index_as_large_as_may_be_is_full_and_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "MAP_SIZE_MAX", 2 * MAP_SIZE_MIN)
    tables = opened(tmp_path)
    tables.write(put(100))
    with pytest.raises(InsufficientStorage, match=str(2 * MAP_SIZE_MIN)):
        tables.write(put(5 * COUNT_PER_MAP))
    assert tables.count(Table.ENTRIES) == 100
    tables.close()


# --- the limits of a process ---


def in_a_process(directory: Path, program: str) -> str:
    """What `program` prints, run with this module's names; its limits end with it."""
    source = f"import sys\nfrom pathlib import Path\nfrom {__name__} import *\nroot = Path(sys.argv[1])\n{program}"
    done = subprocess.run(
        [sys.executable, "-c", source, str(directory)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[4],
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def limit_address_space(more_bytes: int) -> None:
    """Let this process map only so much more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, resource.RLIM_INFINITY))


def lift_address_space() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_many_indexes_share_the_address_space_of_one_process(tmp_path: Path) -> None:
    """ENOMEM at 2,047 partitions, of 47 bits of addresses. Here 100, of less than what two had."""
    program = """
from datanode.store.index_file import DESCRIPTORS
limit_address_space(1 << 30)
opened_all = [opened(root / str(number)) for number in range(100)]
descriptors = len(list(Path("/proc/self/fd").iterdir()))
print(len(opened_all), DESCRIPTORS * 100 <= descriptors <= DESCRIPTORS * 100 + 10)
"""
    assert in_a_process(tmp_path, program) == "100 True\n"


def test_an_index_that_is_opened_again_takes_little_memory(tmp_path: Path) -> None:
    """One of 1,000 partitions took 1 MiB after the second start, 1.1 GB together."""
    for number in range(40):
        opened(tmp_path / str(number)).close()
    program = """
def anonymous_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
before = anonymous_kib()
opened_all = [opened(root / str(number)) for number in range(40)]
print((anonymous_kib() - before) // 40 < 200)
"""
    assert in_a_process(tmp_path, program) == "True\n"


def test_a_map_that_may_not_grow_stays_as_it_was(tmp_path: Path) -> None:
    """LMDB gives the old map up before it asks for the new one, and would read from where nothing is: SIGSEGV."""
    program = """
tables = opened(root)
tables.write(put(1_000))
limit_address_space(1 << 20)
try:
    tables.write(put(100_000))
except Overloaded as error:
    print("Cannot allocate memory" in error.message)
print(tables.count(Table.ENTRIES), tables.get(Table.ENTRIES, bytes(8)) == bytes(100))
lift_address_space()
tables.write(put(100_000))
print(tables.count(Table.ENTRIES))
"""
    assert in_a_process(tmp_path, program) == "True\n1000 True\n100000\n"


def test_it_is_closed_when_what_is_being_written_is_written(tmp_path: Path) -> None:
    """LMDB ended the transaction of the other thread, and whoever came next waited for ever for the lock that it left."""
    tables = opened(tmp_path)
    closing = threading.Thread(target=tables.close, daemon=True)
    ended_early = []

    def change(writing: Writing) -> None:
        put(100)(writing)
        closing.start()
        closing.join(0.05)  # ample for one that does not wait
        ended_early.append(not closing.is_alive())
        put(100, start=100)(writing)

    tables.write(change)
    closing.join(GIVE_UP_S)
    assert (ended_early, closing.is_alive()) == ([False], False)
    again = opened(tmp_path)
    assert again.count(Table.ENTRIES) == 200
    again.close()


def test_a_close_that_waited_while_the_map_grew_ends_when_the_last_reader_leaves(tmp_path: Path) -> None:
    """The end of the growth let readers in again, and the last of them told nobody."""
    tables = opened(tmp_path)
    tables.write(put(10))
    closing = threading.Thread(target=tables.close, daemon=True)
    with tables._transaction():
        closing.start()
        while not tables._bars:
            closing.join(0.001)
        with pytest.raises(Overloaded):
            tables._grow(2 * MAP_SIZE_MIN)
    closing.join(GIVE_UP_S)
    assert not closing.is_alive()
