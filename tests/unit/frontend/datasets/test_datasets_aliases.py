"""Aliases, versions and datasets that are changed in the same moment: what was looked at still holds when it is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ambry.blob import NEVER_MS
from ambry.errors import NameDeleted, UpdateConflict
from ambry.rest.versions import DatasetVersion, VersionSchema
from frontend.datasets.datasets import Datasets
from frontend.datasets.kept import KeptDataset, KeptVersion
from frontend.datasets.rows import AliasMove, Dataset
from frontend.metadata.store import MetadataStore
from frontend.names.rows import NamedBlob
from tests.support.metadata_stores import opened, sqlite_store
from tests.support.samples import blob_id

SCOPE = 1 << 32 | 1
BLOB = NamedBlob(blob_id(1), 5, NEVER_MS, True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MetadataStore]:
    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as made:
        yield made


@pytest.fixture
def datasets(store: MetadataStore) -> Datasets:
    return Datasets(store)


async def make(datasets: Datasets, *numbers: DatasetVersion) -> KeptDataset:
    known = await datasets.save(SCOPE, "d", Dataset(schema=VersionSchema.SEMANTIC), update=False)
    for number in numbers:
        await point(datasets, known, number)
    return known


async def point(datasets: Datasets, known: KeptDataset, number: DatasetVersion) -> None:
    await datasets.point(known, number, BLOB, lambda _: [], now_ms=1)


async def move(datasets: Datasets, known: KeptDataset, to: KeptVersion, expected: str | None) -> None:
    text = ".".join(map(str, to.number))
    await datasets.aliases.move(known, "champion", AliasMove(version=text), to, expected)


def just_before_the_next_write(
    monkeypatch: pytest.MonkeyPatch, store: MetadataStore, act: Callable[[], Awaitable[Any]]
) -> None:
    """Something else happens after everything was looked at."""
    real = store.write

    async def write(group: Any) -> Any:
        monkeypatch.setattr(store, "write", real)
        await act()
        return await real(group)

    monkeypatch.setattr(store, "write", write)


async def test_an_alias_does_not_move_to_a_version_that_was_deleted_meanwhile(datasets: Datasets) -> None:
    known = await make(datasets, (1, 0, 0))
    to = await datasets.version(known, (1, 0, 0))
    await datasets.bury(known, to.named)
    with pytest.raises(UpdateConflict, match=r"1\.0\.0 of 'd' was deleted in this moment"):
        await move(datasets, known, to, None)
    assert await datasets.aliases.all(known) == []


async def test_a_version_to_which_an_alias_moves_in_this_moment_is_not_deleted(
    datasets: Datasets, store: MetadataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await make(datasets, (1, 0, 0), (2, 0, 0))
    first, second = await datasets.version(known, (1, 0, 0)), await datasets.version(known, (2, 0, 0))
    await move(datasets, known, first, None)
    just_before_the_next_write(monkeypatch, store, lambda: move(datasets, known, second, "1.0.0"))
    with pytest.raises(UpdateConflict, match=r"the alias champion points to 2\.0\.0; move it first"):
        await datasets.bury(known, second.named)
    assert (await datasets.version(known, (2, 0, 0))).named == second.named


async def test_a_version_that_is_deleted_twice_is_told_of_without_the_bytes_of_its_key(datasets: Datasets) -> None:
    known = await make(datasets, (1, 0, 0))
    version = await datasets.version(known, (1, 0, 0))
    await datasets.bury(known, version.named)
    with pytest.raises(UpdateConflict, match=r"^that version of 'd' was deleted meanwhile"):
        await datasets.bury(known, version.named)


async def test_a_version_goes_though_an_alias_moves_elsewhere_in_this_moment(
    datasets: Datasets, store: MetadataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await make(datasets, (1, 0, 0), (2, 0, 0))
    first, second = await datasets.version(known, (1, 0, 0)), await datasets.version(known, (2, 0, 0))
    just_before_the_next_write(monkeypatch, store, lambda: move(datasets, known, second, None))
    await datasets.bury(known, first.named)
    with pytest.raises(NameDeleted):
        await datasets.version(known, (1, 0, 0))


@pytest.mark.parametrize("number", [(2, 0, 0), (0, 9, 0)], ids=["newer", "older"])
async def test_a_dataset_that_gets_a_version_in_this_moment_is_not_deleted(
    datasets: Datasets, store: MetadataStore, monkeypatch: pytest.MonkeyPatch, number: DatasetVersion
) -> None:
    known = await make(datasets, (1, 0, 0))
    await datasets.bury(known, (await datasets.version(known, (1, 0, 0))).named)
    just_before_the_next_write(monkeypatch, store, lambda: point(datasets, known, number))
    with pytest.raises(UpdateConflict, match="was changed meanwhile"):
        await datasets.delete(known)
    assert await datasets.find(SCOPE, "d") == known


async def test_a_version_is_not_put_into_a_dataset_that_is_deleted_in_this_moment(
    datasets: Datasets, store: MetadataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await make(datasets)
    just_before_the_next_write(monkeypatch, store, lambda: datasets.delete(known))
    with pytest.raises(UpdateConflict, match="deleted meanwhile"):
        await point(datasets, known, (1, 0, 0))


async def test_a_version_is_not_put_into_a_dataset_that_was_made_anew_with_another_schema(datasets: Datasets) -> None:
    known = await make(datasets)
    await datasets.delete(known)
    await datasets.save(SCOPE, "d", Dataset(schema=VersionSchema.MONOTONIC), update=False)
    with pytest.raises(UpdateConflict, match="deleted meanwhile"):
        await point(datasets, known, (1, 0, 0))
