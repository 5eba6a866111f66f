"""Rows to train on in the memory and on the disks of a Spark cluster, out of Photon's Avro or a frame of a typed snapshot.

Everything here is a function of what is read, which does not change: what a lost executor held is read, grouped and summed
again, to the same bits. Tasks hand back what is wrong with rows instead of failing, since another try would find the same.
"""

from __future__ import annotations

import pickle  # nosec B403 # Of what our own tasks tell.
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from ambry.errors import BlobNotFound, DataCorrupt, InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.examples import Examples, FeatureIndex
from ambry.ml.photon.models import Task
from ambry.ml.photon.objective import beyond_floats
from ambry.ml.photon.reading import read_examples
from ambry.ml.photon.snapshots import SnapshotColumns
from ambry.ml.sources.first_version import files_at
from ambry.ml.stored_files import FilePlace
from ambry.spark.row_blocks import UNNAMED, RowBlock, by_entity, in_turn, joined

FAN_IN = 32
"""Of partial results that are added up in one place."""


@dataclass(frozen=True, slots=True)
class RefusedRows:
    """What is wrong, in the place of a result."""

    message: str


@dataclass(frozen=True, slots=True)
class Responses:
    """Of rows with a weight."""

    weight: float
    lowest: float
    highest: float
    """inf and -inf without any."""

    @classmethod
    def of(cls, examples: Examples) -> Responses:
        told = examples.response[examples.weight > 0]
        return cls(float(examples.weight.sum()), float(told.min(initial=np.inf)), float(told.max(initial=-np.inf)))

    def __add__(self, other: Responses) -> Responses:
        return Responses(self.weight + other.weight, min(self.lowest, other.lowest), max(self.highest, other.highest))


@dataclass(frozen=True, slots=True)
class RowsTold:
    """What all rows together are."""

    rows: int
    responses: Responses
    one: Examples
    """At most one row, which has a weight."""


