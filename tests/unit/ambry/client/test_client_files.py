"""Blobs as files, in both clients: what is asked for, what is published when, and what an exception leaves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ambry import AlreadyExists, AmbryClient, AsyncAmbryClient, ChecksumMismatch, InvalidRequest, Unavailable
from ambry.client.aio.uploads import AsyncUploads
from ambry.client.sync.uploads import SyncUploads
from tests.support.clusters import seed_of
from tests.support.content import content
from tests.support.named_frontend import named_frontend
from tests.support.stub_frontend import StubFrontend, hexdigest
from tests.support.twins import Twins

MIB = 1 << 20
BODY = content(11, 3 * MIB + 5)
_numbers = count()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with named_frontend(tmp_path_factory.mktemp("meta") / "meta.sqlite") as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"files/{next(_numbers)}"


def test_a_blob_is_read_as_a_file_is(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(BODY, x_ambry_digest=hexdigest(BODY))
    source = random.Random(seed_of("reads of a file"))
    file = twins.connect(stub.url).open(blob, block_size=200_000)
    plain = io.BytesIO(BODY)
    for _ in range(60):
        position = source.choice([None, None, source.randrange(len(BODY) + 10)])
        if position is not None:
            assert file.seek(position) == plain.seek(position)
        size = source.choice([0, 1, 100, 50_000, 199_999, 200_000, 700_000])
        if source.random() < 0.5:
            assert file.read(size) == plain.read(size)
        else:
            into, expected = bytearray(size), bytearray(size)
            assert file.readinto(into) == plain.readinto(expected)
            assert into == expected
        assert file.tell() == plain.tell()
    assert file.seek(-7, io.SEEK_END) == len(BODY) - 7
    assert file.peek(3)[:3] == BODY[-7:-4] and file.read1(100) == BODY[-7:] and file.read() == b""
    file.seek(0)
    assert file.read() == BODY
    assert file.info.size == len(BODY)
    with pytest.raises(ValueError, match="no byte -1"):
        file.seek(-1)
    with pytest.raises(io.UnsupportedOperation, match="cached_path"):
        file.fileno()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_a_file_that_is_read_on_comes_in_few_requests_and_once(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(BODY, x_ambry_digest=hexdigest(BODY))
    file = twins.connect(stub.url).open(blob, block_size=MIB)
    assert b"".join(iter(lambda: file.read(9_999), b"")) == BODY
    asked = [each.headers["range"].removeprefix("bytes=").split("-") for each in stub.seen("GET")]
    assert len(asked) <= 7
    assert sum(int(last) - int(first) + 1 for first, last in asked) == len(BODY)


def test_wrong_bytes_are_not_the_end_of_a_file(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(BODY, x_ambry_digest=hexdigest(b"other bytes"))
    file = twins.connect(stub.url).open(blob, block_size=MIB)
    with pytest.raises(ChecksumMismatch):
        while file.read(100_000):
            pass


@pytest.mark.parametrize("size", [0, 5, MIB, len(BODY)])
def test_what_is_written_is_there_when_it_is_closed(url: str, name: str, twins: Twins, size: int) -> None:
    client = twins.connect(url)
    file = client.open(name, "wb", block_size=MIB, content_type="text/x", metadata={"a": "b"}, ttl=900)
    for start in range(0, size, 300_001):
        assert file.write(memoryview(BODY)[start : min(size, start + 300_001)]) == min(size - start, 300_001)
    assert file.tell() == size and not client.exists(name)
    file.flush()
    with pytest.raises(ValueError, match="not published"):
        _ = file.info
    file.close()
    file.close()
    assert file.info.id == client.resolve(name)
    assert client.get_bytes(name) == BODY[:size]
    info = client.head(name)
    assert (info.content_type, dict(info.metadata)) == ("text/x", {"a": "b"}) and info.expires is not None


def test_xb_makes_only_what_is_not_there(url: str, name: str, twins: Twins) -> None:
    client = twins.connect(url)
    file = client.open(name, "xb")
    client.put(b"meanwhile", name=name)
    file.write(b"late")
    with pytest.raises(AlreadyExists):
        file.close()
    with pytest.raises(AlreadyExists, match="mode wb"):
        client.open(name, "xb")
    assert client.get_bytes(name) == b"meanwhile"


def test_what_is_no_file_is_refused(url: str, name: str, twins: Twins) -> None:
    client = twins.connect(url)
    blob = client.put(b"x", name=name).id
    for ref, mode, said in (
        (blob, "wb", {}),
        (name, "ab", {}),
        (name, "rb", {"ttl": 5}),
        (name, "rb", {"block_size": 0}),
    ):
        with pytest.raises(InvalidRequest):
            client.open(ref, mode, **said)
    with pytest.raises(FileNotFoundError):
        client.open(f"{name}-none")


@pytest.mark.parametrize("size", [5, len(BODY)], ids=["small", "parts"])
@pytest.mark.parametrize(
    "how",
    ["with", "text", "closing", "finally", "nobody closes it", "nobody closes the text", "nobody closes the buffer"],
)
def test_what_an_exception_interrupts_is_never_published(url: str, name: str, how: str, size: int) -> None:
    with AmbryClient(url) as client:
        client.put(b"before", name=name)
        with contextlib.suppress(ZeroDivisionError):
            match how:
                case "with":
                    with client.open(name, "wb", block_size=MIB) as file:
                        file.write(BODY[:size])
                        raise ZeroDivisionError
                case "text":
                    with io.TextIOWrapper(client.open(name, "wb", block_size=MIB), "latin-1") as text:
                        text.write(BODY[:size].decode("latin-1"))
                        raise ZeroDivisionError
                case "closing":
                    with contextlib.closing(client.open(name, "wb", block_size=MIB)) as closing:
                        closing.write(BODY[:size])
                        raise ZeroDivisionError
                case "finally":
                    closed = io.TextIOWrapper(client.open(name, "wb", block_size=MIB), "latin-1")
                    try:
                        closed.write(BODY[:size].decode("latin-1"))
                        raise ZeroDivisionError
                    finally:
                        closed.close()
                case _:
                    left: Any = client.open(name, "wb", block_size=MIB)
                    if how.endswith("text"):
                        left = io.TextIOWrapper(left, "latin-1")
                    elif how.endswith("buffer"):
                        left = io.BufferedWriter(left)
                    left.write(BODY[:size].decode("latin-1") if how.endswith("text") else BODY[:size])
                    with pytest.warns(ResourceWarning, match="never closed"):
                        del left
                        gc.collect()
        assert client.get_bytes(name) == b"before"


@pytest.mark.parametrize("where", ["in parts", "at its end"])
def test_a_part_that_failed_is_not_left_out(
    monkeypatch: pytest.MonkeyPatch, name: str, where: str, url: str, twins: Twins
) -> None:
    """The caller caught the error and went on, and the rest was published as the whole."""
    client = twins.connect(url)
    client.put(b"before", name=name)
    file = client.open(name, "wb", block_size=MIB)
    file.write(BODY[:MIB])
    left = [Unavailable("one part is lost")]
    for uploads in (AsyncUploads, SyncUploads):
        sent = uploads._send_part

        def failing(client: object, upload: object, number: int, *rest: object, sent: Any = sent) -> Any:
            if number == 2 and left:
                raise left.pop()
            return sent(client, upload, number, *rest)

        monkeypatch.setattr(uploads, "_send_part", failing)
    if where == "in parts":
        with pytest.raises(Unavailable, match="one part is lost"):
            file.write(BODY[MIB : 2 * MIB])
        with pytest.raises(Unavailable, match="one part is lost"):
            file.write(BODY[2 * MIB :])
    else:
        file.write(BODY[MIB : MIB + 5])
    with pytest.raises(Unavailable, match="one part is lost"):
        file.close()
    assert file.closed
    assert client.get_bytes(name) == b"before"


async def test_the_awaiting_client_publishes_at_the_end_of_its_block(url: str, name: str) -> None:
    async with AsyncAmbryClient(url) as client:
        with contextlib.suppress(ZeroDivisionError):
            async with client.open(name, "wb", block_size=MIB) as file:
                await file.write(BODY)
                raise ZeroDivisionError
        assert file.closed and not await client.exists(name)
        async with client.open(name, "wb", block_size=MIB) as file:
            await file.write(BODY)
        async with client.open(name) as reading, asyncio.timeout(60):
            assert await reading.read() == BODY


def test_what_takes_a_file_takes_a_blob(url: str, name: str, tmp_path: Path) -> None:
    with AmbryClient(url) as client:
        with io.TextIOWrapper(client.open(name, "wb"), "utf-8") as text:
            json.dump({"ü": 1}, text)
        with client.open(name) as file:
            assert json.load(file) == {"ü": 1}
        client.put(b"one\ntwo\n", name=name)
        with client.open(name) as lines:
            assert [*lines] == [b"one\n", b"two\n"]
