"""Rows in the order of their keys, however many there are: sorted runs on the disk, merged by whole batches.

What is in memory is the rows that came since the last run (at most `memory_max` bytes, twice while they are sorted), and one
batch of each of at most `RUNS_MAX` runs while they are merged, which are as many open files: more of them become one first. No
key is merged by itself: the rows of all runs up to the smallest key at the end of a batch are in memory, and nothing that comes
later is smaller, so these are put together, sorted and given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest

MEMORY_MAX = 64 << 20
"""Bytes."""
RUNS_MAX = 64
"""How many are merged at once."""
RUN_BATCH_BYTES_MIN = 16 << 10
"""Batches of a run are such that those of `RUNS_MAX` runs are as much as what is sorted at once; shorter ones cost time."""


class SortedRows:
    """Rows go in by batches, and come out by key. Not for use by several threads.

    `directory` is empty and the caller's, who removes it.
    """

    def __init__(self, schema: Any, key: str, directory: Path, memory_max: int = MEMORY_MAX) -> None:
        self.schema = schema
        self._key = key
        self._directory = directory
        self._memory_max = memory_max
        self._batches: list[Any] = []
        self._size = 0
        self._runs: list[Path] = []
        self._runs_made = 0

    def add(self, batch: Any) -> None:
        """Take a record batch of the schema, in any order. Raises OSError where the disk is full."""
        self._batches.append(batch)
        self._size += batch.nbytes
        if self._size >= self._memory_max:
            self._spill()

    def batches(self, rows: int) -> Iterator[Any]:
        """All rows, sorted, in batches of `rows`; shorter are the last one, and parts of one with more than 2 GiB of texts.

        Raises InvalidRequest for a key that stands twice. Nothing is added once this began.
        """
        whole = self._merged() if self._runs else iter([self._sorted()])
        kept: list[Any] = []
        count = 0
        last: Any = None
        for table in whole:
            last = self._once_each(table, last)
            kept.append(table)
            count += table.num_rows
            if count < rows:
                continue
            joined = pa.concat_tables(kept)
            end = count - count % rows
            for start in range(0, end, rows):
                yield from _batches(joined.slice(start, rows))
            kept, count = [joined.slice(end)], count - end
        if count:
            yield from _batches(pa.concat_tables(kept))

    # --- runs ---

    def _sorted(self) -> Any:
        table = pa.Table.from_batches(self._batches, self.schema)
        self._batches, self._size = [], 0
        return table.take(pc.sort_indices(table.column(self._key)))

    def _spill(self) -> None:
        self._runs.append(self._written([self._sorted()]))

    def _written(self, tables: Iterable[Any]) -> Path:
        """A run of these rows, which come sorted."""
        path = self._directory / f"run-{self._runs_made}.arrow"
        self._runs_made += 1
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self.schema) as writer:
            for table in tables:
                size = max(RUN_BATCH_BYTES_MIN, self._memory_max // RUNS_MAX)
                rows = max(1, table.num_rows * size // max(table.nbytes, 1))
                writer.write_table(table, max_chunksize=rows)
        return path

    def _merged(self) -> Iterator[Any]:
        if self._batches:
            self._spill()
        while len(self._runs) > RUNS_MAX:
            some, self._runs = self._runs[:RUNS_MAX], self._runs[RUNS_MAX:]
            self._runs.append(self._written(self._of(some)))
            for path in some:
                path.unlink()
        yield from self._of(self._runs)

    def _of(self, runs: list[Path]) -> Iterator[Any]:
        """The rows of some runs, sorted."""
        with _Heads(runs, self._key) as heads:
            while (bound := heads.bound()) is not None:
                table = heads.up_to(bound)
                yield table.take(pc.sort_indices(table.column(self._key)))

    def _once_each(self, table: Any, last: Any) -> Any:
        """The last key. Raises InvalidRequest for one that stands twice."""
        if not table.num_rows:
            return last
        keys = table.column(self._key).combine_chunks()
        same = pc.equal(keys.slice(1), keys.slice(0, len(keys) - 1))
        twice = keys.slice(1).filter(same)
        found = keys[0].as_py() if last is not None and keys[0].as_py() == last else None
        if found is not None or len(twice):
            key = found if found is not None else twice[0].as_py()
            raise InvalidRequest(
                f"the entity {key!r} stands twice; a snapshot has each once: put its rows together, or number the rows in a "
                f"column, make that the entity, and define {self._key!r} as a feature"
            )
        return keys[-1].as_py()


class _Heads:
    """The runs, each with the batch that it is at."""

    def __init__(self, runs: list[Path], key: str) -> None:
        self._key = key
        self._files = [pa.memory_map(str(path)) for path in runs]
        self._readers = [pa.ipc.open_file(file) for file in self._files]
        self._next = [0] * len(runs)
        self._now: list[Any] = [None] * len(runs)
        for place in range(len(runs)):
            self._advance(place)

    def __enter__(self) -> _Heads:
        return self

    def __exit__(self, *_: object) -> None:
        self._now = []
        for file in self._files:
            file.close()

    def bound(self) -> Any:
        """The smallest last key of what is in memory; None at the end."""
        lasts = [self._keys(batch)[-1].as_py() for batch in self._now if batch is not None]
        return min(lasts, default=None)

    def up_to(self, bound: Any) -> Any:
        """The rows up to and with `bound`, as a table; they are gone from here."""
        taken = []
        for place, batch in enumerate(self._now):
            if batch is None:
                continue
            keys = self._keys(batch).to_numpy(zero_copy_only=False)
            count = int(np.searchsorted(keys, bound, side="right"))
            taken.append(batch.slice(0, count))
            if count == batch.num_rows:
                self._advance(place)
            else:
                self._now[place] = batch.slice(count)
        return pa.Table.from_batches(taken)

    def _keys(self, batch: Any) -> Any:
        return batch.column(self._key)

    def _advance(self, place: int) -> None:
        reader = self._readers[place]
        self._now[place] = None
        while self._next[place] < reader.num_record_batches and self._now[place] is None:
            batch = reader.get_batch(self._next[place])
            self._next[place] += 1
            self._now[place] = batch if batch.num_rows else None


def _batches(table: Any) -> list[Any]:
    """A table as one record batch, or as several where a column is too much for one."""
    return list(table.combine_chunks().to_batches())
