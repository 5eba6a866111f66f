"""A snapshot in a real cluster, read by its URL alone: pandas, polars and pyarrow as they are installed, without our package.

By plain HTTP, in an interpreter that cannot import us; and by `ambry+id://`, where fsspec finds us by an entry point.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ambry import AmbryClient, VersionRef
from ambry.ml import snapshots
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.writing import FileFormat
from tests.support.alone import run_alone
from tests.support.clusters import shared_cluster

TEXT = """\
age: {valType: INT}
name: {valType: STRING}
week: {valType: FLOAT, dims: [days-1-0]}
days: {type: discrete : {size: 7}}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
ROWS = 5_000
URNS = [str(urn) for urn in METADATA.urns]
FRAME: dict[str, Any] = {
    "member": np.arange(ROWS),
    "age": np.arange(ROWS) % 90,
    "name": [f"member {number}" for number in range(ROWS)],
    "week": np.arange(7 * ROWS, dtype=np.float32).reshape(ROWS, 7),
}
TOLD = [ROWS, sum(number % 90 for number in range(ROWS)), f"member {ROWS - 1}", float(7 * ROWS - 1)]
"""What a reader that has it all says: rows, the sum of one column, a text, and the last cell of the last tensor."""

_READ = """
import json, sys
import fsspec, pandas, polars, pyarrow, pyarrow.parquet
parquet, arrow = sys.argv[1], sys.argv[2]
http = fsspec.filesystem("http")

def of_pandas(frame):
    return [len(frame), int(frame["age"].sum()), frame["name"].iloc[-1], float(frame["week"].iloc[-1][-1])]

def of_polars(frame):
    last = frame.tail(1)
    return [frame.height, int(frame["age"].sum()), last["name"][0], float(last["week"][0][-1])]

def of_arrow(table):
    week = table["week"].combine_chunks().storage
    return [len(table), sum(table["age"].to_pylist()), table["name"][-1].as_py(), week[-1].as_py()[-1]]

with http.open(arrow) as file:
    table = pyarrow.ipc.open_file(file).read_all()
print(json.dumps({
    "pandas parquet": of_pandas(pandas.read_parquet(parquet)),
    "pandas arrow": of_pandas(pandas.read_feather(arrow)),
    "polars parquet": of_polars(polars.read_parquet(parquet)),
    "polars scan": of_polars(polars.scan_parquet(parquet).collect()),
    "polars arrow": of_polars(polars.read_ipc(arrow)),
    "pyarrow parquet": of_arrow(pyarrow.parquet.read_table(parquet, filesystem=http)),
    "pyarrow arrow": of_arrow(table),
}))
"""


def written(client: AmbryClient) -> list[snapshots.WrittenSnapshot]:
    """The same rows as Parquet and as Arrow."""
    dataset = f"by-url-{uuid.uuid4().hex}"
    kinds: list[FileFormat] = ["parquet", "arrow"]
    return [
        snapshots.write(
            client,
            f"{dataset}-{kind}",
            FRAME,
            URNS,
            metadata=METADATA,
            entity="member",
            as_of=datetime(2026, 11, 28, tzinfo=UTC),
            file_format=kind,
        )
        for kind in kinds
    ]


def check_strangers(urls: list[str]) -> None:
    found = json.loads(run_alone(_READ, *urls))
    assert len(found) == 7 and {reader: told for reader, told in found.items() if told != TOLD} == {}


def test_whoever_never_saw_our_package_reads_it_by_the_url_of_its_blob(dc1: str) -> None:
    with AmbryClient([dc1]) as client:
        check_strangers([f"{dc1}/{each.id}" for each in written(client)])


def test_and_by_signed_urls_of_its_version_where_keys_are_asked_for(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with shared_cluster(request, tmp_path_factory, nodes=1, partitions=1, auth=True) as cluster:
        key = (cluster.directory / "admin.key").read_text().strip()
        with AmbryClient([cluster.frontends("dc1")[0].url], key=key) as client:
            made = written(client)
            check_strangers([client.presign("GET", each.id) for each in made])
            check_strangers([client.presign("GET", VersionRef(each.dataset, each.version)) for each in made])


def told_of(table: Any) -> list[Any]:
    week = table["week"].combine_chunks()
    storage = week.storage if isinstance(week, pa.ExtensionArray) else week
    return [len(table), sum(table["age"].to_pylist()), table["name"][-1].as_py(), storage[-1].as_py()[-1]]


def test_all_three_read_it_by_ambry_urls(dc1: str) -> None:
    options = {"endpoints": [dc1]}
    with AmbryClient([dc1]) as client:
        parquet, arrow = (f"ambry+id://{each.id}" for each in written(client))
    fs, path = fsspec.core.url_to_fs(parquet, **options)
    frame = pd.read_parquet(parquet, storage_options=options)
    assert [len(frame), frame["age"].sum(), frame["name"].iloc[-1], frame["week"].iloc[-1][-1]] == TOLD
    assert told_of(pq.read_table(path, filesystem=fs)) == TOLD
    with fsspec.open(parquet, **options) as file:
        assert told_of(pl.read_parquet(file).to_arrow()) == TOLD
    for read in (pl.read_ipc, lambda file: pa.ipc.open_file(file).read_all()):
        with fsspec.open(arrow, **options) as file:
            found: Any = read(file)
            assert told_of(found.to_arrow() if isinstance(found, pl.DataFrame) else found) == TOLD
