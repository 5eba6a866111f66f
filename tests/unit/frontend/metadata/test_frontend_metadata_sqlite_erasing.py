"""What a space that forgets has let go is in no file of the store: looked for with planted bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from frontend.metadata.inspection import findings
from frontend.metadata.moving import dump
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Put
from tests.support.metadata_stores import opened, sqlite_store

KEYS = 400
SCOPE = 7 << 32 | 1


def value(number: int, generation: int) -> bytes:
    return b"\0" + f"PLANTED-{number:04d}-{generation}-".encode() + random.Random(number).randbytes(90 + number % 200)


def found_in_files(directory: Path, generation: int) -> list[str]:
    """Names of files with what was planted, and how often."""
    return [
        f"{path.name}: {count}"
        for path in sorted(directory.iterdir())
        if (count := sum(f"PLANTED-{number:04d}-{generation}-".encode() in path.read_bytes() for number in range(KEYS)))
    ]


async def fill(store: MetadataStore, generation: int, chance: random.Random) -> None:
    """Among other rows, so that pages split and rows move about."""
    numbers = chance.sample(range(KEYS), KEYS)
    for at in range(0, KEYS, 4):
        puts = [
            (
                Put(Space.CONTAINER_KEY, SCOPE, number.to_bytes(4, "big"), value(number, generation)),
                Put(Space.NAME, SCOPE, b"name %d" % number, chance.randbytes(chance.randrange(1, 400))),
            )
            for number in numbers[at : at + 4]
        ]
        await store.write([put for each in puts for put in each])


async def test_a_deleted_key_is_in_no_file_of_the_store(tmp_path: Path) -> None:
    chance = random.Random(11)
    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as store:
        await fill(store, 1, chance)
        assert found_in_files(tmp_path, 1) != []
        await fill(store, 2, chance)
        assert found_in_files(tmp_path, 1) == []
        for at in range(0, KEYS, 4):
            keys = [number.to_bytes(4, "big") for number in range(at, at + 4)]
            await store.write([Put(Space.CONTAINER_KEY, SCOPE, key, b"\1gone") for key in keys])
        assert found_in_files(tmp_path, 1) == found_in_files(tmp_path, 2) == []
        assert [told async for told in findings(store)] == []
    assert found_in_files(tmp_path, 2) == []


async def test_a_key_that_a_reader_kept_in_the_wal_goes_with_the_next_write(tmp_path: Path) -> None:
    import sqlite3

    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as store:
        await store.write([Put(Space.CONTAINER_KEY, SCOPE, b"k", value(1, 1))])
        reader = sqlite3.connect(tmp_path / "meta.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM register").fetchone()
        await store.write([Put(Space.CONTAINER_KEY, SCOPE, b"k", b"\1gone")])
        reader.execute("COMMIT")
        reader.close()
        await store.write([Put(Space.NAME, SCOPE, b"another", b"x")])
        await store.head()
        await store.write([Put(Space.NAME, SCOPE, b"one more", b"x")])
        assert found_in_files(tmp_path, 1) == []


async def test_a_dump_has_nothing_of_what_was_deleted(tmp_path: Path) -> None:
    from frontend.metadata.dump import DumpHeader

    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as store:
        await store.write([Put(Space.CONTAINER_KEY, SCOPE, b"k", value(1, 1))])
        await store.write([Put(Space.CONTAINER_KEY, SCOPE, b"k", b"\1gone")])
        out = bytearray()
        end = await dump(store, DumpHeader("test", 1, 1), out.extend)
        assert end.versions == 2
        assert b"PLANTED" not in out


@pytest.mark.parametrize("generation", [1])
def test_what_is_planted_is_found_where_it_is(tmp_path: Path, generation: int) -> None:
    (tmp_path / "file").write_bytes(b"xx" + value(3, generation))
    assert found_in_files(tmp_path, generation) == ["file: 1"]
