"""The Python client and the `ambry` command against real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ambry import AmbryClient, AsyncAmbryClient
from ambry.errors import BlobDeleted, BlobGone, ChecksumMismatch, NameNotFound
from tests.support.content import blocks, content, content_digest
from tests.support.rest import everywhere
from tests.support.waiting import eventually

SIZE = 9_000_000


def test_the_client_end_to_end(dc1: str, dc2: str, tmp_path: Path) -> None:
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(content(21, SIZE))
    with AmbryClient(endpoints=[dc1]) as here, AmbryClient(endpoints=[dc2]) as there:
        blob = here.put_file(source, metadata={"model": "größe"}, content_type="application/x-model")
        assert (blob.size, blob.checksum, blob.durability) == (SIZE, content_digest(21, SIZE), "disk")
        eventually(lambda: everywhere(dc1, str(blob.id)), "replicated")
        there.get_file(blob.id, target)
        assert target.read_bytes() == source.read_bytes()
        info = there.head(blob.id)
        assert (info.metadata["model"], info.content_type) == ("größe", "application/x-model")
        assert there.get_bytes(blob.id, range=(4_194_300, 4_194_310)) == content(21, SIZE)[4_194_300:4_194_310]
        buffer = bytearray(SIZE)
        assert here.get_into(blob.id, buffer) == SIZE
        assert buffer == content(21, SIZE)
        streamed = here.put(blocks(22, SIZE))
        assert streamed.checksum == content_digest(22, SIZE)
        with pytest.raises(ChecksumMismatch):
            here.put(b"x", checksum=content_digest(1, 1))
        here.delete(blob.id)
        with pytest.raises(BlobGone):
            here.get_bytes(blob.id)
        here.undelete(blob.id)
        assert eventually(lambda: here.exists(blob.id), "undeleted")
        assert here.health()


async def test_the_async_client_end_to_end(dc1: str) -> None:
    async with AsyncAmbryClient(endpoints=[dc1]) as client:
        blob = await client.put(content(23, SIZE), ttl=3600)
        assert await client.get_bytes(blob.id) == content(23, SIZE)
        assert (await client.update_ttl(blob.id, None)).expires is None
        await client.delete(blob.id)
        with pytest.raises(BlobDeleted):
            await client.get_bytes(blob.id)
        with pytest.raises(NameNotFound):
            await client.get_bytes("nonsense")


def test_a_client_with_a_dead_endpoint_uses_the_other(dc1: str) -> None:
    with AmbryClient(endpoints=["http://127.0.0.1:9", dc1]) as client:
        blob = client.put(content(24, 100_000))
        assert client.get_bytes(blob.id) == content(24, 100_000)


def ambry(dc1: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "AMBRY_ENDPOINTS": dc1, "NO_COLOR": "1"}
    command = [sys.executable, "-m", "ambry.cli.main", arguments[0], "--endpoint", dc1, *arguments[1:]]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, env=environment, check=False)


def test_the_command_line_end_to_end(dc1: str, tmp_path: Path) -> None:
    source, target = tmp_path / "model.bin", tmp_path / "copy.bin"
    source.write_bytes(content(25, SIZE))
    done = ambry(dc1, "put", "--meta", "k=v", str(source))
    assert done.returncode == 0, done.stderr
    blob_id = done.stdout.decode().strip()
    piped = ambry(dc1, "put", "-", stdin=content(26, 100_000)).stdout.decode().strip()
    assert ambry(dc1, "get", blob_id, "-o", str(target)).returncode == 0
    assert target.read_bytes() == source.read_bytes()
    assert ambry(dc1, "cat", piped).stdout == content(26, 100_000)
    assert ambry(dc1, "cat", "--range", "0-9", blob_id).stdout == content(25, SIZE)[:10]
    assert content_digest(25, SIZE).encode() in ambry(dc1, "head", blob_id).stdout
    assert ambry(dc1, "rm", blob_id, piped).returncode == 0
    gone = ambry(dc1, "cat", piped)
    assert (gone.returncode, gone.stdout) == (4, b""), gone.stderr
    assert ambry(dc1, "undelete", piped).returncode == 0
    assert ambry(dc1, "cat", "nonsense").returncode == 3
    assert ambry(dc1, "cat", "--nonsense").returncode == 2
    assert ambry("http://127.0.0.1:9", "cat", piped).returncode == 5
