"""The change feed over real processes: whatever dies meanwhile, all that was acknowledged is told, a blob before its name.

AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ambry import AmbryClient, AmbryError, AsyncAmbryClient, RetryPolicy, Timeout, ToldChange
from ambry.blob import NEVER_MS
from ambry.client.wire.message import moment
from deploy.local_cluster import LocalCluster
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put, Version, order
from frontend.names.rows import NamedBlob, encode_named
from tests.fault.conftest import MakeCluster
from tests.support.clusters import seed_of
from tests.support.cut_datacenters import cut_datacenters
from tests.support.samples import blob_id
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault

QUICK = Timeout(connect=1.0, read=6.0, total=10.0)
PAUSE_S = 0.02
TOLD_WITHIN_S = 90.0


@dataclass
class Acknowledged:
    """What was acknowledged; only ever added to."""

    puts: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    """By name the blob that it got."""
    deleted: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)


class Writer(threading.Thread):
    """Puts, names and deletes at one datacenter until it is told to stop."""

    def __init__(self, urls: Sequence[str], name: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.done = Acknowledged()
        self._client = AmbryClient(urls, timeout=QUICK, retry=RetryPolicy(max_attempts=1))
        self._prefix = name
        self._random = random.Random(seed)
        self._stop_it = threading.Event()

    def stop(self) -> None:
        self._stop_it.set()
        self.join(60)

    def run(self) -> None:
        number = 0
        while not self._stop_it.wait(PAUSE_S):
            number += 1
            try:
                self._step(f"{self._prefix}/{number}")
            except (AmbryError, OSError):
                continue  # may or may not have happened: nothing follows from it

    def _step(self, name: str) -> None:
        done, client = self.done, self._client
        which = self._random.random()
        if which < 0.4:
            done.puts.append(str(client.put(name.encode()).id))
        elif which < 0.8:
            done.named[name] = str(client.put(name.encode(), name=name).id)
        elif which < 0.9 and done.puts:
            blob = self._random.choice(done.puts)
            client.delete(blob)
            done.deleted.append(blob)
        elif done.named:
            name = self._random.choice(list(done.named))
            client.delete(name)
            done.unnamed.append(name)


class Reader(threading.Thread):
    """Follows the changes, by whichever frontend answers, until it is told to stop."""

    def __init__(self, urls: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.told: list[ToldChange] = []
        self.failures = 0
        self._client = AmbryClient(urls, timeout=QUICK, retry=RetryPolicy(max_attempts=2, base=0.05))
        self._feed = self._client.changes(follow=True, timeout=QUICK)
        self._stop_it = threading.Event()

    def stop(self) -> None:
        self._stop_it.set()
        self.join(60)

    def run(self) -> None:
        while not self._stop_it.is_set():
            try:
                self.told.append(next(self._feed))
            except (AmbryError, OSError):
                self.failures += 1
                self._stop_it.wait(0.1)


def missing(told: Sequence[ToldChange], done: Acknowledged) -> list[str]:
    """What was acknowledged and not told."""
    seen = {(each.type, each.name or str(each.id)) for each in told}
    expected = [
        *(("blob.put", blob) for blob in (*done.puts, *done.named.values())),
        *(("name.put", name) for name in done.named),
        *(("blob.delete", blob) for blob in done.deleted),
        *(("name.delete", name) for name in done.unnamed),
    ]
    return [f"{type} {what}" for type, what in expected if (type, what) not in seen]


def names_before_their_blobs(told: Sequence[ToldChange]) -> list[str]:
    put: set[str] = set()
    found: list[str] = []
    for each in told:
        if each.type == "blob.put":
            put.add(str(each.id))
        elif each.type == "name.put" and str(each.id) not in put:
            found.append(f"{each.name} before {each.id}")
    return found


def end(cluster: LocalCluster, name: str, *, wipe: bool = False) -> None:
    cluster.kill(name, signal.SIGKILL)
    if wipe:
        shutil.rmtree(cluster.member(name).data_dir)


def grown(writers: Sequence[Writer], by: int) -> None:
    """Until so much more was acknowledged by all of them together."""

    def count() -> int:
        return sum(len(writer.done.puts) + len(writer.done.named) for writer in writers)

    before = count()
    eventually(lambda: count() >= before + by, f"{by} more are acknowledged", timeout_s=60.0)


def test_everything_acknowledged_is_told_whatever_dies_meanwhile(make_cluster: MakeCluster) -> None:
    seed = seed_of("changes are told")
    cluster = make_cluster(frontends=2)
    here = [member.url for member in cluster.frontends("dc1")]
    there = [member.url for member in cluster.frontends("dc2")]
    writers = [Writer(here, "one", seed), Writer(there, "two", seed + 1)]
    reader = Reader([*here, *there])
    for thread in (*writers, reader):
        thread.start()
    try:
        grown(writers, 40)
        end(cluster, "dc1-n1")
        grown(writers, 40)
        cluster.start("dc1-n1")
        end(cluster, "dc1-f1")
        grown(writers, 40)
        cluster.start("dc1-f1")
        end(cluster, "dc1-n2", wipe=True)
        cluster.start("dc1-n2")
        grown(writers, 40)
        for member in cluster.members:
            if member.datacenter == "dc1":
                end(cluster, member.name)
        grown([writers[1]], 40)
        for member in cluster.members:
            if member.datacenter == "dc1":
                cluster.start(member.name, wait=False)
        cluster.wait_ready()
        grown(writers, 40)
        for writer in writers:
            writer.stop()
        for writer in writers:
            eventually(
                lambda writer=writer: not missing(list(reader.told), writer.done),  # type: ignore[misc]
                "all that was acknowledged is told",
                timeout_s=TOLD_WITHIN_S,
            )
    finally:
        for writer in writers:
            writer.stop()
        reader.stop()
        for writer in writers:
            print(f"not told: {missing(reader.told, writer.done)[:5]}")
        restarts = sum(each.type == "restarted" for each in reader.told)
        count = sum(len(writer.done.puts) + len(writer.done.named) for writer in writers)
        print(f"{count} put, {len(reader.told)} told, {reader.failures} failures of a follower, {restarts} restarts")
    assert names_before_their_blobs(reader.told) == []
    last = {each.name: each.type for each in reader.told if each.name is not None}
    for writer in writers:
        assert [name for name in writer.done.unnamed if last[name] != "name.delete"] == []


async def test_many_followers_are_all_told_and_none_keeps_puts_from_going_on(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(datacenters=1)
    url = cluster.frontends("dc1")[0].url
    told: list[int] = []
    async with AsyncAmbryClient(url) as client:

        async def follow(number: int) -> None:
            feed = client.changes("beginning", follow=True)
            seen = 0
            async for change in feed:
                seen += change.type == "blob.put"
                if seen == 20:
                    told.append(number)
                    return

        followers = [asyncio.ensure_future(follow(number)) for number in range(100)]
        for number in range(20):
            await client.put(b"%d" % number)
        async with asyncio.timeout(TOLD_WITHIN_S):
            await asyncio.gather(*followers)
    assert sorted(told) == list(range(100))


async def test_names_of_a_datacenter_that_was_cut_off_are_told_and_the_last_of_each_is_what_holds(
    tmp_path: Path,
) -> None:
    async with cut_datacenters(tmp_path, 2) as run:
        reader = Reader([run.cluster.frontends("dc1")[0].url])
        reader.start()
        made: list[Version] = []

        async def write(number: int) -> None:
            for step in range(60):
                blob = NamedBlob(blob_id(1_000 * number + step, partition=0), 5, NEVER_MS, owned=False)
                value = None if step % 7 == 6 else encode_named(blob)
                made.extend(await run.stores[number].write([Put(Space.NAME, 1 << 32 | 1, b"%d" % (step % 5), value)]))
                await asyncio.sleep(0.002)

        try:
            run.cut()
            await asyncio.gather(write(1), write(2))
            run.heal()

            def told() -> bool:
                seen = {(each.name, each.datacenter, each.time) for each in list(reader.told) if each.name}
                return all(
                    (version.key.decode(), version.stamp.datacenter, moment(version.stamp.wall_ms)) in seen
                    for version in made
                )

            await asyncio.to_thread(eventually, told, "all versions of both are told", timeout_s=TOLD_WITHIN_S)
        finally:
            await asyncio.to_thread(reader.stop)
        last = {each.name: each for each in reader.told if each.name is not None}
        for name, event in last.items():
            newest = max((version for version in made if version.key.decode() == name), key=order)
            assert (event.type == "name.put", event.datacenter, event.time) == (
                newest.living,
                newest.stamp.datacenter,
                moment(newest.stamp.wall_ms),
            )
