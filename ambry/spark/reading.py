"""What Spark asks a source for: pieces as tasks, and the record batches of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from pyspark.sql import datasource
from pyspark.sql.pandas.types import to_arrow_schema

from ambry.client.sync.client import AmbryClient
from ambry.spark.columns import as_spark
from ambry.spark.contents import StoredFile, rows_within
from ambry.spark.plan import ColumnCondition, FilePiece, split_size_of, tasks, wanted
from ambry.spark.workers import settle


class PiecesOfTask(datasource.InputPartition):  # type: ignore[misc]  # Of pyspark, which is not always there.
    """What one task reads."""

    def __init__(self, pieces: Sequence[FilePiece]) -> None:
        super().__init__(None)
        self.pieces = tuple(pieces)


class AmbryReader(datasource.DataSourceReader):  # type: ignore[misc]  # As above.
    """Goes to the tasks pickled, with the client and its key; nothing of it stands in a plan.

    It takes no conditions from Spark (`pushFilters`): Spark 4.3 keeps the reader of a frame with the conditions of one query,
    and asks it again in queries without them, which lack rows then.
    """

    def __init__(
        self,
        client: AmbryClient,
        file: StoredFile,
        schema: Any,
        conditions: Sequence[ColumnCondition],
        split_size: int | None,
    ) -> None:
        self._client = client
        self._file = file
        self._schema = schema
        self._split_size = split_size
        self._conditions = conditions

    def partitions(self) -> Sequence[PiecesOfTask]:
        names = self._schema.fieldNames()
        pieces = wanted(self._file.pieces(names), self._conditions)
        # Of no partitions Spark makes one of its own, which says nothing.
        # The bounds have been looked at, and stay here.
        slim = [replace(each, bounds={}) for each in pieces]
        found = [PiecesOfTask(each) for each in tasks(slim, self._split_size or split_size_of(slim)) or [()]]
        settle()
        return found

    def read(self, partition: PiecesOfTask) -> Iterator[Any]:
        schema = to_arrow_schema(self._schema, timezone="UTC")
        with copy(self._client) as client:
            for batch in self._file.batches(client, partition.pieces, self._schema.fieldNames()):
                for part in parts_of(batch):
                    yield as_spark(part, schema)
        settle()


def parts_of(batch: Any) -> Iterator[Any]:
    """Its rows in batches of up to BATCH_SIZE bytes, at least a row in each: Java's buffers end at 2 GiB."""
    rows = rows_within(batch.num_rows, batch.nbytes)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
