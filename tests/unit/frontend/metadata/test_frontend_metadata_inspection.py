"""Whatever is wrong in a store is found and named; a sound one has nothing to be found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from frontend.metadata.inspection import findings
from frontend.metadata.rows import row_of
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import LocalPut, Put, Stamp, Version
from tests.support.metadata_stores import opened, sqlite_store

NEWER = Version(Space.NAME, 1, b"a", Stamp(1 << 60, 1), b"v", 6)


def columns(version: Version) -> str:
    space, scope, key, time, datacenter, value, seq, checksum = row_of(version)
    shown = "NULL" if value is None else f"x'{value.hex()}'"
    return f"({space}, {scope}, x'{key.hex()}', {time}, {datacenter}, {shown}, {seq}, {checksum})"


INTO_PAST = "INSERT INTO past (space, scope, key, time, datacenter, value, seq, checksum) VALUES "

FAULTS = {
    "nothing": ("", []),
    "a turned bit": (
        "UPDATE register SET value = x'00' WHERE key = x'61'",
        ["in register: version 3 of b'a' in the metadata is damaged"],
    ),
    "a turned bit of the past": (
        "UPDATE past SET key = x'7a' WHERE seq = 1",
        ["in past: version 1 of b'z'", "b'z' is not served"],
    ),
    "a turned bit of a local row": ("UPDATE local SET value = x'00'", ["in local: the local row b'k'"]),
    "a lost version": ("DELETE FROM past WHERE seq = 1", ["the log ends at 5, and the tables hold 4 versions"]),
    "a lost register": (
        "DELETE FROM register WHERE key = x'61'",
        ["b'a' is not served", "the log ends at 5, and the tables hold 4"],
    ),
    "a newer version in the past": (
        f"UPDATE head SET seq = 6, time = {1 << 60}; {INTO_PAST}{columns(NEWER)}",
        ["the register b'a' has a newer version in its past"],
    ),
    "a number twice": (
        f"{INTO_PAST}{columns(Version(Space.NAME, 1, b'b', Stamp(1, 1), None, 3))}",
        ["the register b'a' has a version twice", "the tables hold 6 versions"],
    ),
    "a clock that is behind": ("UPDATE head SET time = 4", ["the clock stands at 4"]),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_wrong_is_named(tmp_path: Path, fault: str) -> None:
    script, expected = FAULTS[fault]
    path = tmp_path / "m.sqlite"
    async with opened(sqlite_store(path)) as store:
        for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"b", None), (b"c", b"1")):
            await store.write([Put(Space.NAME, 1, key, value)])
        await store.write([LocalPut(LocalSpace.LEASE, b"k", b"v")])
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(script)
    async with opened(sqlite_store(path)) as store:
        found = [finding async for finding in findings(store, engine_checks=("PRAGMA integrity_check",))]
    assert len(found) == len(expected), found
    for told, wanted in zip(found, expected, strict=True):
        assert wanted in told


async def test_an_engine_that_finds_its_file_damaged_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "m.sqlite"
    async with opened(sqlite_store(path)) as store:
        await store.write([Put(Space.NAME, 1, b"%d" % number, bytes(3_000)) for number in range(50)])
    with closing(sqlite3.connect(path)) as sql:
        page = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = 'register_seq'").fetchone()[0]
    raw = bytearray(path.read_bytes())
    raw[page * 4096 - 4000 : page * 4096 - 100] = bytes(3_900)
    path.write_bytes(raw)
    async with opened(sqlite_store(path)) as store:
        told = [finding async for finding in findings(store, engine_checks=("PRAGMA integrity_check",))]
    assert any(finding.startswith("the engine says: ") for finding in told)
