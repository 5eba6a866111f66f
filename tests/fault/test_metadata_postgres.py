"""A metadata database whose server is killed, stopped, of a later release or somebody else's."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ambry.errors import DataCorrupt, FormatUnknown, MetadataUnavailable, StoreMismatch
from frontend.metadata import moving
from frontend.metadata.dump import DumpHeader, read_dump
from frontend.metadata.inspection import findings
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import LocalPut, LocalRow, MetadataStore, Put, Version
from tests.support.metadata_process import Said, faults_of, write_group
from tests.support.metadata_stores import opened, postgres_store, sqlite_store
from tests.support.postgres import PostgresProcess, why_impossible

pytestmark = pytest.mark.fault

WRITERS = 8


@pytest.fixture
def server() -> Iterator[PostgresProcess]:
    if why := why_impossible():
        pytest.skip(why)
    made = PostgresProcess()
    try:
        made.start()
        made.make_database("d")
        yield made
    finally:
        made.close()


@pytest.fixture
async def store(server: PostgresProcess) -> AsyncIterator[MetadataStore]:
    async with opened(postgres_store(server.url("d"), timeout_s=3.0)) as made:
        yield made


async def test_a_server_that_is_killed_and_restarted_loses_nothing_acknowledged(server: PostgresProcess) -> None:
    said, ended = Said(), asyncio.Event()
    outcomes: dict[str, int] = {"done": 0, "away": 0}
    async with opened(postgres_store(server.url("d"))) as one, opened(postgres_store(server.url("d"))) as other:

        async def write(store: MetadataStore, name: str) -> None:
            number = 0
            while not ended.is_set():
                group = f"{name}.{number}"
                said.begun.add(group)
                number += 1
                try:
                    await write_group(store, group)
                except MetadataUnavailable:
                    outcomes["away"] += 1
                    await asyncio.sleep(0.02)
                else:
                    outcomes["done"] += 1
                    said.done.add(group)

        async def look(store: MetadataStore) -> None:
            while not ended.is_set():
                with suppress(MetadataUnavailable):
                    await store.list(Space.NAME, 7, limit=10)
                await asyncio.sleep(0.005)

        async def written(more: int) -> None:
            goal = outcomes["done"] + more
            while outcomes["done"] < goal:  # noqa: ASYNC110  tasks beside us
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            for number in range(WRITERS):
                tasks.create_task(write((one, other)[number % 2], f"w.{number}"))
            tasks.create_task(look(one))
            waiting = tasks.create_task(other.wait(1 << 60, 600.0))
            for _ in range(3):
                await asyncio.wait_for(written(40), 60.0)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
            await asyncio.wait_for(written(40), 60.0)
            ended.set()
            waiting.cancel()
        assert outcomes["away"]
        assert await faults_of(one, said) == []
        head = await one.head()
        following = asyncio.create_task(other.wait(head.seq, 30.0))
        await write_group(one, "w.9.0")
        assert await following > head.seq, "it listens again"
    print(outcomes)


async def test_a_server_that_is_stopped_is_given_up_in_time_and_used_again(
    server: PostgresProcess, store: MetadataStore
) -> None:
    await write_group(store, "a.0.0")
    pids = [int(pid) for pid in server.sessions()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(MetadataUnavailable):
            await write_group(store, "a.0.1")
        with pytest.raises(MetadataUnavailable):
            await store.get(Space.NAME, 7, b"a.0.0/a")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await write_group(store, "a.0.2")
    assert await store.get(Space.NAME, 7, b"a.0.2/a") is not None


async def test_databases_that_must_not_be_used_are_refused_with_a_sentence(
    server: PostgresProcess, store: MetadataStore
) -> None:
    for other in (postgres_store(server.url("d"), datacenter=2), postgres_store(server.url("d"), cluster="another")):
        with pytest.raises(StoreMismatch, match=r"name another in metadata\.url"):
            await other.reach()
        await other.close()
    import asyncpg

    connection = await asyncpg.connect(server.url("d"))
    await connection.execute("UPDATE ambry_metadata.head SET schema = schema + 1")
    later = postgres_store(server.url("d"))
    with pytest.raises(FormatUnknown, match="a later release"):
        await later.reach()
    await later.close()
    await connection.close()


async def test_many_frontends_make_the_tables_together(server: PostgresProcess) -> None:
    stores = [postgres_store(server.url("d")) for _ in range(6)]
    await asyncio.gather(*(store.reach() for store in stores))
    assert len({(await store.head()).store for store in stores}) == 1
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_damaged_row_is_refused_and_the_rest_is_served(server: PostgresProcess, store: MetadataStore) -> None:
    import asyncpg

    await store.write([Put(Space.NAME, 1, b"good", b"v"), Put(Space.NAME, 1, b"bad", b"v")])
    connection = await asyncpg.connect(server.url("d"))
    await connection.execute("UPDATE ambry_metadata.register SET value = 'x' WHERE key = 'bad'")
    await connection.close()
    with pytest.raises(DataCorrupt):
        await store.get(Space.NAME, 1, b"bad")
    outcomes = await asyncio.gather(
        store.write([Put(Space.NAME, 1, b"bad", b"")]),
        store.write([Put(Space.NAME, 1, b"good", b"")]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], DataCorrupt)
    assert isinstance(outcomes[1], list)


async def test_everything_moves_from_one_engine_to_the_other_and_back(
    server: PostgresProcess, store: MetadataStore, tmp_path: Path
) -> None:
    """But for intents: what was under way has ended since (frontend/metadata/moving.py)."""

    def told(raw: bytes) -> list[Version | LocalRow]:
        return [item for block in read_dump(io.BytesIO(raw).read) if isinstance(block, list) for item in block]

    header, dumps = DumpHeader("test", 1, 5), []
    async with opened(sqlite_store(tmp_path / "first")) as first, opened(sqlite_store(tmp_path / "last")) as last:
        await asyncio.gather(*(write_group(first, f"g.{number % 50}.{number}") for number in range(300)))
        await first.write([Put(Space.ALIAS, (1 << 64) - 1, b"gone\xff", b"v")])
        await first.write([Put(Space.ALIAS, (1 << 64) - 1, b"gone\xff", None)])
        await first.write([LocalPut(LocalSpace.LEASE, b"%d" % number, b"v") for number in range(300)])
        await first.write([LocalPut(LocalSpace.PART, b"i", b"", expires_ms=1 << 60)])
        for source, goal in ((first, store), (store, last), (last, None)):
            output = io.BytesIO()
            await moving.dump(source, header, output.write)
            dumps.append(output.getvalue())
            assert [finding async for finding in findings(source)] == []
            if goal is not None:
                await moving.load(goal, read_dump(io.BytesIO(output.getvalue()).read))
    before = told(dumps[0])
    intents = [item for item in before if isinstance(item, LocalRow) and item.space == LocalSpace.INTENT]
    assert len(intents) == 300
    assert told(dumps[1]) == [item for item in before if item not in intents]
    assert dumps[2] == dumps[1]


async def test_what_is_wrong_in_a_database_is_named(server: PostgresProcess, store: MetadataStore) -> None:
    import asyncpg

    await write_group(store, "g.0.0")
    connection = await asyncpg.connect(server.url("d"))
    await connection.execute("UPDATE ambry_metadata.register SET value = 'x' WHERE seq = 1")
    await connection.execute("DELETE FROM ambry_metadata.register WHERE seq = 2")
    await connection.close()
    found = [finding async for finding in findings(store)]
    assert len(found) == 2
    assert "version 1 of b'g.0.0/a' in the metadata is damaged" in found[0]
    assert "the log ends at 3, and the tables hold 2 versions" in found[1]
