"""What Spark asks a source for: pieces by the conditions of a query, as tasks, and the record batches of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any

from pyspark.sql import datasource
from pyspark.sql.pandas.types import to_arrow_schema

from ambry.client.sync.client import AmbryClient
from ambry.spark.columns import as_spark
from ambry.spark.contents import StoredFile
from ambry.spark.plan import Comparison, Condition, Piece, tasks, wanted

_COMPARISONS: dict[type, Comparison] = {
    datasource.EqualTo: "in",
    datasource.EqualNullSafe: "in",
    datasource.LessThan: "<",
    datasource.LessThanOrEqual: "<=",
    datasource.GreaterThan: ">",
    datasource.GreaterThanOrEqual: ">=",
}


class PiecesOfTask(datasource.InputPartition):  # type: ignore[misc]  # Of pyspark, which is not always there.
    """What one task reads."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__(None)
        self.pieces = tuple(pieces)


class AmbryReader(datasource.DataSourceReader):  # type: ignore[misc]  # As above.
    """Goes to the tasks pickled, with the client and its key; nothing of it stands in a plan."""

    def __init__(self, client: AmbryClient, file: StoredFile, schema: Any, split_size: int) -> None:
        self._client = client
        self._file = file
        self._schema = schema
        self._split_size = split_size
        self._conditions: list[Condition] = []

    def pushFilters(self, filters: list[Any]) -> Iterable[Any]:
        """All go back to Spark too, which looks at each row: a piece is left out or comes whole."""
        for each in filters:
            if (condition := condition_of(each)) is not None:
                self._conditions.append(condition)
        return filters

    def partitions(self) -> Sequence[PiecesOfTask]:
        names = self._schema.fieldNames()
        pieces = wanted(self._file.pieces(names), self._conditions)
        # Of no partitions Spark makes one of its own, which says nothing.
        return [PiecesOfTask(each) for each in tasks(pieces, self._split_size) or [()]]

    def read(self, partition: PiecesOfTask) -> Iterator[Any]:
        schema = to_arrow_schema(self._schema, timezone="UTC")
        with copy(self._client) as client:
            for batch in self._file.batches(client, partition.pieces, self._schema.fieldNames()):
                yield as_spark(batch, schema)


def condition_of(told: Any) -> Condition | None:
    """A filter of Spark's, where it says between which values a column lies."""
    column: Any = getattr(told, "attribute", ())
    if len(column) != 1:
        return None
    if isinstance(told, datasource.In):
        return Condition(column[0], "in", tuple(value for value in told.value if value is not None))
    comparison = _COMPARISONS.get(type(told))
    value = getattr(told, "value", None)
    if comparison is None or value is None:
        return None
    return Condition(column[0], comparison, (value,))
