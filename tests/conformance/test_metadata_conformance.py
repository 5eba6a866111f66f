"""What every engine of the metadata store must do. Whoever relies on more adds it here."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import permutations, product
from pathlib import Path
from typing import Protocol

import pytest

from ambry.blob import NEVER_MS
from ambry.errors import InvalidRequest
from ambry.rest.versions import DatasetVersion, VersionSchema
from frontend.datasets import datasets as datasets_module
from frontend.datasets.datasets import Datasets
from frontend.datasets.rows import Dataset
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import (
    GROUP_MAX,
    KEY_BYTES_MAX,
    PAGE_MAX,
    TIME_MAX,
    VALUE_BYTES_MAX,
    Change,
    CommonPrefix,
    Conflict,
    Expect,
    LocalDelete,
    LocalPut,
    LogCursor,
    MetadataStore,
    Put,
    Query,
    Require,
    Stamp,
    Version,
)
from frontend.names.rows import NamedBlob
from tests.support.fake_clock import SettableClock
from tests.support.metadata_stores import opened, postgres_store, sqlite_store
from tests.support.postgres import PostgresProcess, why_impossible
from tests.support.samples import blob_id

NAME = Space.NAME
SCOPE = 0xFFFFFFFF << 32 | 0x80000001
"""As unsigned as scopes get."""
T0_MS = 1_790_000_000_000


class Engine(Protocol):
    """Makes stores; `place` tells one store from another, and the same again opens it again."""

    def __call__(
        self, place: str, *, datacenter: int = 1, clock: SettableClock | None = None
    ) -> contextlib.AbstractAsyncContextManager[MetadataStore]: ...


def sqlite_engine(root: Path) -> Engine:
    def make(
        place: str, *, datacenter: int = 1, clock: SettableClock | None = None
    ) -> contextlib.AbstractAsyncContextManager[MetadataStore]:
        return opened(sqlite_store(root / f"{place}.sqlite", datacenter=datacenter, clock=clock))

    return make


class Databases:
    """One server for all tests of a process, and databases that are emptied between them."""

    def __init__(self, server: PostgresProcess) -> None:
        self._server = server
        self._made = 0
        self._free: list[str] = []

    def engine(self, used: dict[str, str]) -> Engine:
        def make(
            place: str, *, datacenter: int = 1, clock: SettableClock | None = None
        ) -> contextlib.AbstractAsyncContextManager[MetadataStore]:
            if place not in used:
                used[place] = self._free.pop() if self._free else self._make()
            return opened(postgres_store(self._server.url(used[place]), datacenter=datacenter, clock=clock))

        return make

    def _make(self) -> str:
        self._made += 1
        self._server.make_database(f"d{self._made}")
        return f"d{self._made}"

    async def give_back(self, names: list[str]) -> None:
        import asyncpg

        for name in names:
            connection = await asyncpg.connect(self._server.url(name))
            await connection.execute("DROP SCHEMA ambry_metadata CASCADE")
            await connection.close()
        self._free += names


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    if why := why_impossible():
        pytest.skip(why)
    server = PostgresProcess()
    try:
        server.start()
        yield Databases(server)
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "sqlite":
        yield sqlite_engine(tmp_path)
        return
    databases: Databases = request.getfixturevalue("databases")
    used: dict[str, str] = {}
    yield databases.engine(used)
    await databases.give_back(list(used.values()))


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(T0_MS)


@pytest.fixture
async def store(engine: Engine, clock: SettableClock) -> AsyncIterator[MetadataStore]:
    async with engine("a", clock=clock) as made:
        yield made


def name(key: bytes, value: bytes | None, condition: Expect | Stamp = Expect.ANY) -> Put:
    return Put(NAME, SCOPE, key, value, condition)


async def put(store: MetadataStore, key: bytes, value: bytes | None, condition: Expect | Stamp = Expect.ANY) -> Version:
    (version,) = await store.write([name(key, value, condition)])
    return version


async def everything(store: MetadataStore) -> list[Version]:
    found: list[Version] = []
    cursor: LogCursor | None = None
    while True:
        page = await store.log(cursor, limit=PAGE_MAX)
        if not page.versions:
            return found
        found += page.versions
        cursor = page.cursor


def meanings(versions: list[Version]) -> list[tuple[int, int, bytes, Stamp, bytes | None]]:
    """Without the numbers of one store, in an order of their own."""
    return sorted(((v.space, v.scope, v.key, v.stamp, v.value) for v in versions), key=repr)


# --- registers ---


async def test_what_was_written_is_read_back(store: MetadataStore) -> None:
    version = await put(store, b"a", b"1")
    assert version == Version(NAME, SCOPE, b"a", Stamp(T0_MS << 16, 1), b"1", 1)
    assert version.stamp.wall_ms == T0_MS
    assert await store.get(NAME, SCOPE, b"a") == version
    assert await store.get(NAME, SCOPE, b"b") is None
    assert await store.get(NAME, SCOPE - 1, b"a") is None
    assert await store.get(Space.ALIAS, SCOPE, b"a") is None


async def test_many_are_read_in_the_order_that_they_were_asked_for_in(store: MetadataStore) -> None:
    a, b = await put(store, b"a", b"1"), await put(store, b"b", None)
    assert await store.get_many(NAME, SCOPE, [b"b", b"c", b"a", b"b"]) == [b, None, a, b]
    assert await store.get_many(NAME, SCOPE, []) == []


async def test_a_tombstone_is_the_newest_version_and_in_no_listing(store: MetadataStore) -> None:
    first = await put(store, b"a", b"1")
    buried = await put(store, b"a", None)
    assert await store.get(NAME, SCOPE, b"a") == buried
    assert await store.list(NAME, SCOPE) == []
    assert await store.history(NAME, SCOPE, b"a") == [buried, first]
    again = await put(store, b"a", b"2")
    assert await store.list(NAME, SCOPE) == [again]
    assert await store.history(NAME, SCOPE, b"a") == [again, buried, first]


async def test_the_history_is_read_by_pages(store: MetadataStore) -> None:
    made = [await put(store, b"a", b"%d" % number) for number in range(7)]
    await put(store, b"b", b"of another")
    newest_first = made[::-1]
    assert await store.history(NAME, SCOPE, b"a", limit=3) == newest_first[:3]
    assert await store.history(NAME, SCOPE, b"a", before=newest_first[2], limit=3) == newest_first[3:6]
    assert await store.history(NAME, SCOPE, b"a", before=newest_first[5], limit=3) == newest_first[6:]
    assert await store.history(NAME, SCOPE, b"a", before=newest_first[6]) == []
    assert await store.history(NAME, SCOPE, b"c") == []


@pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"x" * VALUE_BYTES_MAX])
async def test_values_come_back_as_they_were(store: MetadataStore, value: bytes) -> None:
    await put(store, b"k", value)
    await store.write([LocalPut(LocalSpace.LEASE, b"k", value)])
    found = await store.get(NAME, SCOPE, b"k")
    row = await store.local(LocalSpace.LEASE, b"k")
    assert found is not None and found.value == value
    assert row is not None and row.value == value


# --- conditions and groups ---


async def test_conditions_hold_or_nothing_is_done(store: MetadataStore) -> None:
    with pytest.raises(Conflict) as refused:
        await put(store, b"a", b"1", Expect.PRESENT)
    assert refused.value.current is None
    first = await put(store, b"a", b"1", Expect.ABSENT)
    with pytest.raises(Conflict) as refused:
        await put(store, b"a", b"2", Expect.ABSENT)
    assert refused.value.current == first
    second = await put(store, b"a", b"2", first.stamp)
    with pytest.raises(Conflict) as refused:
        await put(store, b"a", b"3", first.stamp)
    assert refused.value.current == second
    buried = await put(store, b"a", None, Expect.PRESENT)
    with pytest.raises(Conflict) as refused:
        await put(store, b"a", None, Expect.PRESENT)
    assert refused.value.current == buried
    await put(store, b"a", b"4", buried.stamp)
    await put(store, b"b", None)
    await put(store, b"b", b"1", Expect.ABSENT)
    assert [v.value for v in await store.history(NAME, SCOPE, b"a")] == [b"4", None, b"2", b"1"]


async def test_what_is_known_at_once_is_what_a_read_finds(store: MetadataStore) -> None:
    source = random.Random(3)
    keys = [b"%d" % number for number in range(4)]
    for _ in range(200):
        key = source.choice(keys)
        if source.random() < 0.2:
            await put(store, key, None if source.random() < 0.3 else b"x")
        known = store.known(NAME, SCOPE, key)
        assert known is None or known == await store.get(NAME, SCOPE, key)
        await store.get(NAME, SCOPE, key)


async def test_a_group_is_done_whole_or_not_at_all(store: MetadataStore) -> None:
    a = await put(store, b"a", b"1")
    rename: list[Change] = [
        name(b"a", None, a.stamp),
        name(b"b", b"1", Expect.ABSENT),
        LocalDelete(LocalSpace.INTENT, b"i"),
    ]
    await put(store, b"b", b"in the way")
    await store.write([LocalPut(LocalSpace.INTENT, b"i", b"x")])
    before = await store.head()
    with pytest.raises(Conflict) as refused:
        await store.write(rename)
    assert refused.value.change == rename[1]
    assert await store.head() == before
    assert await store.get(NAME, SCOPE, b"a") == a
    assert await store.local(LocalSpace.INTENT, b"i") is not None
    await put(store, b"b", None)
    gone, there = await store.write(rename)
    assert (gone.value, there.value) == (None, b"1")
    assert await store.get(NAME, SCOPE, b"a") == gone
    assert await store.get(NAME, SCOPE, b"b") == there
    assert await store.local(LocalSpace.INTENT, b"i") is None


async def test_groups_that_come_together_see_each_other(store: MetadataStore) -> None:
    outcomes = await asyncio.gather(
        *(put(store, b"one", b"%d" % number, Expect.ABSENT) for number in range(50)), return_exceptions=True
    )
    (winner,) = [version for version in outcomes if isinstance(version, Version)]
    losers = [error for error in outcomes if isinstance(error, Conflict)]
    assert len(losers) == 49
    assert all(error.current == winner for error in losers)
    assert await everything(store) == [winner]


async def test_a_chain_of_compare_and_sets_within_one_turn_leaves_one_history(store: MetadataStore) -> None:
    made = await asyncio.gather(*(put(store, b"k", b"%d" % n if n % 3 else None) for n in range(40)))
    assert [v.seq for v in made] == sorted(v.seq for v in made)
    assert await store.history(NAME, SCOPE, b"k") == made[::-1]
    assert await everything(store) == made


@pytest.mark.parametrize(
    "group",
    [
        [name(b"", b"")],
        [name(b"k" * (KEY_BYTES_MAX + 1), b"")],
        [name(b"k", b"v" * (VALUE_BYTES_MAX + 1))],
        [LocalPut(LocalSpace.LEASE, b"k", b"v" * (VALUE_BYTES_MAX + 1))],
        [name(b"k", b"1"), name(b"k", b"2")],
        [LocalPut(LocalSpace.LEASE, b"k", b"1"), LocalDelete(LocalSpace.LEASE, b"k")],
        [name(b"%d" % number, b"") for number in range(GROUP_MAX + 1)],
    ],
    ids=["no key", "long key", "long value", "long local value", "twice", "local twice", "long group"],
)
async def test_what_can_never_be_written_is_refused(store: MetadataStore, group: list[Put]) -> None:
    with pytest.raises(InvalidRequest):
        await store.write(group)
    assert (await store.head()).seq == 0


async def test_who_is_cancelled_leaves_a_store_that_goes_on(store: MetadataStore) -> None:
    tasks = [asyncio.create_task(put(store, b"%d" % number, b"1")) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, Version) for outcome in outcomes[1::2])
    there = {version.key for version in await store.list(NAME, SCOPE)}
    assert {version.key for version in outcomes if isinstance(version, Version)} <= there
    assert (await put(store, b"after", b"1")).seq == (await store.head()).seq


# --- the clock ---


async def test_a_clock_that_goes_back_reorders_nothing(store: MetadataStore, clock: SettableClock) -> None:
    first = await put(store, b"a", b"1")
    clock.wall = T0_MS - 86_400_000
    second = await put(store, b"a", b"2")
    assert second.stamp > first.stamp
    clock.wall = T0_MS + 5
    third = await put(store, b"a", b"3")
    assert third.stamp == Stamp(T0_MS + 5 << 16, 1)
    assert await store.history(NAME, SCOPE, b"a") == [third, second, first]


async def test_what_comes_from_a_clock_a_year_ahead_is_followed_by_what_is_written_here(store: MetadataStore) -> None:
    ahead = Version(NAME, SCOPE, b"a", Stamp((T0_MS + 31_536_000_000) << 16, 2), b"theirs", 9)
    assert await store.merge([ahead]) == 1
    ours = await put(store, b"a", b"ours")
    assert ours.stamp > ahead.stamp
    assert await store.get(NAME, SCOPE, b"a") == ours


# --- listing ---


KEYS = [
    b"a",
    b"a/",
    b"a/b",
    b"a/b/c",
    b"a/b/d",
    b"a//x",
    b"b\xff",
    b"b\xff\xff/1",
    b"b\xff\xff/2",
    b"\xff",
    b"\xff\xff",
]


@pytest.fixture
async def listed(store: MetadataStore) -> list[Version]:
    shuffled = random.Random(3).sample(KEYS, len(KEYS))
    versions = await asyncio.gather(*(put(store, key, key) for key in shuffled))
    await store.write([Put(NAME, SCOPE + 1, b"a/of another scope", b""), Put(Space.ALIAS, SCOPE, b"a/alias", b"")])
    return sorted(versions, key=lambda version: version.key)


@pytest.mark.parametrize("descending", [False, True])
async def test_a_listing_is_a_range_of_keys_in_the_order_of_their_bytes(
    store: MetadataStore, listed: list[Version], descending: bool
) -> None:
    prefixes = [b"", b"a", b"a/", b"a/b/", b"b\xff", b"b\xff\xff", b"\xff", b"c"]
    for prefix, after in product(prefixes, [None, b"", b"a/b", b"a/b/c", b"b", b"\xff\xff", b"zz"]):
        expected = [
            version
            for version in listed
            if version.key.startswith(prefix)
            and (after is None or (version.key < after if descending else version.key > after))
        ]
        if descending:
            expected.reverse()
        assert await store.list(NAME, SCOPE, prefix=prefix, after=after, descending=descending) == expected
        some = await store.list(NAME, SCOPE, prefix=prefix, after=after, descending=descending, limit=2)
        assert some == expected[:2]


def grouped(versions: list[Version], prefix: bytes, delimiter: bytes) -> list[Version | CommonPrefix]:
    """The rule of S3 and of every shell, by the letter."""
    found: dict[bytes, Version | CommonPrefix] = {}
    for version in versions:
        if version.key.startswith(prefix):
            head, cut, _ = version.key[len(prefix) :].partition(delimiter)
            if cut:
                found.setdefault(prefix + head + cut, CommonPrefix(prefix + head + cut))
            else:
                found[version.key] = version
    return list(found.values())


@pytest.mark.parametrize("delimiter", [b"/", b"//", b"\xff", b"\xff\xff"])
async def test_a_listing_with_a_delimiter_shows_each_kind_once_however_it_is_paged(
    store: MetadataStore, listed: list[Version], delimiter: bytes
) -> None:
    for prefix, limit in product([b"", b"a", b"a/", b"a/b/", b"b", b"b\xff", b"c"], [1, 2, PAGE_MAX]):
        found: list[Version | CommonPrefix] = []
        after: bytes | None = None
        while page := await store.prefixes(NAME, SCOPE, prefix=prefix, delimiter=delimiter, after=after, limit=limit):
            assert len(page) <= limit
            found += page
            last = page[-1]
            after = last.prefix if isinstance(last, CommonPrefix) else last.key
        assert found == grouped(listed, prefix, delimiter)


NEIGHBOURS = ("a", "a!", "a-b", "ab", "a\u00e9", "a\U0001f600", "b", "b" * 40, "none", "none-of-it", "\uffee")
"""Names of datasets, of which some begin with others; bytes, characters and UTF-16 have them in different orders."""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("page_max", "scanned"), [(3, 1), (7, 2), (PAGE_MAX, 4)])
async def test_the_newest_version_of_each_dataset_is_found_by_one_listing(
    store: MetadataStore, monkeypatch: pytest.MonkeyPatch, page_max: int, scanned: int, seed: int
) -> None:
    """`GET /datasets?newest`: the versions of neighbours, from a key that is none on, without those that were deleted."""
    monkeypatch.setattr(datasets_module, "PAGE_MAX", page_max)
    monkeypatch.setattr(datasets_module, "_SCANNED_PAGES_MAX", scanned)
    chance, datasets = random.Random(seed), Datasets(store)
    blob = NamedBlob(blob_id(1), 5, NEVER_MS, True)
    expected: dict[str, DatasetVersion] = {}
    for made in chance.sample(NEIGHBOURS, len(NEIGHBOURS)):
        known = await datasets.save(SCOPE, made, Dataset(schema=VersionSchema.MONOTONIC), update=False)
        numbers = [] if made.startswith("none") else sorted(chance.sample(range(1, 1_000), chance.randrange(1, 9)))
        deleted = set(chance.sample(numbers, chance.randrange(len(numbers) + 1)))
        for number in numbers:
            await datasets.point(known, (number,), blob, lambda _: [], now_ms=T0_MS)
        for number in deleted:
            await datasets.bury(known, await datasets.versions.find(SCOPE, datasets.key(known, (number,))))
        if living := set(numbers) - deleted:
            expected[made] = (max(living),)
    whole = await datasets.all(SCOPE, after=None, limit=PAGE_MAX)
    assert [each.name for each in whole] == sorted(NEIGHBOURS, key=str.encode)
    for limit in (1, 4, len(whole)):
        found: dict[str, DatasetVersion] = {}
        for begin in range(0, len(whole), limit):
            newest = await datasets.newest_of(whole[begin : begin + limit])
            found |= {name: each.number for name, each in newest.items()}
        assert found == expected


async def test_pages_stay_whole_while_others_write(store: MetadataStore) -> None:
    await store.write([name(b"%04d" % number, b"") for number in range(0, 1000, 2)])
    found: list[bytes] = []
    source = random.Random(5)
    while page := await store.list(NAME, SCOPE, after=found[-1] if found else None, limit=37):
        found += [version.key for version in page]
        await put(store, b"%04d" % source.randrange(1, 1000, 2), b"new")
        await put(store, b"%04d" % source.randrange(0, 1000, 2), b"changed")
    assert found == sorted(set(found))
    assert {b"%04d" % number for number in range(0, 1000, 2)} <= set(found)


@pytest.mark.parametrize("limit", [0, -1, PAGE_MAX + 1])
async def test_a_page_has_a_bound(store: MetadataStore, limit: int) -> None:
    with pytest.raises(InvalidRequest):
        await store.list(NAME, SCOPE, limit=limit)
    with pytest.raises(InvalidRequest):
        await store.log(limit=limit)
    with pytest.raises(InvalidRequest):
        await store.prefixes(NAME, SCOPE, delimiter=b"", limit=1)


# --- the log ---


async def test_the_log_has_every_version_once_in_the_order_it_was_recorded(store: MetadataStore) -> None:
    assert (await store.log()).versions == []
    made = [await put(store, b"%d" % (number % 3), b"%d" % number if number % 4 else None) for number in range(20)]
    assert [version.seq for version in made] == list(range(1, 21))
    found: list[Version] = []
    cursor: LogCursor | None = None
    while (page := await store.log(cursor, limit=3)).versions:
        found += page.versions
        cursor = page.cursor
        assert not page.started_over
    assert found == made
    assert cursor is not None and cursor.seq == 20
    page = await store.log(cursor)
    assert (page.versions, page.cursor, page.started_over) == ([], cursor, False)


async def test_a_cursor_of_another_log_starts_over(store: MetadataStore, engine: Engine) -> None:
    made = [await put(store, b"a", b"%d" % number) for number in range(3)]
    cursor = (await store.log()).cursor
    assert cursor is not None
    for foreign in (
        LogCursor(b"x" * 16, cursor.seq, cursor.stamp),
        LogCursor(cursor.store, 2, cursor.stamp),
        LogCursor(cursor.store, 9, cursor.stamp),
    ):
        page = await store.log(foreign, limit=2)
        assert (page.versions, page.started_over) == (made[:2], True)
    async with engine("another") as empty:
        page = await empty.log(cursor)
        assert (page.versions, page.cursor, page.started_over) == ([], None, True)


async def test_whoever_waits_for_the_log_hears_of_it(store: MetadataStore) -> None:
    assert await store.wait(0, 0.03) == 0
    waiting = asyncio.create_task(store.wait(0, 20.0))
    await asyncio.sleep(0)
    await put(store, b"a", b"1")
    assert await waiting == 1
    assert await store.wait(0, 20.0) == 1


async def test_whoever_waits_hears_of_what_another_process_wrote(store: MetadataStore, engine: Engine) -> None:
    waiting = asyncio.create_task(store.wait(0, 20.0))
    async with engine("a") as other:
        await put(other, b"a", b"1")
        assert await waiting == 1
        waiting = asyncio.create_task(store.wait(1, 20.0))
        await put(other, b"a", b"2")
        assert await waiting == 2


async def test_a_store_is_what_it_was_when_it_is_opened_again(engine: Engine) -> None:
    async with engine("b") as store:
        made = [await put(store, b"%d" % number, b"x") for number in range(5)]
        head = await store.head()
    async with engine("b") as store:
        assert await store.head() == head
        assert await everything(store) == made
        assert (await put(store, b"x", b"y")).seq == 6


# --- merging ---


async def test_versions_of_others_are_recorded_once(store: MetadataStore) -> None:
    mine = await put(store, b"a", b"mine")
    older = Version(NAME, SCOPE, b"a", Stamp(5, 2), b"older", 70)
    newer = Version(NAME, SCOPE, b"a", Stamp(mine.stamp.time + 1, 2), None, 71)
    along = LocalPut(LocalSpace.CURSOR, b"dc2", b"71")
    assert await store.merge([older, newer, older], along=[along]) == 2
    assert await store.merge([older, mine]) == 0
    assert [(v.value, v.seq) for v in await store.history(NAME, SCOPE, b"a")] == [
        (None, 3),
        (b"mine", 1),
        (b"older", 2),
    ]
    assert await store.list(NAME, SCOPE) == []
    row = await store.local(LocalSpace.CURSOR, b"dc2")
    assert row is not None and row.value == b"71"
    assert await store.merge([]) == 0


@pytest.mark.parametrize(
    "version",
    [
        Version(NAME, SCOPE, b"", Stamp(1, 2), b"", 1),
        Version(NAME, SCOPE, b"k", Stamp(0, 2), b"", 1),
        Version(NAME, SCOPE, b"k", Stamp(TIME_MAX + 1, 2), b"", 1),
        Version(NAME, SCOPE, b"k", Stamp(1, 0), b"", 1),
        Version(NAME, SCOPE, b"k", Stamp(1, 65_536), b"", 1),
        Version(NAME, SCOPE, b"k", Stamp(1, 2), b"v" * (VALUE_BYTES_MAX + 1), 1),
    ],
)
async def test_versions_that_no_store_made_are_refused(store: MetadataStore, version: Version) -> None:
    good = Version(NAME, SCOPE, b"good", Stamp(1, 2), b"", 1)
    with pytest.raises(InvalidRequest):
        await store.merge([good, version])
    assert (await store.head()).seq == 0


async def test_stores_that_saw_the_same_versions_in_any_order_are_equal(engine: Engine) -> None:
    """Six events at three datacenters, two of which have one stamp: a store was put back from a backup."""
    t = T0_MS << 16
    events = [
        Version(NAME, SCOPE, b"k", Stamp(t + 1, 1), b"one", 0),
        Version(NAME, SCOPE, b"k", Stamp(t + 1, 2), b"two", 0),
        Version(NAME, SCOPE, b"k", Stamp(t + 2, 3), None, 0),
        Version(NAME, SCOPE, b"k", Stamp(t + 3, 1), b"four", 0),
        Version(NAME, SCOPE, b"k", Stamp(t + 3, 1), b"five", 0),
        Version(NAME, SCOPE, b"k", Stamp(t + 3, 1), None, 0),
    ]
    orders = list(permutations(range(6)))
    some = random.Random(11).sample(orders, 9)
    async with AsyncExitStack() as stores:
        seen = set()
        for number, arrival in enumerate(some):
            store = await stores.enter_async_context(engine(f"m{number}", datacenter=number % 3 + 1))
            # Some come one by one, some in groups.
            for start in range(0, 6, number % 3 + 1):
                await store.merge([events[index] for index in arrival[start : start + number % 3 + 1]])
            newest = await store.get(NAME, SCOPE, b"k")
            assert newest is not None and newest.value == b"four"
            listed = await store.list(NAME, SCOPE)
            history = await store.history(NAME, SCOPE, b"k")
            seen.add(repr((meanings(listed), [(v.stamp, v.value) for v in history], meanings(await everything(store)))))
        assert len(seen) == 1


# --- local rows ---


async def test_a_group_is_bound_to_registers_that_it_does_not_change(store: MetadataStore) -> None:
    first = await put(store, b"dataset", b"1")
    there = Require(Space.NAME, SCOPE, b"dataset", first.stamp)
    await store.write([Put(Space.NAME, SCOPE, b"v1", b""), there, Require(Space.NAME, SCOPE, b"no", Expect.ABSENT)])
    head = await store.head()
    await store.write([there])
    assert await store.head() == head, "whoever asks changes nothing"
    second = await put(store, b"dataset", b"2")
    with pytest.raises(Conflict) as refused:
        await store.write([Put(Space.NAME, SCOPE, b"v2", b""), there])
    assert (refused.value.change, refused.value.current) == (there, second)
    assert await store.get(Space.NAME, SCOPE, b"v2") is None
    with pytest.raises(InvalidRequest):
        await store.write([Put(Space.NAME, SCOPE, b"dataset", b""), there])


async def test_local_rows_are_put_under_conditions(store: MetadataStore) -> None:
    lease = LocalSpace.LEASE
    await store.write([LocalPut(lease, b"k", b"me", condition=Expect.ABSENT)])
    with pytest.raises(Conflict) as refused:
        await store.write([LocalPut(lease, b"k", b"you", condition=Expect.ABSENT)])
    row = await store.local(lease, b"k")
    assert refused.value.current == row
    with pytest.raises(Conflict):
        await store.write([LocalPut(lease, b"k", b"you", condition=b"nobody")])
    await store.write([LocalPut(lease, b"k", b"you", condition=b"me")])
    with pytest.raises(Conflict):
        await store.write([LocalDelete(lease, b"k", condition=b"me")])
    await store.write([LocalDelete(lease, b"k", condition=Expect.PRESENT)])
    with pytest.raises(Conflict):
        await store.write([LocalDelete(lease, b"k", condition=Expect.PRESENT)])
    assert await store.local(lease, b"k") is None
    assert (await store.head()).seq == 0, "local rows are not in the log"


async def test_a_local_row_is_gone_when_its_end_has_come(store: MetadataStore, clock: SettableClock) -> None:
    lease = LocalSpace.LEASE
    await store.write([LocalPut(lease, b"k", b"me", expires_ms=T0_MS + 10), LocalPut(lease, b"l", b"stays")])
    assert [row.key for row in await store.locals(lease)] == [b"k", b"l"]
    clock.wall = T0_MS + 10
    assert await store.local(lease, b"k") is None
    assert [row.key for row in await store.locals(lease)] == [b"l"]
    with pytest.raises(Conflict):
        await store.write([LocalPut(lease, b"k", b"me", condition=b"me")])
    await store.write([LocalPut(lease, b"k", b"you", expires_ms=T0_MS + 20, condition=Expect.ABSENT)])
    row = await store.local(lease, b"k")
    assert row is not None and (row.value, row.expires_ms) == (b"you", T0_MS + 20)


async def test_rows_past_their_end_are_taken_away_in_passing_once_the_clock_can_be_trusted(
    store: MetadataStore, clock: SettableClock
) -> None:
    async def rows() -> int:
        ((count,),) = await store.rows(Query("SELECT count(*) FROM local", ()))
        return int(count)

    await store.write([LocalPut(LocalSpace.LEASE, b"%d" % n, b"", expires_ms=T0_MS + 10) for n in range(5)])
    await store.write([LocalPut(LocalSpace.LEASE, b"stays", b"", expires_ms=T0_MS + 86_400_000)])
    clock.wall = T0_MS + 20
    await put(store, b"a", b"")
    assert await rows() == 6, "who began a moment ago may have a wrong clock"
    clock.advance(61.0)
    await put(store, b"a", b"")
    assert await rows() == 1


async def test_local_rows_are_listed_by_key(store: MetadataStore) -> None:
    part = LocalSpace.PART
    await store.write([LocalPut(part, b"s1/%03d" % number, b"") for number in range(5)])
    await store.write([LocalPut(part, b"s2/000", b""), LocalPut(LocalSpace.SESSION, b"s1/000", b"")])
    keys = [row.key for row in await store.locals(part, prefix=b"s1/", limit=3)]
    assert keys == [b"s1/000", b"s1/001", b"s1/002"]
    assert [row.key for row in await store.locals(part, prefix=b"s1/", after=keys[-1])] == [b"s1/003", b"s1/004"]


# --- a space that forgets ---

FORGETFUL = Space.CONTAINER_KEY


async def test_a_space_that_forgets_keeps_nothing_of_what_was_superseded(engine: Engine) -> None:
    async with engine("a") as store:
        for value in (b"\0first", b"\0second", b"\1gone"):
            await store.write([Put(FORGETFUL, SCOPE, b"k", value)])
        assert [version.value for version in (await store.log()).versions] == [b"", b"", b"\1gone"]
        assert [version.value for version in await store.history(FORGETFUL, SCOPE, b"k")] == [b"\1gone", b"", b""]
        head = await store.head()
        assert head.seq == 3


async def test_what_is_over_for_ever_is_not_brought_back(engine: Engine) -> None:
    async with engine("a") as store:
        (gone,) = await store.write([Put(FORGETFUL, SCOPE, b"k", b"\1gone")])
        for value in (b"\0back", None):
            with pytest.raises(Conflict):
                await store.write([Put(FORGETFUL, SCOPE, b"k", value)])
        found = await store.get(FORGETFUL, SCOPE, b"k")
        assert found == gone


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_stores_that_forget_end_alike_in_whatever_order_they_hear(engine: Engine, order: tuple[int, ...]) -> None:
    """One datacenter deletes a key while another, which has not heard of it, wraps it anew, and later."""
    clock = SettableClock(T0_MS)
    async with engine("a", clock=clock) as a, engine("b", datacenter=2, clock=clock) as b, engine("c") as c:
        (made,) = await a.write([Put(FORGETFUL, SCOPE, b"k", b"\0key")])
        await b.merge([made])
        (deleted,) = await a.write([Put(FORGETFUL, SCOPE, b"k", b"\1gone")])
        clock.advance(10)
        (anew,) = await b.write([Put(FORGETFUL, SCOPE, b"k", b"\0key, wrapped anew")])
        await a.merge([anew])
        await b.merge((await a.log()).versions)
        heard = [made, deleted, anew]
        for index in order:
            await c.merge([heard[index]])
        for store in (a, b, c):
            versions = await store.history(FORGETFUL, SCOPE, b"k")
            assert versions[0].value == b"\1gone"
            assert {version.value for version in versions[1:]} <= {b""}
            assert b"key" not in b"".join(version.value or b"" for version in (await store.log()).versions)