class RowsOnSpark:
    """Rows, by entity of each kind that is asked for. `close` it: what the cluster keeps of them is let go."""

    def __init__(self, context: Any, read: Any) -> None:
        """`read` is an RDD of the Examples of each partition, or RefusedRows. Raises InvalidRequest."""
        self.context = context
        self._kept: list[Any] = []
        self._read = self._keep(read)
        self._layouts: dict[str, Any] = {}
        found = self.collected(self._read.mapPartitionsWithIndex(_features_of))
        names = found[0][2] if found else {}
        ends = np.cumsum([rows for _, rows, _ in found]).tolist()
        self.count = ends[-1] if ends else 0
        """All rows."""
        starts = {number: end - rows for (number, rows, _), end in zip(found, ends, strict=True)}
        self.indexes = {
            name: FeatureIndex(tuple(sorted(set().union(*(told[name] for _, _, told in found))))) for name in names
        }
        self.sent = context.broadcast(self.indexes)
        """For tasks."""
        sent = self.sent
        blocks = self._read.mapPartitionsWithIndex(lambda number, all: _blocks_of(number, all, starts, sent.value))
        parts = max(blocks.getNumPartitions(), context.defaultParallelism)
        self._parts = parts
        spread = blocks.getNumPartitions() < parts
        self._blocks = self._shuffled(blocks, lambda block: in_turn(block, parts)) if spread else self._keep(blocks)

    def told(self, task: Task) -> RowsTold:
        """Raises InvalidRequest for responses that the task has not, and without any rows."""
        sent = self.sent
        found = self.collected(self._blocks.map(guarded(lambda block: _told(task, block.examples(sent.value)))))
        if not found:
            raise InvalidRequest("there are no rows to train on")
        some = [each for each in found if len(each.one)] or found[:1]
        return RowsTold(
            sum(each.rows for each in found),
            reduce(add, [each.responses for each in found]),
            some[0].one,
        )

    def layout(self, kind: str | None) -> Any:
        """An RDD of blocks: of a kind of entity, all rows of each in one; of none, in whichever they are."""
        if kind is None:
            # Those that are there anyway.
            return next(iter(self._layouts.values()), self._blocks)
        if kind not in self._layouts:
            parts = self._parts
            self._layouts[kind] = self._shuffled(self._blocks, lambda block: by_entity(block, kind, parts))
        return self._layouts[kind]

    def summed(self, rdd: Any, of: Callable[[Any], Any]) -> Any:
        """The sum of what `of` makes of each element, added in one order, so that it is the same each time.

        None without elements. Raises InvalidRequest.
        """
        made = rdd.mapPartitionsWithIndex(lambda number, all: [(number, each) for each in map(guarded(of), all)])
        while made.getNumPartitions() > FAN_IN:
            groups = -(-made.getNumPartitions() // FAN_IN)
            keyed = made.map(lambda pair: (pair[0] // FAN_IN, pair)).groupByKey(groups, lambda key: key)
            made = keyed.map(lambda pair: (pair[0], _total(pair[1])))
        return _checked(_total(made.collect()))

    def collected(self, rdd: Any) -> list[Any]:
        """All elements, in their order. Raises InvalidRequest for rows that were refused."""
        return [_checked(each) for each in rdd.collect()]

    def close(self) -> None:
        """Let go of them."""
        for each in self._kept:
            each.unpersist()
        self.sent.unpersist()

    def _shuffled(self, blocks: Any, places: Callable[[RowBlock], Any]) -> Any:
        moved = blocks.flatMap(lambda block: block.parts(places(block))).partitionBy(self._parts, lambda place: place)
        return self._keep(moved.mapPartitions(_joined))

    def _keep(self, rdd: Any) -> Any:
        self._kept.append(rdd.persist(needed("pyspark").StorageLevel.MEMORY_AND_DISK))
        return rdd


def rows_of_avro(session: Any, places: FilePlace | Sequence[FilePlace], **said: Any) -> RowsOnSpark:
    """Rows of Avro files, directories or URLs, which all executors can open: a task for each file.

    `said` is what read_examples takes. Raises InvalidRequest.
    """
    files = files_at(places)
    context = session.sparkContext

    def read(place: FilePlace) -> Examples:
        return read_examples([place], unnamed=_unnamed, **said)

    return RowsOnSpark(context, context.parallelize(files, len(files)).map(guarded(read)))


def rows_of_frame(frame: Any, columns: SnapshotColumns) -> RowsOnSpark:
    """Rows of a frame that has these columns of a snapshot (snapshots.snapshot_columns): what was read by
    `format("ambry")`, filtered or joined with others. Raises InvalidRequest.
    """

    def read(batches: Iterable[Any]) -> Iterator[Any]:
        found = guarded(lambda all: columns.examples(all))(batches)
        if isinstance(found, Examples):
            found = replace(found, uids=tuple(map(_unnamed, range(len(found)))))
        yield needed("pyarrow").RecordBatch.from_pydict({"rows": [pickle.dumps(found, pickle.HIGHEST_PROTOCOL)]})

    def told(row: Any) -> Any:
        return pickle.loads(row.rows)  # nosec B301 # As above.

    made = frame.select(*columns.names).mapInArrow(read, "rows binary").rdd.map(told)
    return RowsOnSpark(frame.sparkSession.sparkContext, made)


def guarded(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Hands on what was refused before, and what `function` refuses now."""

    def run(value: Any) -> Any:
        if isinstance(value, RefusedRows):
            return value
        try:
            with beyond_floats():
                return function(value)
        except (InvalidRequest, DataCorrupt, BlobNotFound) as error:
            return RefusedRows(error.message)

    return run


def _checked(value: Any) -> Any:
    if isinstance(value, RefusedRows):
        raise InvalidRequest(value.message)
    return value


def _total(pairs: Iterable[tuple[int, Any]]) -> Any:
    total = None
    for _, each in sorted(pairs, key=lambda pair: pair[0]):
        if isinstance(each, RefusedRows):
            return each
        if each is not None:
            total = each if total is None else total + each
    return total


def _unnamed(place: int) -> str:
    return f"{UNNAMED}{place}"


def _features_of(number: int, read: Iterable[Any]) -> Iterator[Any]:
    """Partition, rows, and the features of each shard."""
    for each in read:
        refused = isinstance(each, RefusedRows)
        yield (
            each
            if refused
            else (number, len(each), {name: shard.index.features for name, shard in each.shards.items()})
        )


def _blocks_of(number: int, read: Iterable[Examples], starts: Mapping[int, int], indexes: Any) -> Iterator[RowBlock]:
    """A partition of what is read is one Examples, and `starts` counts the rows before each."""
    for examples in read:
        uids = tuple(str(starts[number] + int(uid[1:])) if uid.startswith(UNNAMED) else uid for uid in examples.uids)
        yield RowBlock.of(number, replace(examples, uids=uids), indexes)


def _joined(moved: Iterable[tuple[int, RowBlock]]) -> Iterator[RowBlock]:
    told = list(moved)
    if told:
        # All have one place, by which they are in order from here on.
        yield replace(joined([block for _, block in told]), source=told[0][0])


def _told(task: Task, examples: Examples) -> RowsTold:
    task.check(examples)
    used = np.flatnonzero(examples.weight > 0)
    return RowsTold(len(examples), Responses.of(examples), examples.take(used[:1]))
