"""The row of tests.bench.client about a Parquet file: what 2 of its 10 columns move, beside all of it."""

from __future__ import annotations

from importlib.util import find_spec

import numpy
from rich.console import Console

from ambry.client.sync.client import AmbryClient
from tests.bench.child import BenchFailed
from tests.bench.client_figures import Row
from tests.support.rest import metric

NAME = "parquet: 2 of 10 columns / all"
FILE = "default/default/bench.parquet"
VALUES = 500_000
"""Of a column, 8 bytes each: 40 MB in all."""
SIZE_MIN = 32 << 20
WANTED = ("c3", "c7")


def parquet_rows(client: AmbryClient, admin_url: str, out: Console) -> list[Row]:
    if find_spec("pyarrow") is None:
        out.print("left out: pyarrow, which `make venv` installs")
        return []
    import pyarrow
    from pyarrow import parquet

    from ambry.fs.filesystem import AmbryFileSystem

    files = AmbryFileSystem(endpoints=list(client.endpoints), skip_instance_cache=True, use_listings_cache=False)
    source = numpy.random.default_rng(7)
    table = pyarrow.table({f"c{number}": source.random(VALUES) for number in range(10)})
    with files.open(FILE, "wb") as file:
        parquet.write_table(table, file, row_group_size=100_000, compression="none")
    size = files.info(FILE)["size"]
    if size < SIZE_MIN:
        raise BenchFailed(f"the file has {size} bytes, fewer than {SIZE_MIN}")

    def read(columns: list[str] | None) -> None:
        if not parquet.read_table(FILE, columns=columns, filesystem=files).equals(
            table if columns is None else table.select(columns)
        ):
            raise BenchFailed("other values came than were written")

    return [
        Row(
            name=NAME,
            ours=lambda: read(list(WANTED)),
            beside=lambda: read(None),
            judged="bytes",
            most=0.4,
            moved=lambda: metric(admin_url, "ambry_frontend_bytes_sent_total"),
        )
    ]
