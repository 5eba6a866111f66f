"""What failures of a database mean, and a database that is not there; real servers: tests/conformance, tests/fault."""

from __future__ import annotations

import asyncio
import errno
import random

import pytest

from ambry.errors import AmbryError, ConfigInvalid, DataCorrupt, InsufficientStorage, MetadataUnavailable
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from tests.support.metadata_stores import postgres_store
from tests.support.ports import free_ports

asyncpg = pytest.importorskip("asyncpg", reason="asyncpg is not installed: make services")


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (asyncpg.DiskFullError("no space"), InsufficientStorage),
        (OSError(errno.ENOSPC, "no space"), InsufficientStorage),
        (asyncpg.DataCorruptedError("invalid page"), DataCorrupt),
        (asyncpg.IndexCorruptedError("invalid page"), DataCorrupt),
        (asyncpg.AdminShutdownError("terminating"), MetadataUnavailable),
        (asyncpg.QueryCanceledError("statement timeout"), MetadataUnavailable),
        (asyncpg.TooManyConnectionsError("sorry"), MetadataUnavailable),
        (asyncpg.InterfaceError("connection is closed"), MetadataUnavailable),
        (ConnectionRefusedError(), MetadataUnavailable),
        (TimeoutError(), MetadataUnavailable),
    ],
)
def test_a_failure_is_told_by_what_can_be_done(error: Exception, means: type[AmbryError]) -> None:
    from frontend.metadata.postgres_server import FAILURES, failure

    assert isinstance(error, FAILURES)
    told = failure(error)
    assert type(told) is means
    assert len(told.message) > 30, "a sentence"


@pytest.fixture
def nobody() -> str:
    return f"postgresql://ambry@127.0.0.1:{free_ports(1)[0]}/d"


async def test_a_server_that_is_not_there_is_told_at_once_and_tried_again(nobody: str) -> None:
    store = postgres_store(nobody)
    for _ in range(2):
        with pytest.raises(MetadataUnavailable, match="cannot be used"):
            await store.reach()
        with pytest.raises(MetadataUnavailable, match="cannot be used"):
            await store.write([Put(Space.NAME, 1, b"k", b"")])
    await store.close()


async def test_an_address_that_is_none_is_the_configurations_fault() -> None:
    store = postgres_store("postgresql://h:port/d")
    with pytest.raises(ConfigInvalid, match=r"metadata\.url"):
        await store.reach()
    await store.close()


async def test_a_server_that_never_answers_is_waited_for_as_long_as_told() -> None:
    ends = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = postgres_store(f"postgresql://ambry@127.0.0.1:{port}/d", timeout_s=0.2)
    with pytest.raises(MetadataUnavailable, match=r"did not answer within 0\.2 s"):
        await store.get(Space.NAME, 1, b"k")
    with pytest.raises(MetadataUnavailable, match="did not answer"):
        await store.write([Put(Space.NAME, 1, b"k", b"")])
    writing = asyncio.create_task(store.write([Put(Space.NAME, 1, b"k", random.Random(1).randbytes(9))]))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await store.close()
    server.close()
