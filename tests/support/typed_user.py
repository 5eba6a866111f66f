"""A program of a user who checks types: what the public API of both clients gives is what it says, without a cast.

mypy --strict reads it with the rest (`make check`), pyright in strict mode in tests/unit/ambry/client/test_client_types.py.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import assert_type

from ambry import (
    AmbryClient,
    AmbryError,
    AsyncAmbryClient,
    AsyncBlobFile,
    AsyncBlobReader,
    AsyncBlobWriter,
    BatchResult,
    BlobFile,
    BlobId,
    BlobInfo,
    BlobNotFound,
    BlobReader,
    BlobWriter,
    ByteRange,
    CacheConfig,
    NameEntry,
    RetryPolicy,
    Timeout,
    TransferConfig,
)

RETRY = RetryPolicy(max_attempts=3, base=0.1)
TIMEOUT = Timeout(connect=5, read=30, total=60)
TRANSFER = TransferConfig(chunk_size=1 << 20, max_concurrency=4)


def chunks() -> Iterator[bytes]:
    yield b"one"
    yield b"two"


async def achunks() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


def told(done: int, total: int | None) -> None:
    """The progress of a transfer."""


def blocking(endpoint: str, directory: Path) -> BlobInfo:
    """Put a blob and read it in every way."""
    cache = CacheConfig(directory=directory / "cache")
    with AmbryClient(endpoint, retry=RETRY, timeout=TIMEOUT, transfer=TRANSFER, cache=cache) as client:
        assert_type(client, AmbryClient)
        info = client.put(b"onetwo", ttl=timedelta(days=1), metadata={"model": "minilm"}, content_type="a/b")
        assert_type(info, BlobInfo)
        assert_type(info.id, BlobId)
        assert_type(info.metadata["model"], str)
        assert_type(client.put(chunks(), size=6, ttl=None), BlobInfo)
        assert_type(client.get_bytes(info.id), bytes)
        assert_type(client.get_bytes(str(info.id), range=(0, 3), timeout=TIMEOUT), bytes)
        assert_type(client.get_bytes(info.id, range=ByteRange(-3)), bytes)
        assert_type(client.get_into(info.id, bytearray(6)), int)
        assert_type(client.get_into(info.id, array("B", bytes(6))), int)
        assert_type(client.get_file(info.id, directory / "blocking", overwrite=True, progress=told), BlobInfo)
        assert_type(client.put_file(directory / "blocking", ttl=60), BlobInfo)
        assert_type(client.cached_path(info.id), Path)
        assert_type(client.head(info.id), BlobInfo)
        assert_type(client.exists(info.id), bool)
        with client.get(info.id) as reader:
            assert_type(reader, BlobReader)
            for piece in reader.iter_chunks(2):
                assert_type(piece, bytes)
        with client.open(info.id) as file:
            assert_type(file, BlobFile)
            assert_type(file.read(2), bytes)
        try:
            client.delete(info.id)
        except BlobNotFound as error:
            assert_type(error.request_id, str)
        except AmbryError as error:
            assert_type(error.retry_after_s, float | None)
        return info


def names(client: AmbryClient) -> None:
    """What takes a frontend that keeps names."""
    with client.open("team/fraud", "wb", content_type="a/b") as file:
        assert_type(file, BlobWriter)
        assert_type(file.write(b"one"), int)
    for entry in client.list("team/"):
        assert_type(entry, NameEntry)
    assert_type(client.resolve("team/fraud"), BlobId)
    assert_type(client.get_ranges("team/fraud", [(0, 1), (2, None), ByteRange(-1)]), list[bytes])
    assert_type(client.put_many([b"a", b"b"]), list[BatchResult])
    assert_type(client.get_many(["team/fraud"]), list[BatchResult])


async def awaiting(endpoint: str, directory: Path) -> BlobInfo:
    """The same with the other client."""
    async with AsyncAmbryClient(endpoint, retry=RETRY, timeout=TIMEOUT, transfer=TRANSFER) as client:
        assert_type(client, AsyncAmbryClient)
        info = await client.put(b"onetwo", ttl=timedelta(days=1), metadata={"model": "minilm"}, content_type="a/b")
        assert_type(info, BlobInfo)
        assert_type(await client.put(achunks(), size=6, ttl=None), BlobInfo)
        assert_type(await client.get_bytes(info.id), bytes)
        assert_type(await client.get_bytes(str(info.id), range=(0, 3), timeout=TIMEOUT), bytes)
        assert_type(await client.get_into(info.id, bytearray(6)), int)
        assert_type(await client.get_file(info.id, directory / "awaiting", overwrite=True, progress=told), BlobInfo)
        assert_type(await client.put_file(directory / "awaiting", ttl=60), BlobInfo)
        assert_type(await client.cached_path(info.id, cache_dir=directory / "cache"), Path)
        assert_type(await client.head(info.id), BlobInfo)
        assert_type(await client.exists(info.id), bool)
        async with client.get(info.id) as reader:
            assert_type(reader, AsyncBlobReader)
            async for piece in reader.iter_chunks(2):
                assert_type(piece, bytes)
        async with client.open(info.id) as file:
            assert_type(file, AsyncBlobFile)
            assert_type(await file.read(2), bytes)
        await client.delete(info.id)
        return info


async def awaited_names(client: AsyncAmbryClient) -> None:
    """What takes a frontend that keeps names."""
    async with client.open("team/fraud", "wb", content_type="a/b") as file:
        assert_type(file, AsyncBlobWriter)
        assert_type(await file.write(b"one"), int)
    async for entry in client.list("team/"):
        assert_type(entry, NameEntry)
    assert_type(await client.resolve("team/fraud"), BlobId)
    assert_type(await client.get_ranges("team/fraud", [(0, 1), (2, None), ByteRange(-1)]), list[bytes])
    assert_type(await client.get_many(["team/fraud"]), list[BatchResult])
