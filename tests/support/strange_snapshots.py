"""Snapshots as a stranger might make them: any schema, any batches, and an index that may lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from ambry import AmbryClient
from ambry.ml.snapshots.index import BatchPlace, IndexBuilder
from ambry.ml.snapshots.reading import Snapshot, open_snapshot
from ambry.ml.snapshots.writing import FORMAT_KEY, INDEX_KEY

Places = Callable[[list[BatchPlace]], list[BatchPlace]]


def arrow_file(schema: Any, batches: Iterable[Any], key: str, options: Any = None) -> tuple[bytes, list[BatchPlace]]:
    """A file, and where its batches lie."""
    sink, places = pa.BufferOutputStream(), []
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        if not isinstance(batches, Sequence):
            batches = list(batches)
        for number, batch in enumerate(batches):
            begin = sink.tell() if number else 8 + schema.serialize().size
            writer.write_batch(batch)
            keys = batch.column(key)
            ends = {"first": keys[0].as_py(), "last": keys[-1].as_py()}
            places.append(BatchPlace(**ends, offset=begin, size=sink.tell() - begin, rows=batch.num_rows))
    return sink.getvalue().to_pybytes(), places


def put_strange(
    client: AmbryClient,
    dataset: str,
    schema: Any,
    batches: Sequence[Any],
    *,
    key: str,
    told: Any = None,
    places: Places = list,
    index: bytes | None = None,
    options: Any = None,
    metadata: Any = None,
) -> Snapshot:
    """`told` is the schema in the index, `index` all of it."""
    data, found = arrow_file(schema, batches, key, options)
    if index is None:
        index = IndexBuilder(places(found)).build(told or schema, key)
    client.create_dataset(dataset, "TIMESTAMP")
    said = {FORMAT_KEY: "arrow", INDEX_KEY: str(client.put(index).id)}
    client.put_version(dataset, data, "1764280000000", metadata=said)
    return open_snapshot(client, dataset, metadata=metadata)


def put_strange_parquet(
    client: AmbryClient, dataset: str, schema: Any, batches: Sequence[Any], *, metadata: Any = None, **options: Any
) -> Snapshot:
    """A row group for each batch."""
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(sink, schema, **options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    client.create_dataset(dataset, "TIMESTAMP")
    client.put_version(dataset, sink.getvalue().to_pybytes(), "1764280000000", metadata={FORMAT_KEY: "parquet"})
    return open_snapshot(client, dataset, metadata=metadata)
