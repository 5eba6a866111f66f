"""Blocks of rows: taken apart by entities or by turns and put together again, the same however they arrive."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy", reason="pip install 'ambry[photon]'")

from ambry.ml.photon.examples import Examples
from ambry.ml.photon.models import Task
from ambry.spark.row_blocks import Indexes, RowBlock, by_entity, in_turn, joined
from tests.support.photon_models import drawn_rows


def drawn() -> tuple[Examples, Indexes]:
    rows = drawn_rows(Task.LINEAR, 100, 12)
    rows = replace(rows, uids=tuple(str(place) for place in range(len(rows))))
    return rows, {name: shard.index for name, shard in rows.shards.items()}


def sources(rows: Examples, indexes: Indexes) -> list[RowBlock]:
    return [
        RowBlock.of(number, rows.take(part), indexes) for number, part in enumerate(np.array_split(np.arange(100), 3))
    ]


def test_all_rows_of_an_entity_come_to_one_place_in_their_order() -> None:
    rows, indexes = drawn()
    arrived: dict[int, list[RowBlock]] = {}
    for block in reversed(sources(rows, indexes)):
        for place, part in block.parts(by_entity(block, "member", 4)):
            arrived.setdefault(place, []).append(pickle.loads(pickle.dumps(part)))
    found = [joined(parts).examples(indexes) for parts in arrived.values()]
    assert sum(len(each) for each in found) == 100
    members = [set(each.ids["member"]) for each in found]
    assert len(set().union(*members)) == sum(map(len, members)) > len(found) > 1
    for each in found:
        places = [int(uid) for uid in each.uids]
        assert places == sorted(places)
        expected = rows.take(places)
        assert np.array_equal(each.response, expected.response) and np.array_equal(each.offset, expected.offset)
        assert (each.shard("features").matrix != expected.shard("features").matrix).nnz == 0


def test_turns_are_slices_of_one_size() -> None:
    rows, indexes = drawn()
    block = RowBlock.of(0, rows, indexes)
    parts = dict(block.parts(in_turn(block, 3)))
    assert [len(part.response) for part in parts.values()] == [34, 33, 33]
    together = joined(replace(part, source=place) for place, part in reversed(parts.items()))
    assert together.uids == rows.uids
    nothing = block.take(np.zeros(0, dtype=np.int64))
    assert dict(nothing.parts(in_turn(nothing, 3))) == {}
