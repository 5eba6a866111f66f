"""What an index relies on of its tables: of LMDB's file, and of those in memory that a simulation opens.

Whoever teaches the index to ask for more adds it here, so that the simulated ones cannot answer what LMDB would not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ambry.errors import InsufficientStorage, ReplicaUnavailable
from datanode.store.files import Files, OsFiles
from datanode.store.tables import Pair, Table, Tables, Writing
from tests.support.fake_files import FakeFiles

Make = Callable[[Path], Files]


def make_os(_root: Path) -> Files:
    return OsFiles()


def make_simulated(root: Path) -> Files:
    return FakeFiles(root, wholly_simulated=True)


@pytest.fixture(params=[make_os, make_simulated], ids=["lmdb", "simulated"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    make: Make = request.param
    files = make(tmp_path)
    files.make_directory(tmp_path / "index")
    return files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def tables(files: Files, directory: Path) -> Iterator[Tables]:
    opened = files.open_tables(directory)
    yield opened
    opened.close()


def put(*keys: bytes, table: Table = Table.ENTRIES, value: bytes = b"v") -> Callable[[Writing], None]:
    def change(writing: Writing) -> None:
        for key in keys:
            writing.put(table, key, value)

    return change


def test_new_tables_are_empty(tables: Tables) -> None:
    for table in Table:
        assert tables.get(table, b"a") is None
        assert tables.page(table, b"", 10) == []
        assert (tables.last_key(table), tables.count(table)) == (b"", 0)


def test_what_was_put_is_found_in_its_own_table(tables: Tables) -> None:
    tables.write(put(b"a", value=b"one"))
    tables.write(put(b"a", table=Table.META, value=b""))
    assert [tables.get(table, b"a") for table in Table] == [b"one", None, b"", None, None]
    assert [tables.count(table) for table in Table] == [1, 0, 1, 0, 0]


def test_many_are_found_at_once_in_the_order_in_which_they_are_asked_for(tables: Tables) -> None:
    tables.write(put(b"a", value=b"one"))
    tables.write(put(b"b", value=b"two"))
    assert tables.get_all(Table.ENTRIES, [b"b", b"x", b"a", b"b"]) == [b"two", None, b"one", b"two"]
    assert tables.get_all(Table.CHANGES, {b"a"}) == [None]
    assert tables.get_all(Table.ENTRIES, []) == []


def test_pages_go_from_a_key_on_in_the_order_of_bytes(tables: Tables) -> None:
    tables.write(put(b"b", b"\xff", b"a\0", b"a", b"ab"))
    whole = [Pair(key, b"v") for key in (b"a", b"a\0", b"ab", b"b", b"\xff")]
    assert tables.page(Table.ENTRIES, b"", 99) == whole
    assert tables.page(Table.ENTRIES, b"a\0", 2) == whole[1:3]
    assert tables.page(Table.ENTRIES, b"aa", 5) == whole[2:]
    assert tables.page(Table.ENTRIES, b"\xff\0", 5) == []
    assert tables.page(Table.ENTRIES, b"", 0) == []
    assert tables.last_key(Table.ENTRIES) == b"\xff"


def test_a_transaction_reads_what_it_wrote_and_others_do_not(tables: Tables) -> None:
    tables.write(put(b"a", value=b"old"))
    seen: list[bytes | None] = []

    def change(writing: Writing) -> None:
        writing.put(Table.ENTRIES, b"a", b"new")
        writing.delete(Table.ENTRIES, b"nothing")
        seen.extend((writing.get(Table.ENTRIES, b"a"), tables.get(Table.ENTRIES, b"a")))
        writing.delete(Table.ENTRIES, b"a")
        seen.extend((writing.get(Table.ENTRIES, b"a"), tables.get(Table.ENTRIES, b"a")))

    tables.write(change)
    assert seen == [b"new", b"old", None, b"old"]
    assert tables.get(Table.ENTRIES, b"a") is None


def test_a_transaction_that_raises_changes_nothing(tables: Tables) -> None:
    tables.write(put(b"a"))

    def change(writing: Writing) -> None:
        writing.put(Table.ENTRIES, b"b", b"v")
        writing.delete(Table.ENTRIES, b"a")
        raise KeyError("in the midst of it")

    with pytest.raises(KeyError):
        tables.write(change)
    assert tables.page(Table.ENTRIES, b"", 9) == [Pair(b"a", b"v")]
    tables.write(put(b"c"))
    assert tables.count(Table.ENTRIES) == 2


def test_what_was_written_is_there_when_opened_again(files: Files, directory: Path) -> None:
    for number in range(3):
        tables = files.open_tables(directory)
        assert tables.count(Table.CHANGES) == number
        tables.write(put(bytes([number]), table=Table.CHANGES))
        tables.close()


def test_tables_whose_file_was_deleted_are_new(files: Files, directory: Path) -> None:
    tables = files.open_tables(directory)
    tables.write(put(b"a"))
    tables.close()
    for name in files.list_directory(directory):
        files.unlink(directory / name)
    tables = files.open_tables(directory)
    assert tables.count(Table.ENTRIES) == 0
    tables.close()


def test_closed_tables_are_no_damaged_ones(files: Files, directory: Path) -> None:
    tables = files.open_tables(directory)
    tables.close()
    with pytest.raises(ReplicaUnavailable):
        tables.get(Table.ENTRIES, b"a")
    with pytest.raises(ReplicaUnavailable):
        tables.get_all(Table.ENTRIES, [b"a"])
    with pytest.raises(ReplicaUnavailable):
        tables.write(put(b"a"))
    tables.close()


def test_any_number_of_keys_finds_room(tables: Tables) -> None:
    """Ten times what the smallest map holds, in one transaction, against a dictionary."""
    rng = random.Random(7)
    model = {rng.randbytes(16): rng.randbytes(60) for _ in range(40_000)}
    calls: list[int] = []

    def change(writing: Writing) -> None:
        calls.append(1)
        for key, value in model.items():
            writing.put(Table.ENTRIES, key, value)
            writing.put(Table.CHANGES, key[:8], key)

    tables.write(change)
    assert len(calls) > 1, "room was made for it, and it began again"
    gone = rng.sample(sorted(model), 10_000)

    def again(writing: Writing) -> None:
        for key in gone:
            writing.delete(Table.ENTRIES, key)

    tables.write(again)
    for key in gone:
        del model[key]
    expected = [Pair(key, model[key]) for key in sorted(model)]
    found: list[Pair] = []
    while page := tables.page(Table.ENTRIES, found[-1].key + b"\0" if found else b"", 700):
        found += page
    assert found == expected
    assert tables.count(Table.CHANGES) == 40_000


def test_full_tables_refuse_and_stay_as_they_were(
    files: Files, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datanode.store.index_file.MAP_SIZE_MAX", 2 << 20)
    tables = files.open_tables(directory)
    if isinstance(files, FakeFiles):
        files.stored_tables(directory).bytes_max = 2 << 20
    tables.write(put(b"a", value=b"one"))
    with pytest.raises(InsufficientStorage):
        tables.write(put(*(number.to_bytes(4, "big") for number in range(9_000)), value=bytes(400)))
    assert tables.page(Table.ENTRIES, b"", 9) == [Pair(b"a", b"one")]
    tables.write(put(b"b", value=b"two"))
    assert tables.get_all(Table.ENTRIES, [b"a", b"b"]) == [b"one", b"two"]
    tables.close()
