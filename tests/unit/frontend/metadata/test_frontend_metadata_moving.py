"""Everything out of one store and into another."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from ambry.errors import DataCorrupt, StoreMismatch
from frontend.metadata import moving
from frontend.metadata.dump import DumpEnd, DumpHeader, DumpWriter, read_dump
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import LocalPut, MetadataStore, Put, Stamp, Version
from tests.support.metadata_stores import opened, sqlite_store

HEADER = DumpHeader("test", 1, 5)


async def fill(store: MetadataStore) -> None:
    foreign = Version(Space.ALIAS, 9, b"theirs", Stamp(77, 2), b"old", 0)
    await store.merge([foreign])
    await asyncio.gather(
        *(store.write([Put(Space.NAME, 1, b"%d" % (n % 700), b"%d" % n if n % 5 else None)]) for n in range(2_300))
    )
    await store.write([LocalPut(LocalSpace.LEASE, b"%d" % number, b"v") for number in range(1_100)])
    await store.write([LocalPut(LocalSpace.PART, b"i", b"", expires_ms=1 << 60)])


async def dumped(store: MetadataStore) -> bytes:
    output = io.BytesIO()
    await moving.dump(store, HEADER, output.write)
    return output.getvalue()


async def test_a_loaded_store_is_the_one_that_was_dumped(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "a")) as first, opened(sqlite_store(tmp_path / "b")) as second:
        await fill(first)
        raw = await dumped(first)
        assert await moving.is_empty(second)
        moving.check_dump(read_dump(io.BytesIO(raw).read), cluster="test", datacenter=1)
        loaded = await moving.load(second, read_dump(io.BytesIO(raw).read))
        assert loaded == DumpEnd(versions=2_301, locals=1_101)
        assert await dumped(second) == raw, "the log is in the same order"
        assert not await moving.is_empty(second)
        again = await moving.load(second, read_dump(io.BytesIO(raw).read))
        assert again == DumpEnd(versions=0, locals=0)
        head = await first.head()
        (next_one,) = await second.write([Put(Space.NAME, 1, b"next", b"")])
        assert next_one.stamp.time > head.time, "its clock goes on from there"


async def test_a_dump_is_whole_while_others_write(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "a")) as store:
        await fill(store)
        ended = asyncio.Event()

        async def write() -> None:
            number = 0
            while not ended.is_set():
                number += 1
                await store.write([Put(Space.NAME, 1, b"more %d" % number, b"")])

        writing = asyncio.create_task(write())
        raw = await dumped(store)
        ended.set()
        await writing
        moving.check_dump(read_dump(io.BytesIO(raw).read), cluster="test", datacenter=1)


@pytest.mark.parametrize("whose", [("another", 1), ("test", 2)])
def test_a_dump_of_another_datacenter_is_refused(whose: tuple[str, int]) -> None:
    writer = DumpWriter()
    raw = writer.start() + writer.header(HEADER) + writer.end(DumpEnd(versions=0, locals=0))
    with pytest.raises(StoreMismatch, match="by following"):
        moving.check_dump(read_dump(io.BytesIO(raw).read), cluster=whose[0], datacenter=whose[1])


def test_a_dump_that_holds_less_than_it_says_is_refused() -> None:
    writer = DumpWriter()
    raw = writer.start() + writer.header(HEADER) + writer.end(DumpEnd(versions=1, locals=0))
    with pytest.raises(DataCorrupt, match="says"):
        moving.check_dump(read_dump(io.BytesIO(raw).read), cluster="test", datacenter=1)
