"""What disks do to a metadata file: lose power, fill up, hang, come back from a backup. And a process stopped in its turn."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ambry.errors import InsufficientStorage
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Put, Version
from tests.support import hung_disk, power_cut
from tests.support.clusters import rounds, seed_of
from tests.support.hung_disk import HungDisk, waits_for_a_disk
from tests.support.metadata_process import Said, faults_of, writing
from tests.support.metadata_stores import opened, sqlite_store
from tests.support.power_cut import LoopDisk

pytestmark = pytest.mark.fault


def lines(said: Path) -> list[list[str]]:
    """The whole lines of what a process said, in words."""
    *whole, _ = said.read_text().split("\n")
    return [line.split() for line in whole if line.startswith(("begun", "done", "away", "full"))]


async def until_said(said: Path, word: str, *, after: int = 0) -> int:
    """Until a line has this word; how many lines there are then."""
    async with asyncio.timeout(60.0):
        while not any(word in line for line in lines(said)[after:]):  # noqa: ASYNC110  processes tell nobody
            await asyncio.sleep(0.01)
    return len(lines(said))


# --- power ---


async def test_power_cuts_lose_nothing_acknowledged(tmp_path: Path) -> None:
    if why := power_cut.why_impossible(tmp_path):
        pytest.skip(why)
    source = random.Random(seed_of("metadata power cuts"))
    disk = LoopDisk(tmp_path / "disk.img", tmp_path / "disk")
    path = disk.mount_point / "m.sqlite"
    said = Said()
    try:
        disk.make()
        for number in range(rounds(8)):
            names = [f"p{number}a", f"p{number}b"]
            files = [tmp_path / f"{name}.said" for name in names]
            with writing(path, names[0], said=files[0]) as one, writing(path, names[1], said=files[1]) as two:
                await until_said(files[0], "done")
                await asyncio.sleep(source.uniform(0, 0.4))
                for process in (one, two):
                    process.send_signal(signal.SIGKILL)
                disk.cut()
            for file in files:
                said.hear(file.read_bytes())
            disk.restore()
            async with opened(sqlite_store(path)) as store:
                assert await faults_of(store, said) == []
    finally:
        disk.unmount()
    print(f"{len(said.done)} groups acknowledged, {len(said.begun - said.done)} under way when the power went")


# --- room ---


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    directory.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr!r}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


async def test_a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with small_disk(tmp_path / "disk") as disk, writing(disk / "m.sqlite", "p", said=said, what="patience"):
        seen = await until_said(said, "done")
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        seen = await until_said(said, "full", after=seen)
        seen = await until_said(said, "read", after=seen)
        filler.unlink()
        await until_said(said, "done", after=seen)
    assert not [line for line in lines(said) if line[1] != "read"], "reads went on"


async def test_a_disk_that_is_full_from_the_start_is_opened_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes((4 << 20) - 8192))
        store = sqlite_store(disk / "m.sqlite")
        with pytest.raises(InsufficientStorage, match="make room on its disk"):
            await store.reach()
        filler.unlink()
        await store.write([Put(Space.NAME, 1, b"a", b"")])
        await store.close()


# --- time ---


async def test_a_disk_that_hangs_refuses_and_never_stops_the_event_loop(tmp_path: Path) -> None:
    if why := hung_disk.why_impossible():
        pytest.skip(why)
    directory, said = tmp_path / "data", tmp_path / "said"
    directory.mkdir()
    disk = HungDisk(tmp_path / "disk.img", directory)
    try:
        disk.take_over()
        with writing(directory / "m.sqlite", "p", said=said, what="patience") as process:
            seen = await until_said(said, "done")
            disk.watch(process.pid)
            disk.hang()
            try:
                seen = await until_said(said, "away", after=seen)
                assert waits_for_a_disk(process.pid)
                seen = await until_said(said, "away", after=seen)
            finally:
                disk.go_on()
            await until_said(said, "done", after=seen)
    finally:
        disk.close()
    assert max(int(line[2]) for line in lines(said)) < 1_500, (
        "the loop went on, where a write took as long as it is waited for"
    )


async def test_a_process_that_is_stopped_in_its_turn_holds_others_back_for_as_long_alone(tmp_path: Path) -> None:
    path, said = tmp_path / "m.sqlite", tmp_path / "said"
    with writing(path, "stopped", said=tmp_path / "other") as other, writing(path, "p", said=said, what="patience"):
        seen = await until_said(said, "done")
        held = False
        while not held:
            other.send_signal(signal.SIGSTOP)
            before = len(lines(said))
            await asyncio.sleep(0.3)
            # Stopped elsewhere than in its turn: once more.
            held = len(lines(said)) <= before + 1
            if not held:
                other.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.003)
        seen = await until_said(said, "away", after=seen)
        other.send_signal(signal.SIGCONT)
        await until_said(said, "done", after=seen)
    assert not [line for line in lines(said) if line[1] != "read"], "reads never wait for writes"


# --- backups ---


async def put(store: MetadataStore, key: bytes, value: bytes) -> Version:
    (version,) = await store.write([Put(Space.NAME, 1, key, value)])
    return version


async def test_a_follower_notices_that_a_file_was_put_back_and_gives_it_back_what_it_lost(tmp_path: Path) -> None:
    path, backup = tmp_path / "m.sqlite", tmp_path / "backup"
    async with opened(sqlite_store(path)) as store:
        await put(store, b"a", b"1")
    shutil.copy(path, backup)
    follower = sqlite_store(tmp_path / "other.sqlite", datacenter=2)
    async with opened(follower):
        async with opened(sqlite_store(path)) as store:
            lost = await put(store, b"a", b"2")
            page = await store.log()
            await follower.merge(page.versions)
        shutil.copy(backup, path)
        async with opened(sqlite_store(path)) as store:
            await put(store, b"b", b"instead")
            again = await store.log(page.cursor)
            assert again.started_over
            assert await follower.merge(again.versions) == 1
            assert await store.merge((await follower.log()).versions) == 1
            found = await store.get(Space.NAME, 1, b"a")
            assert found is not None and (found.value, found.stamp) == (b"2", lost.stamp)
            ours, theirs = (await store.log()).versions, (await follower.log()).versions
            assert {(v.key, v.stamp, v.value) for v in ours} == {(v.key, v.stamp, v.value) for v in theirs}
