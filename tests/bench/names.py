"""Many names in one metadata file: how large it is, how quick a look-up is, a listing, a page far in, a delimiter.

    python -m tests.bench.names [--names N] [--dir DIRECTORY] [--output FILE] [--quick]

Names come by the store's own merge, as from another datacenter: directory by directory of 100 names, directories in an order of
chance, 10,000,000 names in all (--quick: 300,000), of which a tenth lie in the container that is listed. Everything is asked of
the store by its protocol, in this process. It leaves nothing but the report.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ambry.service.process import SWITCH_INTERVAL_S
from frontend.metadata.spaces import Space
from frontend.metadata.store import CommonPrefix, MetadataStore, Stamp, Version
from tests.support.metadata_stores import opened, sqlite_store

NAMES = 10_000_000
QUICK_NAMES = 300_000
LISTED, REST = 1, 2
"""Scopes: the container that is listed has a tenth of all."""
OF_A_DIRECTORY = 100
MERGED = 2_000
SIDE_BY_SIDE = 16
VALUE_BYTES = 48
"""Of a name: a blob id, a size, a moment."""
LOOKUPS = 20_000
PAGES = 50
SEED = 7
LOOKUP_P99_MS_MAX = 1.0
NAME_BYTES_MAX = 250
LISTED_PER_S_MIN = 225_000
FAR_PAGE_RATIO_MAX = 1.25
DELIMITER_RATIO_MAX = 30.0
"""A common prefix is a search of its own, where a name in a row is the next in its page."""


class NamesReport(msgspec.Struct, frozen=True, kw_only=True):
    names: int
    build_s: float
    name_bytes: float
    """Of the file, for each name; the names themselves have `key_bytes` of it."""
    key_bytes: float
    build_cpu_us: float
    """Processor time of a name that came, that of the bench which makes it included."""
    lookup_p50_ms: float
    lookup_p99_ms: float
    hop_p99_ms: float
    """Of a question that needs no look at names, asked in turn with them: what of it is the machine's, not the names'."""
    listed_per_s: float
    listed_cpu_us: float
    """Processor time of a name in a listing."""
    first_page_ms: float
    far_page_ms: float
    """Of the page that begins nine tenths in."""
    prefixes_per_s: float
    """Common prefixes, each of 100 names."""

    def bars(self) -> list[tuple[str, bool]]:
        far = self.far_page_ms / self.first_page_ms
        delimiter = self.listed_per_s / self.prefixes_per_s
        return [
            (f"a look-up takes {self.lookup_p99_ms:.3f} ms at p99", self.lookup_p99_ms < LOOKUP_P99_MS_MAX),
            (f"a name takes {self.name_bytes:.0f} bytes", self.name_bytes <= NAME_BYTES_MAX),
            (f"{self.listed_per_s:,.0f} names/s are listed", self.listed_per_s >= LISTED_PER_S_MIN),
            (f"a page nine tenths in takes {far:.2f} x the first", far <= FAR_PAGE_RATIO_MAX),
            (f"a common prefix takes {delimiter:.1f} x a name", delimiter <= DELIMITER_RATIO_MAX),
        ]


def key_of(number: int) -> bytes:
    directory, file = divmod(number, OF_A_DIRECTORY)
    return b"teams/t%04d/models/m%06d/part-%05d" % (directory % 1000, directory, file)


def arriving(names: int) -> Iterator[list[Version]]:
    source = random.Random(SEED)
    directories = list(range(names // OF_A_DIRECTORY))
    source.shuffle(directories)
    tick = 1_790_000_000_000 << 16
    some: list[Version] = []
    for directory in directories:
        scope = LISTED if directory % 10 == 0 else REST
        for file in range(OF_A_DIRECTORY):
            tick += source.randrange(1, 1 << 16)
            key = key_of(directory * OF_A_DIRECTORY + file)
            some.append(Version(Space.NAME, scope, key, Stamp(tick, 2), source.randbytes(VALUE_BYTES), 0))
        if len(some) >= MERGED:
            yield some
            some = []
    if some:
        yield some


async def build(store: MetadataStore, names: int) -> None:
    waiting: set[asyncio.Task[int]] = set()
    done = 0
    for some in arriving(names):
        waiting.add(asyncio.create_task(store.merge(some)))
        if len(waiting) >= SIDE_BY_SIDE:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            before = done // 1_000_000
            done += sum(task.result() for task in finished)
            if done // 1_000_000 > before:
                print(f"{done:,} names", file=sys.stderr)
    if waiting:
        await asyncio.wait(waiting)


class Lookups(NamedTuple):
    """Milliseconds, the shortest first."""

    names: list[float]
    hops: list[float]


async def look_up(store: MetadataStore, names: int, seed: int) -> Lookups:
    """Look-ups one after the other, of names drawn from all, and in turn with them of where the log ends."""
    source = random.Random(seed)
    took = Lookups([], [])
    for _ in range(min(LOOKUPS, names // 15)):
        number = source.randrange(names // OF_A_DIRECTORY * OF_A_DIRECTORY)
        scope = LISTED if number // OF_A_DIRECTORY % 10 == 0 else REST
        key = key_of(number)
        began = time.perf_counter()
        found = await store.get(Space.NAME, scope, key)
        between = time.perf_counter()
        await store.head()
        took.names.append((between - began) * 1000)
        took.hops.append((time.perf_counter() - between) * 1000)
        assert found is not None and found.living
    return Lookups(sorted(took.names), sorted(took.hops))


async def list_all(store: MetadataStore) -> tuple[float, float, list[bytes]]:
    """Seconds, of the clock and of a processor, and the last key of each page."""
    lasts: list[bytes] = []
    began, began_cpu = time.perf_counter(), time.process_time()
    while page := await store.list(Space.NAME, LISTED, after=lasts[-1] if lasts else None):
        lasts.append(page[-1].key)
    return time.perf_counter() - began, time.process_time() - began_cpu, lasts


async def page_ms(store: MetadataStore, after: bytes | None) -> float:
    took = []
    for _ in range(PAGES):
        began = time.perf_counter()
        await store.list(Space.NAME, LISTED, after=after)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def prefixes_per_s(store: MetadataStore) -> float:
    """Common prefixes: what lies in the directories of teams that follow one another."""
    found, began = 0, time.perf_counter()
    for team in range(0, 1000, 10):
        page = await store.prefixes(Space.NAME, LISTED, prefix=b"teams/t%04d/models/" % team, delimiter=b"/")
        assert all(isinstance(entry, CommonPrefix) for entry in page)
        found += len(page)
    return found / (time.perf_counter() - began)


async def measure(directory: Path, names: int) -> NamesReport:
    path = directory / "names.sqlite"
    async with opened(sqlite_store(path, timeout_s=600.0)) as store:
        began, began_cpu = time.perf_counter(), time.process_time()
        await build(store, names)
        build_s, build_cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    print("built", file=sys.stderr)
    size = path.stat().st_size
    async with opened(sqlite_store(path, timeout_s=600.0)) as store:
        await look_up(store, names, SEED)  # what a frontend that has run for a while has in its page cache
        lookups = await look_up(store, names, SEED + 1)  # others: those are known by now, and not looked up
        listed_s, listed_cpu_s, lasts = await list_all(store)
        return NamesReport(
            names=names,
            build_s=build_s,
            build_cpu_us=build_cpu_s / names * 1e6,
            name_bytes=size / names,
            key_bytes=len(key_of(0)),
            lookup_p50_ms=lookups.names[len(lookups.names) // 2],
            lookup_p99_ms=lookups.names[len(lookups.names) * 99 // 100],
            hop_p99_ms=lookups.hops[len(lookups.hops) * 99 // 100],
            listed_per_s=names / 10 / listed_s,
            listed_cpu_us=listed_cpu_s / names * 1e7,
            first_page_ms=await page_ms(store, None),
            far_page_ms=await page_ms(store, lasts[len(lasts) * 9 // 10]),
            prefixes_per_s=await prefixes_per_s(store),
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.names")
    parser.add_argument("--names", type=int, default=0)
    parser.add_argument("--dir", type=Path, default=Path.cwd())
    parser.add_argument("--output", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    names = given.names or (QUICK_NAMES if given.quick else NAMES)
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as a frontend has it
    directory = Path(tempfile.mkdtemp(prefix="bench-names-", dir=given.dir))
    try:
        report = asyncio.run(measure(directory, names))
    finally:
        shutil.rmtree(directory)
    text = msgspec.json.format(msgspec.json.encode(report)).decode()
    if given.output:
        given.output.write_text(text + "\n", "utf-8")
    print(text)
    for told, held in report.bars():
        print(f"{'held  ' if held else 'MISSED'}  {told}")
    os.sync()
    return 0 if all(held for _, held in report.bars()) else 1


if __name__ == "__main__":
    sys.exit(main())
