"""Files that are ours, are not, are of tomorrow, are damaged or are taken away, and what is said of each."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ambry.errors import AmbryError, DataCorrupt, FormatUnknown, MetadataUnavailable, StoreMismatch
from frontend.metadata import sqlite_file
from frontend.metadata.rows import SCHEMA
from frontend.metadata.spaces import Space
from frontend.metadata.sqlite_file import APPLICATION_ID, HeldConnection, SqliteFile, head_of
from frontend.metadata.store import MetadataStore, Put, Version
from tests.support.metadata_stores import opened, sqlite_store


def file_of(path: Path, *, cluster: str = "test", datacenter: int = 1) -> SqliteFile:
    return SqliteFile(path, cluster=cluster, datacenter=datacenter, random_source=random.Random(7))


def make(path: Path) -> None:
    file_of(path).connect().close()


async def put(store: MetadataStore, key: bytes) -> Version:
    (version,) = await store.write([Put(Space.NAME, 1, key, b"v")])
    return version


def test_a_file_that_is_not_there_is_made_and_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    make(path)
    raw = path.read_bytes()
    assert raw[:16] == b"SQLite format 3\0"
    assert int.from_bytes(raw[68:72], "big") == APPLICATION_ID
    with closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert sql.execute("SELECT cluster, datacenter, seq, time, length(store) FROM head").fetchall() == [
            ("test", 1, 0, 0, 16)
        ]


def test_every_transaction_is_synced(tmp_path: Path) -> None:
    with closing(file_of(tmp_path / "m.sqlite").connect()) as connection:
        assert connection.sql.execute("PRAGMA synchronous").fetchone() == (2,)


def later_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.execute(f"PRAGMA user_version = {SCHEMA + 1}")


def no_sqlite(path: Path) -> None:
    path.write_bytes(b"this is no database at all, " * 200)


def damaged_head(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[100:4096] = bytes(3996)
    path.write_bytes(raw)


def of_something_else(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("CREATE TABLE songs (title TEXT)")


def made_by_another(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA application_id = 7")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (later_schema, FormatUnknown, "a later release"),
        (no_sqlite, DataCorrupt, "is damaged: file is not a database; look with `ambry meta check`"),
        (damaged_head, DataCorrupt, "is damaged"),
        (of_something_else, StoreMismatch, "a SQLite file of something else; name another in metadata.path"),
        (made_by_another, StoreMismatch, "of something else"),
    ],
)
def test_a_file_that_must_not_be_used_is_refused_with_a_sentence_and_left_as_it_is(
    tmp_path: Path, change: Callable[[Path], None], error: type[AmbryError], says: str
) -> None:
    path = tmp_path / "m.sqlite"
    make(path)
    change(path)
    before = path.read_bytes()
    with pytest.raises(error, match=says):
        file_of(path).connect()
    assert path.read_bytes() == before


async def test_a_file_of_an_earlier_schema_is_brought_up_to_date_by_the_first_that_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.sqlite"
    async with opened(sqlite_store(path)) as store:
        await put(store, b"a")
    monkeypatch.setattr(sqlite_file, "SCHEMA", SCHEMA + 1)
    monkeypatch.setitem(sqlite_file._MIGRATIONS, SCHEMA, "ALTER TABLE head ADD COLUMN colour TEXT DEFAULT 'blue'; ")
    stores = [sqlite_store(path) for _ in range(4)]
    await asyncio.gather(*(store.reach() for store in stores))
    assert (await put(stores[0], b"b")).seq == 2
    await asyncio.gather(*(store.close() for store in stores))
    with closing(sqlite3.connect(path)) as sql:
        assert sql.execute("SELECT colour, seq FROM head").fetchall() == [("blue", 2)]
        assert sql.execute("PRAGMA user_version").fetchone() == (SCHEMA + 1,)


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.sqlite"
    make(path)
    with monkeypatch.context() as tomorrow:
        tomorrow.setattr(sqlite_file, "SCHEMA", SCHEMA + 1)
        tomorrow.setitem(sqlite_file._MIGRATIONS, SCHEMA, "ALTER TABLE head ADD COLUMN colour TEXT; not SQL")
        with pytest.raises(MetadataUnavailable, match="syntax error"):
            file_of(path).connect()
    async with opened(sqlite_store(path)) as store:
        await put(store, b"a")


@pytest.mark.parametrize("other", [("another", 1), ("test", 2)])
def test_a_file_of_another_cluster_or_datacenter_is_refused(tmp_path: Path, other: tuple[str, int]) -> None:
    path = tmp_path / "m.sqlite"
    make(path)
    with pytest.raises(StoreMismatch, match=r"name another in metadata\.path"):
        file_of(path, cluster=other[0], datacenter=other[1]).connect()


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MetadataUnavailable, match="is there a directory"):
        file_of(tmp_path / "no" / "m.sqlite").connect()


async def test_a_file_that_many_make_at_once_is_one(tmp_path: Path) -> None:
    stores = [sqlite_store(tmp_path / "m.sqlite", seed=number) for number in range(8)]
    await asyncio.gather(*(store.reach() for store in stores))
    heads = [await store.head() for store in stores]
    assert len({head.store for head in heads}) == 1
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_store_that_could_not_be_opened_is_opened_when_it_can_be(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "later" / "m.sqlite")
    with pytest.raises(MetadataUnavailable):
        await store.reach()
    with pytest.raises(MetadataUnavailable):
        await put(store, b"a")
    (tmp_path / "later").mkdir()
    assert (await put(store, b"a")).seq == 1
    await store.close()


async def test_a_file_that_is_put_in_place_of_ours_is_the_one_that_is_written(tmp_path: Path) -> None:
    """A backup was put back under a running frontend: what it acknowledged went to a file that had no name any more."""
    path = tmp_path / "m.sqlite"
    async with opened(sqlite_store(tmp_path / "other.sqlite")) as other:
        await put(other, b"from the backup")
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as sql:
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    async with opened(sqlite_store(path)) as store:
        await put(store, b"a")
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink()
        (tmp_path / "other.sqlite").rename(path)
        assert [v.key for v in await store.list(Space.NAME, 1)] == [b"from the backup"]
        assert (await put(store, b"b")).seq == 2
    async with opened(sqlite_store(path)) as store:
        assert [v.key for v in await store.list(Space.NAME, 1)] == [b"b", b"from the backup"]


async def test_a_damaged_row_is_refused_and_the_rest_is_served(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    async with opened(sqlite_store(path)) as store:
        await put(store, b"good")
        await put(store, b"bad")
        with closing(sqlite3.connect(path)) as sql, sql:
            sql.execute("UPDATE register SET value = x'00' WHERE key = ?", (b"bad",))
        with pytest.raises(DataCorrupt):
            await store.get(Space.NAME, 1, b"bad")
        outcomes = await asyncio.gather(put(store, b"bad"), put(store, b"good"), return_exceptions=True)
        assert isinstance(outcomes[0], DataCorrupt)
        assert isinstance(outcomes[1], Version)


def test_a_connection_is_made_anew_after_a_failure_that_lasts(tmp_path: Path) -> None:
    held = HeldConnection(file_of(tmp_path / "m.sqlite"))
    first = held.get()
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert "other processes" in held.explain(busy).message
    assert held.get() is first
    broken = sqlite3.OperationalError("disk I/O error")
    broken.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
    assert isinstance(held.explain(broken), MetadataUnavailable)
    assert held.get() is not first
    assert head_of(held.get().sql).seq == 0
    held.close()


async def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    # A copy of the file alone is all of it then. Each round uses all four connections.
    for each in range(20):
        path = tmp_path / f"{each}.sqlite"
        async with opened(sqlite_store(path)) as store:
            await store.write([Put(Space.NAME, 1, b"a", b"")])
            await store.list(Space.NAME, 1)
            await store.wait(0, 1.0)
        assert not path.with_name(f"{path.name}-wal").exists()
