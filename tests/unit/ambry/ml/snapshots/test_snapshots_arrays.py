"""A fetched snapshot as arrays: without a copy, and rows by key the same as `read` gives them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ambry import AmbryClient, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.reading import Snapshot, open_snapshot
from ambry.ml.snapshots.writing import write_snapshot

TEXT = """\
age: {valType: INT, default: -1}
income: {valType: DOUBLE}
flag: {valType: BOOLEAN, default: true}
week: {valType: FLOAT, dims: [days-1-0], default: 0.5}
grid: {valType: LONG, dims: [two-1-0, days-1-0]}
bits: {valType: BOOLEAN, dims: [days-1-0]}
name: {valType: STRING}
open: {valType: INT, dims: [seen-1-0]}
days: {type: discrete : {size: 7}}
two: {type: discrete : {size: 2}}
seen: {type: discrete}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
NAMES = ("age", "income", "flag", "week", "grid", "bits")
AGE, INCOME, FLAG, WEEK, GRID, BITS = NUMBERS = [f"urn:li:(n,{name},1,0)" for name in NAMES]
NAME, OPEN = "urn:li:(n,name,1,0)", "urn:li:(n,open,1,0)"
WHEN = datetime(2026, 11, 27, 12, tzinfo=UTC)
_numbers = count()


def snapshot_of(client: AmbryClient, keys: list[Any], nulls: float = 0.0, urns: list[str] | None = None) -> Snapshot:
    seed = 7
    chance = random.Random(seed)
    draw = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {
        "age": [chance.randrange(90) for _ in keys],
        "income": [chance.random() for _ in keys],
        "flag": [chance.random() < 0.5 for _ in keys],
        "week": [draw.random(7, dtype=np.float32) for _ in keys],
        "grid": [draw.integers(0, 9, (2, 7)) for _ in keys],
        "bits": [draw.random(7) < 0.5 for _ in keys],
        "name": ["x"] * len(keys),
        "open": [[(1, 2)]] * len(keys),
    }
    frame = pd.DataFrame(
        {
            "member": keys,
            **{
                name: pd.Series([None if chance.random() < nulls else value for value in column], dtype=object)
                for name, column in columns.items()
            },
        }
    )
    name = f"arrays-{next(_numbers)}"
    write_snapshot(
        client,
        name,
        frame,
        urns or [*NUMBERS, NAME, OPEN],
        metadata=METADATA,
        entity="member",
        as_of=WHEN,
        rows_per_batch=8,
    )
    return open_snapshot(client, name, metadata=METADATA)


@pytest.mark.parametrize("nulls", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("rows", [0, 1, 8, 16, 21, 100])
def test_rows_by_key_are_those_that_read_gives(client: AmbryClient, rows: int, nulls: float) -> None:
    chance = random.Random(rows)
    keys = chance.sample(range(-200, 200), rows)
    with snapshot_of(client, keys, nulls) as snapshot:
        reader = snapshot.reader(NUMBERS)
        asked = [*keys, *keys[:3], 1_000, -1_000, *chance.sample(range(-200, 200), 20)]
        chance.shuffle(asked)
        answer = reader.read(asked)
        table = snapshot.read(NUMBERS, asked)
        assert answer.found.tolist() == [key in set(keys) for key in asked]
        for name, urn in zip(NAMES, NUMBERS, strict=True):
            values, none = answer.values[urn], answer.missing.get(urn, np.zeros(len(asked), bool))
            kind = METADATA.tensor_type(urn)
            assert values.shape == (len(asked), *kind.shape)
            expected = table.column(name).to_pylist()
            for value, is_none, wanted in zip(values, none, expected, strict=True):
                if wanted is None:
                    assert is_none and (np.isnan(value).all() if name == "income" else not value.any())
                else:
                    assert value.reshape(-1).tolist() == (wanted if isinstance(wanted, list) else [wanted])
        cells = sum(values[0].size for values in reader.read([1_000]).values.values())
        assert reader.matrix(asked).shape == (len(asked), cells)
        assert reader.read([]).values[WEEK].shape == (0, 7)


def test_texts_are_keys_too(client: AmbryClient) -> None:
    keys = ["b", "a", "é", "😀", "\ufffd", ""]
    with snapshot_of(client, keys) as snapshot:
        reader = snapshot.reader([AGE])
        asked = ["😀", "x", "", "\ufffd", "a"]
        assert reader.read(asked).values[AGE].tolist() == snapshot.read([AGE], asked).column("age").to_pylist()
        with pytest.raises(InvalidRequest, match="the entities are texts"):
            reader.read([1])


def test_arrays_lie_over_the_mapped_file(client: AmbryClient) -> None:
    with snapshot_of(client, list(range(100))) as snapshot:
        whole = [column.to_numpy(zero_copy_only=True) for column in snapshot.table([AGE]).column("age").chunks]
        views = snapshot.numpy(AGE)
        assert len(views) == 13 and not views[0].flags.writeable
        assert all(np.shares_memory(view, other) for view, other in zip(views, whole, strict=True))
        assert np.concatenate(snapshot.numpy(GRID)).shape == (100, 2, 7)
        assert snapshot.numpy(BITS)[0].dtype == bool
    with snapshot_of(client, list(range(100)), urns=[AGE, WEEK, GRID]) as snapshot:
        # Batches of one size: rows are read over the file itself.
        for urn, column in snapshot.reader([AGE, WEEK, GRID])._columns.items():
            assert np.shares_memory(column._head, snapshot.numpy(urn)[0])
        assert snapshot.reader([WEEK]).read([99, 0]).values[WEEK].tolist() == [
            row.tolist() for row in (snapshot.numpy(WEEK)[12][3], snapshot.numpy(WEEK)[0][0])
        ]


def test_what_has_no_width_is_refused(client: AmbryClient) -> None:
    with snapshot_of(client, [1, 2]) as snapshot:
        for urn in (NAME, OPEN):
            for call in (snapshot.numpy, lambda urn: snapshot.reader([urn])):
                with pytest.raises(InvalidRequest, match="whose rows are not alike; `read` gives it as Arrow"):
                    call(urn)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_tensors_of_torch_may_be_written_and_change_nothing_else(client: AmbryClient) -> None:
    """Over a map that is only to be read, torch warns of undefined behaviour."""
    if find_spec("torch") is None:
        pytest.skip("torch is not installed; `make libraries` does it")
    with snapshot_of(client, list(range(20))) as snapshot:
        tensors = snapshot.torch(WEEK)
        before = [view.copy() for view in snapshot.numpy(WEEK)]
        assert all((tensor.numpy() == view).all() for tensor, view in zip(tensors, before, strict=True))
        tensors[0][:] = -1
        assert (snapshot.numpy(WEEK)[0] == before[0]).all()
        assert (snapshot.torch(WEEK)[0].numpy() == before[0]).all()


def test_a_private_mapping_may_be_written(client: AmbryClient) -> None:
    """What the tensors of torch lie over."""
    from ambry.ml.snapshots.arrays import private_batches, view_of

    with snapshot_of(client, list(range(20))) as snapshot:
        mapped, batches = private_batches(client.cached_path(snapshot.place))
        views = [view_of(batch.column("week"), METADATA.tensor_type(WEEK), mapped) for batch in batches]
        assert all((view == other).all() for view, other in zip(views, snapshot.numpy(WEEK), strict=True))
        assert views[0].flags.writeable
        views[0][:] = -1
        assert not (snapshot.numpy(WEEK)[0] == views[0]).any()
