"""What changed in the metadata of one container, from the log."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.clustermap.model import ClusterMap
from ambry.rest.versions import VersionSchema
from frontend.datasets.aliases import Aliases
from frontend.datasets.datasets import Datasets
from frontend.datasets.rows import AliasMove, Dataset
from frontend.feed import registers
from frontend.feed.registers import RegisterChanges, RegisterPage
from frontend.metadata.spaces import Space
from frontend.metadata.store import LogCursor, MetadataStore, Put, Stamp, Version
from frontend.names.rows import NamedBlob, encode_named
from tests.support.direct_node import cluster_map
from tests.support.fake_clock import SettableClock
from tests.support.following import SCOPE, StoreSource, follower_of, stores
from tests.support.metadata_stores import sqlite_store
from tests.support.samples import blob_id

MAP = cluster_map(1, 1)
ALONE = cluster_map(1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MetadataStore]:
    async with stores(tmp_path, [SettableClock()]) as (opened,):
        yield opened


def value(number: int) -> bytes:
    return encode_named(NamedBlob(blob_id(number), 5, 9_000, owned=True))


async def put(store: MetadataStore, name: bytes, number: int | None, scope: int = SCOPE) -> None:
    await store.write([Put(Space.NAME, scope, name, None if number is None else value(number))])


def feed(store: MetadataStore, map: ClusterMap = ALONE) -> RegisterChanges:
    return RegisterChanges(store, map)


def told(page: RegisterPage) -> list[tuple[str, str | None, str | None]]:
    return [(each.event.type, each.event.name, each.event.blob_id) for each in page.changes]


async def test_all_versions_of_a_container_are_told_in_their_order_and_then_what_is_new(store: MetadataStore) -> None:
    changes = feed(store)
    await put(store, b"a", 1)
    await put(store, b"elsewhere", 9, scope=SCOPE + 1)
    await put(store, b"a", 2)
    await put(store, b"a", None)
    first = await changes.page(SCOPE, (), 100)
    assert [each[:2] for each in told(first)] == [("name.put", "a"), ("name.put", "a"), ("name.delete", "a")]
    assert [each.blob.id for each in first.changes if each.blob is not None] == [blob_id(1), blob_id(2)]
    assert first.at_end and not first.started_over
    await put(store, b"b", 3)
    second = await changes.page(SCOPE, first.logs, 100)
    assert [each[:2] for each in told(second)] == [("name.put", "b")]


async def test_a_page_ends_behind_the_last_version_that_it_tells(
    store: MetadataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registers, "PAGE_MAX", 3)
    changes = feed(store)
    for number in range(7):
        await put(store, b"%d" % number, number)
        await put(store, b"other", number, scope=SCOPE + 1)
    logs: tuple[LogCursor, ...] = ()
    names: list[str | None] = []
    for _ in range(20):
        page = await changes.page(SCOPE, logs, 2)
        logs = page.logs
        names += [each.event.name for each in page.changes]
        if page.at_end:
            break
    assert names == [str(number) for number in range(7)]


async def test_a_page_looks_at_so_many_versions_whatever_it_finds(
    store: MetadataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registers, "PAGE_MAX", 2)
    monkeypatch.setattr(registers, "SCAN_MAX", 4)
    for number in range(6):
        await put(store, b"%d" % number, number, scope=SCOPE + 1)
    await put(store, b"mine", 1)
    first = await feed(store).page(SCOPE, (), 10)
    assert (first.changes, first.at_end) == ([], False)
    assert [each[:2] for each in told(await feed(store).page(SCOPE, first.logs, 10))] == [("name.put", "mine")]


async def test_datasets_versions_and_aliases_are_told(store: MetadataStore) -> None:
    datasets, aliases = Datasets(store), Aliases(store)
    blob = NamedBlob(blob_id(1), 5, 9_000, owned=True)
    for name, schema, number, text in (
        ("long", VersionSchema.SEMANTIC_LONG, (1, 2, 3, 4), "1.2.3.4"),
        ("plain", VersionSchema.MONOTONIC, (7,), "7"),
    ):
        known = await datasets.save(SCOPE, name, Dataset(schema=schema), update=False)
        await datasets.point(known, number, blob, lambda _number: [], now_ms=1)
        version = await datasets.version(known, number)
        await aliases.move(known, "champion", AliasMove(version=text), version, None)
        await aliases.move(known, "champion", None, None, text)
    page = await feed(store).page(SCOPE, (), 100)
    assert [(each.event.type, each.event.dataset, each.event.version) for each in page.changes] == [
        *[("dataset.put", "long", None), ("version.put", "long", "1.2.3.4")],
        *[("alias.put", "long", "1.2.3.4"), ("alias.delete", "long", None)],
        *[("dataset.put", "plain", None), ("version.put", "plain", "7")],
        *[("alias.put", "plain", "7"), ("alias.delete", "plain", None)],
    ]


async def test_from_now_on_is_behind_the_newest_version(store: MetadataStore) -> None:
    changes = feed(store)
    assert await changes.now() == ()
    await put(store, b"a", 1)
    await put(store, b"a", 2)
    logs = await changes.now()
    assert logs == (await changes.page(SCOPE, (), 100)).logs
    await put(store, b"b", 3)
    assert [each[:2] for each in told(await changes.page(SCOPE, logs, 100))] == [("name.put", "b")]


async def test_a_log_that_is_another_by_now_is_told_from_its_beginning(store: MetadataStore, tmp_path: Path) -> None:
    await put(store, b"a", 1)
    page = await feed(store).page(SCOPE, (), 100)
    other = sqlite_store(tmp_path / "other.sqlite", clock=SettableClock(), seed=99)
    await other.reach()
    try:
        await put(other, b"b", 2)
        elsewhere = await feed(other).page(SCOPE, page.logs, 100)
    finally:
        await other.close()
    assert elsewhere.started_over
    assert [each[:2] for each in told(elsewhere)] == [("name.put", "b")]


async def test_a_token_goes_on_in_the_other_datacenter_where_that_was_followed(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        await put(there, b"theirs", 1)
        await put(here, b"ours", 2)
        follower = follower_of(here, StoreSource(there), clock=clock)
        await follower.tick()
        first = await feed(here, MAP).page(SCOPE, (), 100)
        assert {each.event.name for each in first.changes} == {"theirs", "ours"}
        await put(there, b"new", 3)
        second = await feed(there, MAP).page(SCOPE, first.logs, 100)
        assert not second.started_over
        assert [each[:2] for each in told(second)] == [("name.put", "new")]
        assert len(second.logs) == 1


async def test_what_was_followed_counts_only_where_the_log_was_read_to_its_end(tmp_path: Path) -> None:
    clock = SettableClock()
    async with stores(tmp_path, [clock, clock]) as (here, there):
        await put(here, b"ours", 2)
        await put(there, b"theirs", 1)
        await follower_of(here, StoreSource(there), clock=clock).tick()
        cut = await feed(here, MAP).page(SCOPE, (), 1)
        assert len(cut.logs) == 1 and not cut.at_end
        whole = await feed(here, MAP).page(SCOPE, cut.logs, 10)
        assert len(whole.logs) == 2


ORDERS = list(itertools.permutations([Stamp(10, 1), Stamp(20, 2), Stamp(30, 3)]))


@pytest.mark.parametrize("order", ORDERS, ids=str)
async def test_whatever_order_versions_come_in_the_last_that_is_told_is_what_holds(
    tmp_path: Path, order: tuple[Stamp, ...]
) -> None:
    """Three datacenters that were cut apart wrote one name; each pair of pages meets another part of it."""
    for cuts in itertools.product([False, True], repeat=2):
        store = sqlite_store(tmp_path / f"{cuts}.sqlite", clock=SettableClock(), seed=1)
        await store.reach()
        try:
            changes, seen = feed(store, MAP), []
            logs: tuple[LogCursor, ...] = ()
            for place, stamp in enumerate(order):
                await store.merge([Version(Space.NAME, SCOPE, b"a", stamp, value(stamp.datacenter), 1)])
                if place < 2 and not cuts[place]:
                    continue
                page = await changes.page(SCOPE, logs, 100)
                logs = page.logs
                seen += [each.event.datacenter for each in page.changes]
                assert not page.changes[-1].event.late
                newest = max(order[: place + 1])
                assert seen[-1] == newest.datacenter, (order, cuts, seen)
            assert set(seen) == {1, 2, 3}
        finally:
            await store.close()
