"""Which store a frontend has, and what it does without one."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from ambry.clock import SystemClock
from ambry.clustermap.layout import load_layout
from ambry.errors import MetadataUnavailable, StoreMismatch
from frontend.config import FrontendConfig, FrontendSection, MetadataSection
from frontend.metadata import opening
from frontend.metadata.opening import metadata_store, open_metadata, sqlite_path
from frontend.metadata.store import MetadataStore
from tests.support.captured_log import capture_log, said
from tests.support.metadata_stores import sqlite_store


@pytest.fixture
def config(tmp_path: Path) -> FrontendConfig:
    layout = {
        "cluster": "test",
        "version": 1,
        "datacenters": [{"name": "dc/1", "id": 4, "nodes": [{"name": "n1", "host": "127.0.0.1", "port": 1}]}],
        "partitions": [{"id": 0, "replicas": ["n1"]}],
    }
    path = tmp_path / "layout.json"
    path.write_bytes(msgspec.json.encode(layout))
    return FrontendConfig(frontend=FrontendSection(name="f", datacenter="dc/1", layout=str(path)))


def store_of(config: FrontendConfig) -> MetadataStore:
    layout = load_layout(Path(config.frontend.layout))
    return metadata_store(config, layout, clock=SystemClock(), random_source=random.Random(1))


async def test_the_file_lies_beside_the_layout_unless_another_is_named(config: FrontendConfig, tmp_path: Path) -> None:
    assert sqlite_path(config) == tmp_path / "metadata-dc%2F1.sqlite"
    named = msgspec.structs.replace(config, metadata=MetadataSection(path=str(tmp_path / "m")))
    assert sqlite_path(named) == tmp_path / "m"
    store = store_of(config)
    assert store.datacenter == 4
    await open_metadata(store)
    await store.close()
    assert sqlite_path(config).is_file()


async def test_a_file_of_another_datacenter_keeps_a_frontend_from_starting(config: FrontendConfig) -> None:
    other = sqlite_store(sqlite_path(config), datacenter=9)
    await other.reach()
    await other.close()
    store = store_of(config)
    with pytest.raises(StoreMismatch):
        await open_metadata(store)
    await store.close()


async def test_a_store_that_is_away_does_not(
    config: FrontendConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = msgspec.structs.replace(config, metadata=MetadataSection(path=str(tmp_path / "no" / "m")))
    store = store_of(away)
    events = capture_log(monkeypatch, opening)
    await open_metadata(store)
    assert said(events, "metadata store not reached; requests by name are refused until it is")
    with pytest.raises(MetadataUnavailable):
        await store.head()
    await store.close()


def test_a_frontend_imports_sqlite_when_it_has_a_store_in_it() -> None:
    code = "import sys, frontend.app; sys.exit('sqlite3' in sys.modules or 'asyncpg' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
