"""A dataset that two datacenters made with different schemas while they were cut apart. One schema holds afterwards.

The versions of the other one were struct.error: 500 for every list and put, the end of the loop that deletes old versions, and
a feed that never went on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS
from ambry.clustermap.model import ClusterMap
from ambry.errors import UpdateConflict
from ambry.rest.versions import DatasetVersion, VersionSchema, VersionToken, text_of
from frontend.datasets.datasets import Datasets
from frontend.datasets.rows import Dataset
from frontend.feed.registers import RegisterChanges
from frontend.metadata.store import MetadataStore
from frontend.names.rows import NamedBlob
from tests.support.direct_node import cluster_map
from tests.support.fake_clock import SettableClock
from tests.support.following import SCOPE, stores
from tests.support.samples import blob_id

ALONE: ClusterMap = cluster_map(1)
BLOB = NamedBlob(blob_id(1), 5, NEVER_MS, True)
VERSIONS: dict[VersionSchema, list[DatasetVersion]] = {
    VersionSchema.SEMANTIC: [(1, 0, 0), (1, 2, 0)],
    VersionSchema.MONOTONIC: [(7,), (8,)],
}


@pytest.fixture
async def healed(tmp_path: Path) -> AsyncIterator[MetadataStore]:
    """The store of a datacenter that has heard of what the other one did: its dataset is older, its versions are newer."""
    clocks = [SettableClock(), SettableClock()]
    async with stores(tmp_path, clocks) as (here, there):
        theirs = await Datasets(there).save(SCOPE, "d", Dataset(schema=VersionSchema.MONOTONIC), update=False)
        clocks[0].advance(60)
        ours = await Datasets(here).save(SCOPE, "d", Dataset(schema=VersionSchema.SEMANTIC), update=False)
        clocks[1].advance(120)
        for store, each in ((here, ours), (there, theirs)):
            for number in VERSIONS[each.dataset.schema]:
                await Datasets(store).point(each, number, BLOB, lambda _: [], now_ms=1)
        await here.merge((await there.log()).versions)
        yield here


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_the_versions_of_the_schema_that_holds_are_listed(
    healed: MetadataStore, limit: int, descending: bool
) -> None:
    datasets = Datasets(healed)
    known = await datasets.find(SCOPE, "d")
    found: list[DatasetVersion] = []
    after: bytes | None = None
    while page := await datasets.page(known, after=after, limit=limit, descending=descending):
        found += [each.number for each in page]
        after = page[-1].named.key
    assert sorted(found, reverse=descending) == found
    assert sorted(found) == VERSIONS[VersionSchema.SEMANTIC]
    newest = await datasets.version(known, VersionToken.LATEST)
    assert newest.number == (1, 2, 0)


@pytest.mark.parametrize("asked", [(3, 0, 0), VersionToken.LATEST])
async def test_a_put_is_refused_with_a_sentence(healed: MetadataStore, asked: DatasetVersion | VersionToken) -> None:
    datasets = Datasets(healed)
    known = await datasets.find(SCOPE, "d")
    with pytest.raises(UpdateConflict, match="two schemas"):
        await datasets.point(known, asked, BLOB, lambda _: [], now_ms=1)


async def test_the_feed_tells_the_versions_of_both(healed: MetadataStore) -> None:
    page = await RegisterChanges(healed, ALONE).page(SCOPE, (), 100)
    told = {each.event.version for each in page.changes if each.event.type == "version.put"}
    assert told == {text_of(number) for numbers in VERSIONS.values() for number in numbers}
