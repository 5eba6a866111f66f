"""What it costs Spark to read some columns of a snapshot of 1 GB, beside the same read of the same file on this machine's disk.

    python -m tests.bench.spark [--rounds 5] [--members 3000000] [--dir DIRECTORY]

Two datacenters of three data nodes and a frontend, and Spark with a thread for each core, on the same machine. A typed snapshot
in Parquet (24 features, a whole number, an embedding of 64) is written, and copied to a file that is in the page cache. In each
round, in turn, from `load` until the sums of the columns are there:

    local    spark.read.parquet of the file: Spark's own reader in Java
    python   a data source in Python that reads the file by pyarrow: what the way from Python to Java costs, without a store
    ambry    spark.read.format("ambry") of the version

The bytes that frontends sent are compared with those of the columns. Needs pyspark and Java. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
from rich.console import Console

from ambry.client.sync.client import AmbryClient
from ambry.ml import snapshots
from ambry.ml.extras import needed
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from deploy.local_cluster import LocalCluster
from tests.bench import report
from tests.bench.child import ROOT, BenchFailed, exit_code_of
from tests.bench.scratch import scratch
from tests.support.clusters import wait_until_whole
from tests.support.rest import metric

MEMBERS = 3_000_000
FEATURES = 24
WIDTH = 64
RATIO_MAX = 1.3
EXTRA_MAX = 0.02
"""Of the bytes of the columns, what may be moved beside them, footers left out."""
COLUMNS = ("member", "f1", "f2", "f3", "c")
SOURCES = ("local", "python", "ambry")
ROWS_AT_ONCE = 100_000
DISK_BYTES = 16 << 30
DATASET = "bench-members"


def rows(members: int) -> Iterator[Any]:
    pa = needed("pyarrow")
    source = numpy.random.default_rng(7)
    for start in range(0, members, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, members - start)
        made = {f"f{number}": pa.array(source.random(count, dtype=numpy.float32)) for number in range(FEATURES)}
        wide = pa.array(source.random(count * WIDTH, dtype=numpy.float32))
        made["embedding"] = pa.FixedSizeListArray.from_arrays(wide, WIDTH)
        made["c"] = pa.array(source.integers(0, 1_000, count, dtype=numpy.int32))
        made["member"] = pa.array(numpy.arange(start, start + count))
        yield pa.table(made)


def write(client: AmbryClient, members: int, spool: Path) -> Any:
    lines = [f"f{number}: {{valType: FLOAT}}" for number in range(FEATURES)]
    lines += ["c: {valType: INT}", "embedding: {valType: FLOAT, dims: [cells-1-0]}"]
    lines += [f"cells: {{type: discrete : {{size: {WIDTH}}}}}", ""]
    publishing.publish(client, "bench-features", FeatureMetadata.of([parse_definitions("\n".join(lines), "n")]))
    loaded = publishing.load(client, "bench-features")
    return snapshots.write(
        client,
        DATASET,
        rows(members),
        loaded.metadata.urns,
        metadata=loaded,
        entity="member",
        as_of=datetime(2026, 11, 27, tzinfo=UTC),
        file_format="parquet",
        spool=spool,
    )


def pyarrow_source() -> Any:
    """A data source of Spark that reads a file of this machine by pyarrow, eight row groups to a task."""
    datasource = needed("pyspark.sql.datasource")
    types = needed("pyspark.sql.pandas.types")
    parquet = needed("pyarrow.parquet")

    class GroupReader(datasource.DataSourceReader):  # type: ignore[misc, name-defined]
        def __init__(self, path: str, schema: Any) -> None:
            self.path, self.schema = path, schema

        def partitions(self) -> list[Any]:
            count = parquet.read_metadata(self.path).num_row_groups
            return [datasource.InputPartition(range(first, min(count, first + 8))) for first in range(0, count, 8)]

        def read(self, partition: Any) -> Iterator[Any]:
            names = self.schema.fieldNames()
            wanted = types.to_arrow_schema(self.schema)
            file = parquet.ParquetFile(self.path)
            for batch in file.iter_batches(65_536, row_groups=list(partition.value), columns=names):
                yield batch.select(names).cast(wanted)

    class PyarrowSource(datasource.DataSource):  # type: ignore[misc, name-defined]
        @classmethod
        def name(cls) -> str:
            return "pyarrow_file"

        def schema(self) -> Any:
            whole = parquet.read_schema(self.options["path"]).remove_metadata()
            fields = [whole.field(name).remove_metadata() for name in self.options["columns"].split(",")]
            return types.from_arrow_schema(needed("pyarrow").schema(fields))

        def reader(self, schema: Any) -> Any:
            return GroupReader(self.options["path"], schema)

    return PyarrowSource


@contextmanager
def session(directory: Path) -> Iterator[Any]:
    sql = needed("pyspark.sql")
    from ambry.spark import register

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = str(ROOT)
    builder = sql.SparkSession.builder.master("local[*]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.local.dir": str(directory / "spark"),
    }.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("OFF")
    register(made)
    made.dataSource.register(pyarrow_source())
    try:
        yield made
    finally:
        made.stop()


def bench(arguments: argparse.Namespace, out: Console) -> int:
    parquet = needed("pyarrow.parquet")
    with (
        scratch(arguments.dir, needed_bytes=DISK_BYTES) as directory,
        LocalCluster(directory / "cluster", datacenters=2, frontends=1, port_base=0, partitions=4) as cluster,
        AmbryClient([cluster.frontends()[0].url]) as client,
    ):
        made = write(client, arguments.members, directory)
        local = directory / "local.parquet"
        client.get_file(made.id, local)
        wait_until_whole(cluster)
        footer = parquet.read_metadata(str(local))
        of_columns = sum(
            chunk.total_compressed_size
            for group in map(footer.row_group, range(footer.num_row_groups))
            for chunk in map(group.column, range(group.num_columns))
            if chunk.path_in_schema in arguments.columns
        )

        def sent() -> int:
            return int(sum(metric(each.admin_url, "ambry_frontend_bytes_sent_total") for each in cluster.frontends()))

        with session(directory) as spark:
            found, moved = measure(spark, client, local, arguments, sent)
    out.print(f"{made.rows:,} members, {made.size / 1e9:.2f} GB, of which the columns {', '.join(arguments.columns)}")
    for name in SOURCES:
        values = found[name]
        out.print(f"{name:7} {statistics.median(values):6.2f} s ({min(values):.2f} to {max(values):.2f})")
    ratio, alone = (
        statistics.median(one / two for one, two in zip(found[name], found["local"], strict=True))
        for name in ("ambry", "python")
    )
    slim = moved <= of_columns * (1 + EXTRA_MAX) + 2 * footer.serialized_size + (256 << 10)
    out.print(
        f"of the store, as often as from local disk: {ratio:.2f} x in the median of rounds (at most {RATIO_MAX}: "
        f"{'held' if ratio <= RATIO_MAX else 'MISSED'}); by way of Python without the store {alone:.2f} x"
    )
    out.print(
        f"moved for each read: {moved / 1e6:.1f} MB, the columns have {of_columns / 1e6:.1f} "
        f"({'held' if slim else 'MISSED'}), the file {made.size / 1e6:.0f}"
    )
    if arguments.output:
        told = {"seconds": found, "ratio": ratio, "moved": moved, "columns": of_columns, "size": made.size}
        arguments.output.write_text(json.dumps(told, indent=1), "utf-8")
    return 0 if ratio <= RATIO_MAX and slim else 1


def measure(
    spark: Any, client: AmbryClient, local: Path, arguments: argparse.Namespace, sent: Any
) -> tuple[dict[str, list[float]], int]:
    """Seconds of each source by rounds, and the bytes that frontends sent for a read. The first round warms up."""
    functions = needed("pyspark.sql.functions")
    names = ",".join(arguments.columns)
    frames = {
        "local": lambda: spark.read.parquet(str(local)).select(*arguments.columns),
        "python": lambda: spark.read.format("pyarrow_file").option("columns", names).load(str(local)),
        "ambry": lambda: spark.read.format("ambry").options(endpoints=client.endpoints[0], columns=names).load(DATASET),
    }
    found: dict[str, list[float]] = {name: [] for name in SOURCES}
    moved = 0
    for number in range(arguments.rounds + 1):
        sums: dict[str, list[Any]] = {}
        for name in SOURCES if number % 2 else reversed(SOURCES):
            before, began = sent(), time.perf_counter()
            sums[name] = list(frames[name]().agg(*map(functions.sum, arguments.columns)).collect()[0])
            seconds = time.perf_counter() - began
            if name == "ambry":
                moved = max(moved, sent() - before)
            if number:
                found[name].append(seconds)
        if any(not numpy.allclose(each, sums["local"], rtol=1e-9) for each in sums.values()):
            raise BenchFailed(f"the sums are not the same: {sums}")
    return found, moved


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.spark", "Measure reads of Spark.")
    parser.add_argument("--members", type=int, default=MEMBERS, help=f"rows of the snapshot (default {MEMBERS})")
    parser.add_argument(
        "--columns", nargs="+", default=list(COLUMNS), help=f"what is read (default {' '.join(COLUMNS)})"
    )
    arguments = parser.parse_args(words)
    out = report.console()
    if shutil.which("java") is None:
        out.print("there is no Java for Spark; `make engines` brings it")
        return 2
    return exit_code_of(lambda: bench(arguments, out))


if __name__ == "__main__":
    raise SystemExit(main())
