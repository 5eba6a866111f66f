"""Uploads in parts by both clients and by `ambry put` and `ambry upload`, against real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient, AsyncAmbryClient
from ambry.checksum import digest
from ambry.client.model import TransferConfig
from ambry.client.sections import fitting, state_path
from ambry.client.sync.upload_session import Upload
from ambry.errors import (
    AlreadyExists,
    ChecksumMismatch,
    InvalidRequest,
    PreconditionFailed,
    UpdateConflict,
    UploadGone,
    UploadNotFound,
)
from tests.support.content import content

MIB = 1 << 20
BODY = content(31, 9 * MIB + 5)
SMALL = TransferConfig(part_size=MIB, threshold=2 * MIB, max_concurrency=2)
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
        upload = one.start_upload(filename="model.bin", metadata={"run": "7"}, ttl=3600, durability="memory")
        assert upload.write_part(3, PARTS[3]).size == len(PARTS[3])
        again = Upload.resume(other, json.loads(json.dumps(upload.state())))
        sent = [again.write_part(number, PARTS[number]) for number in (2, 1)]
        assert again.blob == upload.blob
        assert [part.part for part in again.parts()] == [1, 2, 3]
        assert again.parts()[:2] == sent[::-1]
        with pytest.raises(InvalidRequest, match="part 4 has not arrived"):
            again.complete([*again.parts(), type(sent[0])(part=4, size=1, checksum=sent[0].checksum)])
        info = again.complete()
        assert (info.id, info.size, info.filename, info.metadata["run"]) == (upload.blob, len(BODY), "model.bin", "7")
        assert info.durability == upload.complete().durability == "memory", (
            "what was acknowledged, not what a read tells"
        )
        assert upload.complete().id == info.id
        assert one.get_bytes(info.id) == BODY
        with pytest.raises(UpdateConflict):
            upload.abort()


def test_an_upload_with_a_name_is_named_when_it_is_completed_by_whoever_goes_on_with_it(dc1: str) -> None:
    with AmbryClient(endpoints=[dc1]) as client:
        upload = client.start_upload(name="parts/model.bin", if_absent=True)
        upload.write_part(1, b"hello")
        assert not client.exists("parts/model.bin")
        again = Upload.resume(client, json.loads(json.dumps(upload.state())))
        info = again.complete()
        assert info.durability == "disk"
        assert (info.id, info.name) == (upload.blob, "parts/model.bin")
        assert upload.complete().id == info.id, "again is the same"
        taken = client.start_upload(name="parts/model.bin", if_absent=True)
        taken.write_part(1, b"other")
        with pytest.raises(AlreadyExists, match="without if_absent"):
            taken.complete()
        assert taken.blob is not None and not client.exists(taken.blob), "nobody knows of it"
        newer = client.start_upload(name="parts/model.bin", if_match=info.etag)
        newer.write_part(1, b"newer")
        newer.complete()
        assert client.get_bytes("parts/model.bin") == b"newer"
        client.delete("parts/model.bin")
        assert newer.blob is not None and not client.exists(newer.blob), "it goes with its name"
        with pytest.raises(InvalidRequest, match="about a name"):
            client.start_upload(if_absent=True)


def test_what_was_said_of_an_upload_is_held_against_its_parts(dc1: str) -> None:
    told: list[tuple[int, int | None]] = []
    whole = digest(BODY).hex()
    with AmbryClient(endpoints=[dc1]) as client:
        upload = client.start_upload(
            size=len(BODY),
            part_size=4 * MIB,
            checksum=whole,
            progress=lambda *done: told.append(done),
            transfer=TransferConfig(chunk_size=MIB),
        )
        for number in (1, 3):
            upload.write_part(number, BODY[(number - 1) * 4 * MIB : number * 4 * MIB])
        with pytest.raises(InvalidRequest, match="part 2 has 5 bytes"):
            upload.write_part(2, b"wrong")
        with pytest.raises(InvalidRequest, match="part 2 is missing"):
            upload.complete()
        again = Upload.resume(client, json.loads(json.dumps(upload.state())))
        with pytest.raises(InvalidRequest, match="part 2 is missing"):
            again.complete()
        upload.write_part(2, BODY[4 * MIB : 8 * MIB])
        info = again.complete()
        assert info.checksum == whole and again.complete() == upload.complete() == info, "again is the same"
        assert client.get_bytes(info.id) == BODY
    assert told == sorted(told) and told[-1] == (len(BODY), len(BODY))


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


def remembered(file: Path, **said: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(state_path(file).read_text())
    return {**found, **said}


def broken_off(client: AmbryClient, file: Path, after: int, **said: Any) -> None:
    """A put of a file that ends as a kill ends it, when so many bytes are there."""

    def dies(done: int, _total: int | None) -> None:
        if done >= after:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.put_file(file, transfer=SMALL, progress=dies, **said)


def test_a_large_file_goes_on_where_it_stopped_and_only_as_the_blob_that_was_meant(dc1: str, tmp_path: Path) -> None:
    file = tmp_path / "big.bin"
    file.write_bytes(BODY)
    with AmbryClient(endpoints=[dc1]) as client:
        broken_off(client, file, 3 * MIB, ttl=3600)
        upload = client.resume_upload(str(remembered(file)["upload"]))
        # Not to be believed: a part that is not the file's is sent again.
        upload.write_part(upload.parts()[0].part, b"something else")
        there = sum(part.size for part in upload.parts() if part.size == MIB)
        told: list[tuple[int, int | None]] = []
        seen: list[int] = []
        info = client.put_file(
            file,
            ttl=3600,
            transfer=SMALL,
            resuming=lambda *each: told.append(each),
            progress=lambda done, _: seen.append(done),
        )
        assert (info.id, info.size, info.filename) == (upload.blob, len(BODY), "big.bin")
        [(resumed, total)] = told
        # A part that was under way when it broke off may have arrived since.
        assert total == len(BODY) and MIB <= there <= resumed < len(BODY)
        assert seen == sorted(seen) and seen[-1] == len(BODY)
        assert client.get_bytes(info.id) == BODY
        assert not state_path(file).exists()
        broken_off(client, file, 3 * MIB, ttl=3600)
        other = client.put_file(file, ttl=7200, transfer=SMALL, resuming=lambda *each: told.append(each))
        assert len(told) == 1 and client.get_bytes(other.id) == BODY, "another time to live is another blob"
        broken_off(client, file, 3 * MIB)
        anew = client.put_file(file, resume=False, transfer=SMALL, resuming=lambda *each: told.append(each))
        assert len(told) == 1 and client.get_bytes(anew.id) == BODY
        assert client.put_file(file, transfer=SMALL, checksum=digest(BODY).hex()).checksum == digest(BODY).hex()
        with pytest.raises(ChecksumMismatch):
            client.put_file(file, transfer=SMALL, checksum=digest(b"other").hex())


async def test_the_awaiting_client_does_the_same_with_a_name_that_takes_the_blob_along(
    dc1: str, tmp_path: Path
) -> None:
    file = tmp_path / "big.bin"
    file.write_bytes(BODY)
    name = f"{tmp_path.name}/big"
    async with AsyncAmbryClient(endpoints=[dc1]) as client:

        def dies(done: int, _total: int | None) -> None:
            if done >= 3 * MIB:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await client.put_file(file, name=name, transfer=SMALL, progress=dies)
        upload = await client.resume_upload(str(remembered(file)["upload"]))
        info = await client.put_file(file, name=name, transfer=SMALL)
        assert (info.id, info.name) == (upload.blob, name)
        assert await client.get_bytes(name) == BODY
        with pytest.raises(AlreadyExists):
            await client.put_file(file, name=name, if_absent=True, transfer=SMALL)
        with pytest.raises(PreconditionFailed):
            await client.put_file(file, name=name, if_match='"other"', transfer=SMALL)
        assert not state_path(file).exists()
        newer = await client.put_file(file, name=name, if_match=info.etag, transfer=SMALL)
        assert newer.id != info.id
        await client.delete(name)
        assert not await client.exists(newer.id)


def test_what_is_remembered_is_never_believed(dc1: str, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(BODY)
    put = ("put", file, "--endpoint", dc1, "--part-size", "1M")
    with AmbryClient(endpoints=[dc1], service_id="ambry-cli") as client:
        broken_off(client, file, 2 * MIB)
        known = remembered(file)
        ids = set()
        for text in ("nonsense", json.dumps({**known, "upload": "0" * 32}), json.dumps({**known, "part_size": 5})):
            state_path(file).write_text(text)
            ids.add(command(*put))
        assert len(ids) == 3
        # A command that was killed after it completed.
        upload = client.start_upload()
        for number in range(1, 11):
            upload.write_part(number, BODY[(number - 1) * MIB : number * MIB])
        done = upload.complete()
        state_path(file).write_text(json.dumps({**known, "upload": upload.id}))
        assert command(*put) == str(done.id)
        # And the file changed since: that is another blob.
        file.write_bytes(BODY[:-1] + b"!")
        state_path(file).write_text(json.dumps({**known, "upload": upload.id}))
        changed = command(*put)
        assert client.get_bytes(changed) == BODY[:-1] + b"!"
        assert client.get_bytes(done.id) == BODY


def test_the_command_says_what_is_there(dc1: str, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(BODY)
    with AmbryClient(endpoints=[dc1], service_id="ambry-cli") as client:
        broken_off(client, file, 4 * MIB)
    made = subprocess.run(
        [sys.executable, "-m", "ambry.cli.main", "put", str(file), "--endpoint", dc1, "--part-size", "1M"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert re.search(r"ambry: resuming file\.bin: [3-9](\.\d)? of 9\.4 MB is there", made.stderr), made.stderr


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
    assert command("put", file, "--endpoint", dc1, "--part-size", "1M")
    command("put", tmp_path / "missing", "--endpoint", dc1, code=1)


def test_parts_are_as_large_as_they_must_be() -> None:
    assert fitting(8 * MIB, 5) == 8 * MIB
    assert fitting(1, 5) == MIB
    assert fitting(MIB, 10_000 * MIB) == MIB
    assert fitting(MIB, 10_000 * MIB + 1) == 2 * MIB
