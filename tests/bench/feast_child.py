"""Feast's SQLite online store, in an interpreter of its own: `python feast_child.py TABLE.parquet DIRECTORY FEATURE...`

Prints `ready` once the table is in the store. Then each line of keys, separated by blanks, is answered by a line: how many
values were read for them.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig
from feast.types import Float32

VIEW = "members"


def made(table: Path, directory: Path, names: list[str]) -> Any:
    """A store with the table in it."""
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(directory / "registry.db"),
            online_store=SqliteOnlineStoreConfig(path=str(directory / "online.db")),
            entity_key_serialization_version=3,
        )
    )
    member = Entity(name="member", join_keys=["member"], value_type=ValueType.INT64)
    view = FeatureView(
        name=VIEW,
        entities=[member],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Float32) for name in names],
        source=FileSource(path=str(table), timestamp_field="event_timestamp"),
    )
    store.apply([member, view])
    store.write_to_online_store(VIEW, pandas.read_parquet(table))
    return store


def main() -> None:
    table, directory, *names = sys.argv[1:]
    store = made(Path(table), Path(directory), names)
    print("ready", flush=True)
    for line in sys.stdin:
        rows = [{"member": int(key)} for key in line.split()]
        found = store.get_online_features(features=[f"{VIEW}:{name}" for name in names], entity_rows=rows).to_dict()
        print(sum(value is not None for name in names for value in found[name]), flush=True)


if __name__ == "__main__":
    main()
