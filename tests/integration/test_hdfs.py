"""Snapshots on HDFS, a real NameNode and DataNode: read as they lie there, and moved into the store row by row."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec.core
import pytest
from pyarrow import parquet

from ambry import AmbryClient
from ambry.ml import snapshots
from ambry.ml.features import publishing
from ambry.ml.files import written
from ambry.ml.sources import AvroSource, ParquetSource, write_avro
from ambry.ml.sources.first_version import avro_files, import_avro
from deploy.engines.commands import OF_IMPORT
from tests.golden.engine_files import GOLDEN, name_node_answers
from tests.support.engines_up import running
from tests.support.first_version import METADATA, URNS, WHEN, rows

pytestmark = pytest.mark.engine
NAMES = ["part-0.avro", "part-1.avro"]


def test_snapshots_on_hdfs_are_read_and_moved(dc1: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    with running("hdfs", tmp_path / "hdfs") as (_, said), AmbryClient([dc1]) as client:
        moved(client, f"me@{said['webhdfs'].removeprefix('webhdfs://')}")
        of_now = name_node_answers(said["webhdfs"].removeprefix("webhdfs://"))
        assert without_times(of_now) == without_times(json.loads((GOLDEN / "webhdfs.json").read_text()))
        rpc = said["files"]
        with pytest.raises(OSError, match=r"no name node answers at .*; write its web port"):
            avro_files(f"{rpc}/features/members")
        told = as_it_says(dc1, said["try"], "hdfs-again")
        monkeypatch.setenv("HADOOP_CONF_DIR", said["HADOOP_CONF_DIR"])
        assert [each.rpartition("/")[2] for each in avro_files(f"{rpc}/features/members")] == NAMES
        again = as_it_says(dc1, f"ambry features import {rpc}/DIRECTORY DATASET {OF_IMPORT}", "hdfs-by-rpc")
        assert told["rows"] == again["rows"] == 6_000
        tables = []
        for name in ("hdfs-members", "hdfs-again", "hdfs-by-rpc"):
            with snapshots.open(client, name) as snapshot:
                tables.append(snapshot.table())
        assert tables[0].equals(tables[1]) and tables[0].equals(tables[2])


def without_times(said: Any) -> Any:
    """An answer, with types in the place of what is another one each time."""
    if isinstance(said, dict):
        changing = ("accessTime", "modificationTime", "fileId", "owner")
        return {name: type(each).__name__ if name in changing else without_times(each) for name, each in said.items()}
    return [without_times(each) for each in said] if isinstance(said, list) else said


def as_it_says(dc1: str, line: str, dataset: str) -> dict[str, Any]:
    """A command that was printed, with what stands in it for a person's own."""
    own = {"DIRECTORY": "features/members", "DATASET": dataset, "FEATURES": "hdfs-features"}
    own |= {"FIELD": "member", "TIME": WHEN.isoformat()}
    for word, meant in own.items():
        line = re.sub(rf"\b{word}\b", meant, line)
    command = [sys.executable, "-m", "ambry.cli.main", *line.split()[1:], "--output", "json"]
    environ = {**os.environ, "AMBRY_ENDPOINTS": dc1}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (line, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def moved(client: AmbryClient, host: str) -> None:
    place = f"webhdfs://{host}/features/members"
    with pytest.raises(FileNotFoundError, match="make its directory first"):
        write_avro(f"{place}/part-0.avro", rows(range(5)), URNS, metadata=METADATA, entity="member")
    filesystem, path = fsspec.core.url_to_fs(place)
    filesystem.makedirs(path)
    write_avro(f"{place}/part-0.avro", rows(range(5_000)), URNS, metadata=METADATA, entity="member")
    write_avro(f"{place}/part-1.avro", rows(range(5_000, 6_000)), URNS, metadata=METADATA, entity="member")
    publishing.publish(client, "hdfs-features", METADATA)
    loaded = publishing.load(client, "hdfs-features")
    there = f"hdfs://{host}/features/members"
    made = import_avro(client, there, "hdfs-members", URNS, metadata=loaded, entity="member", as_of=WHEN)
    assert made.rows == 6_000
    snapshots.write(client, "same", rows(range(6_000)), URNS, metadata=loaded, entity="member", as_of=WHEN)
    with snapshots.open(client, "hdfs-members") as snapshot, snapshots.open(client, "same") as same:
        table = snapshot.table()
        assert table.to_pylist() == same.table().to_pylist()
    old = AvroSource(f"{place}/part-0.avro", METADATA, entity="member")
    asked = old.read(URNS, [17, 5, 9_999])
    assert asked.column("age").to_pylist() == [17, None, None]
    with written(f"webhdfs://{host}/features/table.parquet") as file:
        parquet.write_table(table, file)
    new = ParquetSource(f"webhdfs://{host}/features/table.parquet", METADATA, entity="member")
    assert new.read(URNS, [17, 5, 9_999]).to_pylist() == asked.to_pylist()
