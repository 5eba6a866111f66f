"""Uploads in parts by both clients and by `ambry upload`, against real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ambry import AmbryClient, AsyncAmbryClient
from ambry.client.sections import RememberedUpload, fitting
from ambry.client.sync.uploads import SyncUpload
from ambry.errors import InvalidRequest, UpdateConflict, UploadGone, UploadNotFound
from tests.support.content import content

MIB = 1 << 20
BODY = content(31, 9 * MIB + 5)
PARTS = {1: BODY[: 5 * MIB + 1], 2: BODY[5 * MIB + 1 : 6 * MIB], 3: BODY[6 * MIB :]}


def command(*arguments: object, code: int = 0, **more: str) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "ambry.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **more},
    )
    assert made.returncode == code, (made.returncode, made.stdout, made.stderr)
    return made.stdout.strip()


def test_parts_go_in_by_several_clients_and_come_out_as_one_blob(dc1: str) -> None:
    with AmbryClient(endpoints=[dc1]) as one, AmbryClient(endpoints=[dc1]) as other:
        upload = one.start_upload(filename="model.bin", metadata={"run": "7"}, ttl=3600)
        assert upload.write_part(3, PARTS[3]).size == len(PARTS[3])
        again = SyncUpload.resume(other, json.loads(json.dumps(upload.state())))
        sent = [again.write_part(number, PARTS[number]) for number in (2, 1)]
        assert again.blob == upload.blob
        assert [part.part for part in again.parts()] == [1, 2, 3]
        assert again.parts()[:2] == sent[::-1]
        with pytest.raises(InvalidRequest, match="have not arrived"):
            again.complete([*again.parts(), type(sent[0])(part=4, size=1, checksum=sent[0].checksum)])
        info = again.complete()
        assert (info.id, info.size, info.filename, info.metadata["run"]) == (upload.blob, len(BODY), "model.bin", "7")
        assert upload.complete().id == info.id
        assert one.get_bytes(info.id) == BODY
        with pytest.raises(UpdateConflict):
            upload.abort()


async def test_the_awaiting_client_does_the_same_and_aborts_what_fails(dc1: str) -> None:
    async with AsyncAmbryClient(endpoints=[dc1]) as client:
        async with await client.start_upload() as upload:
            for number in (2, 3, 1):
                await upload.write_part(number, PARTS[number])
            info = await upload.complete(await upload.parts())
        assert await client.get_bytes(info.id) == BODY
        with pytest.raises(ZeroDivisionError):
            async with await client.start_upload() as failed:
                await failed.write_part(1, b"hello")
                raise ZeroDivisionError
        with pytest.raises(UploadGone):
            await client.resume_upload(failed.id)
        with pytest.raises(UploadNotFound):
            await client.resume_upload("0" * 32)
        with pytest.raises(InvalidRequest):
            await client.resume_upload("nonsense")


def test_a_put_with_a_key_is_one_put(dc1: str, tmp_path: Path) -> None:
    with AmbryClient(endpoints=[dc1]) as client:
        first = client.put(BODY, idempotency_key="job 7")
        assert client.put(BODY, idempotency_key="job 7") == first
        assert client.put(BODY).id != first.id
        with pytest.raises(UpdateConflict, match="another body"):
            client.put(b"other", idempotency_key="job 7")
        file = tmp_path / "file"
        file.write_bytes(b"hello")
        ids = {command("put", file, "--endpoint", dc1, "--idempotency-key", "job 8") for _ in range(2)}
        assert len(ids) == 1


def test_what_is_remembered_is_never_believed(dc1: str, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(BODY)
    remembered = RememberedUpload(file)
    ids = set()
    for text in ("nonsense", json.dumps({"upload": "0" * 32, "part_size": MIB})):
        remembered.path.write_text(text)
        ids.add(command("upload", file, "--endpoint", dc1))
    assert len(ids) == 2
    with AmbryClient(endpoints=[dc1]) as client:
        # A command that was killed after it completed.
        upload = client.start_upload()
        for number in range(1, 11):
            upload.write_part(number, BODY[(number - 1) * MIB : number * MIB])
        done = upload.complete()
        remembered.save(upload.id, MIB)
        assert command("upload", file, "--endpoint", dc1) == str(done.id)
        # And the file changed since.
        file.write_bytes(BODY[:-1] + b"!")
        remembered.save(upload.id, MIB)
        command("upload", file, "--endpoint", dc1, code=6)
        changed = command("upload", file, "--endpoint", dc1)
        assert client.get_bytes(changed) == BODY[:-1] + b"!"


def test_the_steps_one_by_one_as_commands(dc1: str, tmp_path: Path) -> None:
    file = tmp_path / "part"
    upload = command("upload", "begin", "--endpoint", dc1, "--ttl", "1h", "--filename", "whole.bin")
    for number in (2, 1):
        file.write_bytes(PARTS[number])
        assert len(command("upload", "put", upload, number, file, "--endpoint", dc1)) == 32
    assert command("upload", "show", upload, "--endpoint", dc1).startswith("open  6291456 bytes in 2 parts")
    told = json.loads(command("upload", "complete", upload, "--output", "json", "--endpoint", dc1))
    assert (told["size"], told["filename"]) == (6 * MIB, "whole.bin")
    other = command("upload", "begin", "--endpoint", dc1)
    command("upload", "abort", other, "--endpoint", dc1)
    command("upload", "show", other, "--endpoint", dc1, code=4)
    file.write_bytes(b"")
    assert command("upload", file, "--endpoint", dc1)
    command("upload", tmp_path / "missing", "--endpoint", dc1, code=2)
    assert "Send a large file" in command("upload", "--help")


def test_parts_are_as_large_as_they_must_be() -> None:
    assert fitting(8 * MIB, 5) == 8 * MIB
    assert fitting(1, 5) == MIB
    assert fitting(MIB, 10_000 * MIB) == MIB
    assert fitting(MIB, 10_000 * MIB + 1) == 2 * MIB
