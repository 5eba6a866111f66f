"""Names over HTTP by the page, and how soon a change is heard of.

    python -m tests.bench.named_pages [--names 1000000] [--changes 300]

Names come into the metadata file of a running cluster (one data node, one frontend) by the store's own merge, and are listed
over HTTP by one client, page after page of 1,000: names a second, and processor time of the frontend for each. A page nine
tenths in is compared with the first, in turns; then pages of a deep prefix and of a delimiter, by the entry. Then two
datacenters: from the acknowledgement of a change to whoever waits for the log of the same file in another process, and to
whoever waits for that of the other datacenter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import uvloop

from ambry.blob import NEVER_MS
from ambry.ids import BlobId, IdKind
from deploy.local_cluster import LocalCluster
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Stamp, Version
from frontend.names.rows import NamedBlob, encode_named
from tests.bench import proc
from tests.bench.batches import Client, connect
from tests.support.clusters import running_cluster
from tests.support.metadata_stores import opened, sqlite_store

NAMES = 1_000_000
CHANGES = 300
OF_A_DIRECTORY = 100
MERGED = 2_000
PAGES = 40
NAMED = "/named/default/default"
SCOPE = 1 << 32 | 1
LISTED_PER_S_MIN = 60_000
FAR_RATIO_MAX = 1.25
NEAR_P99_MS_MAX = 50.0
FAR_P99_MS_MAX = 150.0


def told(held: bool, text: str) -> None:
    print(f"{'held  ' if held else 'MISSED'}  {text}", flush=True)


def store_of(cluster: LocalCluster, number: int) -> MetadataStore:
    """The metadata file of a datacenter, as one more process has it."""
    path = cluster.directory / f"metadata-dc{number}.sqlite"
    return sqlite_store(path, datacenter=number, cluster=cluster.shape.cluster, timeout_s=60.0)


def key_of(number: int) -> bytes:
    directory, file = divmod(number, OF_A_DIRECTORY)
    return b"models/m%06d/part-%05d" % (directory, file)


async def fill(store: MetadataStore, names: int) -> None:
    tick = 1_790_000_000_000 << 16
    for begin in range(0, names, MERGED):
        some = []
        for number in range(begin, min(begin + MERGED, names)):
            blob_id = BlobId.make(
                kind=IdKind.SIMPLE, datacenter=1, account=1, container=1, partition=0, uuid=number.to_bytes(16, "big")
            )
            value = encode_named(NamedBlob(blob_id.raw, 4096, NEVER_MS, owned=True))
            some.append(Version(Space.NAME, SCOPE, key_of(number), Stamp(tick + number, 2), value, 0))
        await store.merge(some)


async def page_of(client: Client, query: str) -> tuple[int, str | None]:
    """How many entries, and the token of the next page."""
    status, body = await client.send(f"GET {NAMED}?{query}")
    assert status == 200, body
    # The bench decodes no names: it shares the processors with who makes them.
    token = body.rpartition(b'"nextPageToken":')[2].rstrip(b"}\n ")
    return body.count(b'"blobName"'), None if token == b"null" else json.loads(token)


async def listing(cluster: LocalCluster, names: int) -> None:
    (member,) = cluster.frontends()
    pid = cluster.pid(member.name)
    assert pid is not None
    async with opened(store_of(cluster, 1)) as store:
        await fill(store, names)
    client = await connect(urlsplit(member.url).port or 0)
    await page_of(client, "")
    began, cpu = time.perf_counter(), proc.cpu_s(pid)
    found, query, far = 0, "", ""
    while True:
        count, token = await page_of(client, query)
        found += count
        if token is None:
            break
        query = f"page={quote(token)}"
        if not far and found >= names * 9 // 10:
            far = query
    took, cpu = time.perf_counter() - began, proc.cpu_s(pid) - cpu
    assert found == names
    told(found / took >= LISTED_PER_S_MIN, f"{found / took:,.0f} names/s are listed, {cpu / found * 1e6:.1f} us each")
    took_ms: dict[str, list[float]] = {"": [], far: []}
    for _ in range(PAGES):
        for query, times in took_ms.items():
            began = time.perf_counter()
            await page_of(client, query)
            times.append((time.perf_counter() - began) * 1000)
    first_ms, far_ms = (statistics.median(times) for times in took_ms.values())
    told(far_ms <= FAR_RATIO_MAX * first_ms, f"the first page takes {first_ms:.2f} ms, one nine tenths in {far_ms:.2f}")
    for what, query in (
        ("of a deep prefix", f"prefix=models/m{names // OF_A_DIRECTORY // 2:06}/"),
        ("of common prefixes", "prefix=models/&delimiter=/"),
    ):
        counts, before = 0, proc.cpu_s(pid)
        for _ in range(PAGES):
            counts += (await page_of(client, query))[0]
        print(
            f"        a page {what} takes {(proc.cpu_s(pid) - before) / counts * 1e6:.1f} us for each entry", flush=True
        )
    client.close()


async def hearing(cluster: LocalCluster, changes: int) -> None:
    client = await connect(urlsplit(cluster.frontends("dc1")[0].url).port or 0)
    async with opened(store_of(cluster, 1)) as near, opened(store_of(cluster, 2)) as far:
        for name, what, store, most_ms in (
            ("near", "in another process of the datacenter", near, NEAR_P99_MS_MAX),
            ("far", "in another datacenter", far, FAR_P99_MS_MAX),
        ):
            took = []
            for number in range(changes):
                before = (await store.head()).seq
                status, body = await client.send(f"PUT {NAMED}/{name}/{number}", "", b"x")
                assert status == 201, body
                began = time.perf_counter()
                after = await store.wait(before, 10.0)
                assert after > before, "it never came"
                took.append((time.perf_counter() - began) * 1000)
            took.sort()
            p99 = took[len(took) * 99 // 100]
            told(p99 <= most_ms, f"{what} a change is heard of after {took[len(took) // 2]:.1f} ms, {p99:.1f} at p99")
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--changes", type=int, default=CHANGES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, _cluster(place, 1) as cluster:
        uvloop.run(listing(cluster, options.names))
    with tempfile.TemporaryDirectory() as place, _cluster(place, 2) as cluster:
        uvloop.run(hearing(cluster, options.changes))


def _cluster(place: str, datacenters: int) -> contextlib.AbstractContextManager[LocalCluster]:
    return running_cluster(Path(place), datacenters=datacenters, nodes=1, partitions=1)


if __name__ == "__main__":
    main()
