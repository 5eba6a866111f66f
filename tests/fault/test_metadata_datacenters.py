"""Datacenters that are cut apart while all of them change the same registers: when they are whole again they are equal, and
nothing that was acknowledged anywhere is missing."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.errors import PreconditionFailed
from frontend.commands import meta
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put, Version, order
from tests.support.clusters import rounds, seed_of
from tests.support.cut_datacenters import CutDatacenters, cut_datacenters
from tests.support.following import everything
from tests.support.rest import Answer, call

pytestmark = pytest.mark.fault

NAME = Space.NAME
SCOPE = 1 << 32 | 1
KEYS = [b"%d" % number for number in range(6)]
WHOLE_AGAIN_S = 60.0
"""The bound of the contract: from the healing until all is well."""


async def until(look: Callable[[], Awaitable[bool]], what: str, timeout_s: float = WHOLE_AGAIN_S) -> None:
    async with asyncio.timeout(timeout_s):
        while not await look():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.05)
    print(what)


async def equal(run: CutDatacenters) -> bool:
    found = [await everything(store) for store in run.stores.values()]
    return all(each == found[0] for each in found)


async def write(run: CutDatacenters, number: int, made: list[Version], *, count: int, seed: int) -> None:
    """Change random registers of a datacenter; what was acknowledged is in `made`."""
    source = random.Random(seed)
    for step in range(count):
        key = source.choice(KEYS)
        value = None if source.random() < 0.2 else b"dc%d %d" % (number, step)
        try:
            made += await run.stores[number].write([Put(NAME, SCOPE, key, value)])
        except PreconditionFailed:
            continue
        await asyncio.sleep(0.002)


async def check_whole(run: CutDatacenters, made: list[Version]) -> None:
    await until(lambda: equal(run), "all stores are equal")
    (one, *_) = [await everything(store) for store in run.stores.values()]
    missing = [
        version
        for version in made
        if (version.space, version.scope, version.key, version.stamp.time, version.stamp.datacenter, version.value)
        not in one
    ]
    assert missing == []
    for store in run.stores.values():
        for key in KEYS:
            newest = max((version for version in made if version.key == key), key=order)
            found = await store.get(NAME, SCOPE, key)
            assert found is not None
            assert (found.stamp, found.value) == (newest.stamp, newest.value)


@pytest.mark.parametrize(("count", "workers"), [(2, 2), (3, 1)])
async def test_datacenters_cut_apart_while_all_write_are_equal_when_they_are_whole_again(
    tmp_path: Path, count: int, workers: int
) -> None:
    seed = seed_of(f"cut apart {count}")
    overrides = {"frontend": [f"frontend.workers={workers}"]}
    async with cut_datacenters(tmp_path, count, overrides=overrides) as run:
        made: list[Version] = []
        await asyncio.gather(*(write(run, number, made, count=20, seed=seed + number) for number in run.stores))
        await check_whole(run, made)
        for turn in range(rounds(1)):
            run.cut()
            before = [await everything(store) for store in run.stores.values()]
            await asyncio.gather(
                *(write(run, number, made, count=200, seed=seed + 10 * turn + number) for number in run.stores)
            )
            now = [await everything(store) for store in run.stores.values()]
            assert all(len(after) == len(then) + 200 for then, after in zip(before, now, strict=True)), (
                "they were cut apart"
            )

            async def notices() -> bool:
                return any(line["error"] for line in await run.lines(1))

            await until(notices, "somebody says that the others do not answer")
            answer = await asyncio.to_thread(call, run.cluster.frontends("dc1")[0].url, "GET", "/readyz")
            assert answer.status == 200
            run.heal()
            await check_whole(run, made)

        async def says_so() -> bool:
            lines = [line for number in run.stores for line in await run.lines(number) if line["follows"]]
            return len(lines) == count * (count - 1) and all(line["behind_versions"] == 0 for line in lines)

        await until(says_so, "each of the others is followed, and nothing is missing")
        told = await asyncio.to_thread(CliRunner().invoke, meta, ["lag", "--dir", str(run.cluster.directory)])
        assert told.exit_code == 0, told.output
        assert told.output.count(" is behind ") == count * (count - 1)


async def test_frontends_that_follow_are_killed_again_and_again_and_nothing_is_lost(tmp_path: Path) -> None:
    seed = seed_of("killed followers")
    source = random.Random(seed)
    async with cut_datacenters(tmp_path, 2) as run:
        made: list[Version] = []
        writing = asyncio.gather(*(write(run, number, made, count=1_500, seed=seed + number) for number in run.stores))
        kills = 0
        while not writing.done() or kills < 2:
            number = source.choice((1, 2))
            for name in await run.who_follows(number):
                await asyncio.sleep(source.random() * 0.2)
                await asyncio.to_thread(run.cluster.kill, name, signal.SIGKILL)
                kills += 1
                await asyncio.to_thread(run.cluster.start, name)
            await asyncio.sleep(0.05)
        await writing
        print(f"{kills} frontends killed while they followed")
        await check_whole(run, made)


async def test_a_store_put_back_from_a_backup_gets_what_it_lost_from_the_others(tmp_path: Path) -> None:
    seed = seed_of("put back")
    async with cut_datacenters(tmp_path, 2) as run:
        made: list[Version] = []
        await write(run, 1, made, count=50, seed=seed)
        await check_whole(run, made)
        names = run.frontends(1)

        async def stop() -> None:
            for name in names:
                await asyncio.to_thread(run.cluster.kill, name, signal.SIGTERM)
            await run.close_store(1)

        path, backup = run.metadata_path(1), tmp_path / "backup.sqlite"
        await stop()
        shutil.copy(path, backup)
        await run.open_stores()
        for name in names:
            await asyncio.to_thread(run.cluster.start, name)
        await asyncio.gather(*(write(run, number, made, count=50, seed=seed + number) for number in run.stores))
        await check_whole(run, made)

        await stop()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copy(backup, path)
        await run.open_stores()
        await write(run, 1, made, count=20, seed=seed + 7)
        for name in names:
            await asyncio.to_thread(run.cluster.start, name)
        await check_whole(run, made)


async def test_a_name_of_another_datacenter_is_found_at_once_or_503_and_never_404(tmp_path: Path) -> None:
    """C3 for names: what dc1 has acknowledged is not absent in dc2, whether that follows, was just told, or is cut off."""
    async with cut_datacenters(tmp_path, 2) as run:
        dc1, dc2 = (run.cluster.frontends(name)[0].url for name in ("dc1", "dc2"))

        async def ask(url: str, method: str, name: str, body: bytes | None = None) -> Answer:
            return await asyncio.to_thread(call, url, method, f"/named/default/default/{name}", body)

        async def found() -> bool:
            return (await ask(dc2, "GET", "none")).status == 404

        await until(found, "dc2 may say that a name is nowhere")
        for number in range(20):
            put = await ask(dc1, "PUT", f"name{number}", b"%d" % number)
            assert put.status in (200, 201), put.body
            got = await ask(dc2, "GET", f"name{number}")
            assert (got.status, got.body) == (200, b"%d" % number)
        run.cut()
        assert (await ask(dc1, "PUT", "later", b"later")).status in (200, 201)
        for _ in range(5):
            got = await ask(dc2, "GET", "later")
            assert got.status == 503
            assert got.headers["Retry-After"]
        got = await ask(dc2, "GET", "name3")
        assert (got.status, got.body) == (200, b"3")
        run.heal()

        async def there() -> bool:
            got = await ask(dc2, "GET", "later")
            assert got.status in (200, 503), got.status
            return got.status == 200

        await until(there, "the name is there")
