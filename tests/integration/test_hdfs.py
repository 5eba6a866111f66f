"""Snapshots on HDFS, a real NameNode and DataNode: read as they lie there, and moved into the store row by row."""

from __future__ import annotations

from pathlib import Path

import fsspec.core
import pytest
from pyarrow import parquet

from ambry import AmbryClient
from ambry.ml import snapshots
from ambry.ml.features import publishing
from ambry.ml.files import written
from ambry.ml.sources import AvroSource, ParquetSource, write_avro
from ambry.ml.sources.first_version import import_avro
from deploy.engines.hadoop import hdfs
from deploy.engines.jars import EngineError
from tests.support.first_version import METADATA, URNS, WHEN, rows

pytestmark = pytest.mark.engine


def test_snapshots_on_hdfs_are_read_and_moved(dc1: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMBRY_CACHE_DIR", str(tmp_path / "cache"))
    try:
        with hdfs(tmp_path / "hdfs", print) as running, AmbryClient([dc1]) as client:
            moved(client, f"me@{running.web_address}")
    except EngineError as error:
        pytest.skip(str(error))


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
