"""Both clients and the file system in threads, in forked children, and as pickles."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ambry import AsyncAmbryClient
from ambry.fs.filesystem import AmbryFileSystem
from tests.support.content import content
from tests.support.stub_frontend import StubFrontend

DATA = content(8, 300_000)


def in_child(action: Callable[[], bool]) -> int:
    """Run `action` in a forked child; its exit code, 0 when it returned true. A child that hangs is ended by a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(120)
            code = 0 if action() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def files(stub: StubFrontend) -> AmbryFileSystem:
    return AmbryFileSystem(endpoints=stub.url, skip_instance_cache=True)


def test_a_forked_child_of_the_awaiting_client_uses_connections_of_its_own(stub: StubFrontend, tmp_path: Path) -> None:
    """A child that let go of the sessions it had inherited took the parent's sockets out of the epoll that they share: the
    parent's next request waited for its read timeout."""
    blob = stub.add(DATA)
    client = AsyncAmbryClient(stub.url)

    async def file(name: str) -> bytes:
        await client.get_file(blob, tmp_path / name)
        return (tmp_path / name).read_bytes()

    with asyncio.Runner() as runner:
        assert runner.run(client.get_bytes(blob)) == DATA
        assert in_child(lambda: asyncio.run(client.get_bytes(blob)) == DATA) == 0
        assert in_child(lambda: asyncio.run(file("child")) == DATA) == 0
        assert runner.run(client.get_bytes(blob)) == DATA
        runner.run(client.close())
    first, *others, last = [each.connection for each in stub.seen("GET")]
    assert first == last and first not in others


def test_a_loop_after_another_has_connections_of_its_own(stub: StubFrontend) -> None:
    blob = stub.add(DATA)
    client = AsyncAmbryClient(stub.url)

    async def once() -> bytes:
        found = await client.get_bytes(blob)
        await client.close()
        return found

    assert [asyncio.run(once()) for _ in range(3)] == [DATA] * 3


def test_a_client_that_was_pickled_reads_what_it_did(stub: StubFrontend) -> None:
    blob = stub.add(DATA)

    async def read(client: AsyncAmbryClient) -> bytes:
        async with client:
            assert await client.get_bytes(blob) == DATA
            async with pickle.loads(pickle.dumps(client)) as copy:
                found: bytes = await copy.get_bytes(blob)
                return found

    assert asyncio.run(read(AsyncAmbryClient(stub.url))) == DATA


def test_files_by_url_are_read_by_many_threads(stub: StubFrontend) -> None:
    fs, blob = files(stub), stub.add(DATA)

    def read(number: int) -> bytes:
        with fs.open(f"ambry+id://{blob}", block_size=50_000) as file:
            file.seek(number * 1000)
            return bytes(file.read(7_000)) + bytes(fs.cat_file(f"ambry+id://{blob}", 5, 10))

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(read, range(60)))
    assert found == [DATA[number * 1000 : number * 1000 + 7_000] + DATA[5:10] for number in range(60)]
    fs.client.close()


def test_a_file_by_url_that_is_read_goes_on_in_parent_and_child(stub: StubFrontend) -> None:
    fs, path = files(stub), f"ambry+id://{stub.add(DATA)}"
    assert fs.cat_file(path) == DATA
    assert in_child(lambda: fs.cat_file(path) == DATA) == 0
    with fs.open(path) as file:
        assert file.read(10) == DATA[:10]
        assert in_child(lambda: file.read() == DATA[10:]) == 0
        assert file.read() == DATA[10:]
    fs.client.close()


def test_a_file_by_url_that_is_read_travels_in_a_pickle(stub: StubFrontend) -> None:
    fs, path = files(stub), f"ambry+id://{stub.add(DATA)}"
    copy = pickle.loads(pickle.dumps(fs))
    assert copy.cat_file(path) == DATA
    with fs.open(path) as file:
        file.seek(100)
        with pickle.loads(pickle.dumps(file)) as again:
            assert again.tell() == 100 and again.read() == DATA[100:]
    copy.client.close()
    fs.client.close()
