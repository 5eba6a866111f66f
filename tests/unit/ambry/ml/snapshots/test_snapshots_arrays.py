"""A fetched snapshot as arrays: without a copy, and rows by key the same as `read` gives them."""

from __future__ import annotations

import ctypes
import random
import warnings
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
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


def snapshot_of(
    client: AmbryClient,
    keys: list[Any],
    nulls: float = 0.0,
    urns: list[str] | None = None,
    rows_per_batch: int = 8,
) -> Snapshot:
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
        rows_per_batch=rows_per_batch,
        allow_empty=True,
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
        views = snapshot.arrays(AGE)
        assert len(views) == 13 and not views[0].flags.writeable
        assert all(np.shares_memory(view, other) for view, other in zip(views, whole, strict=True))
        assert np.concatenate(snapshot.arrays(GRID)).shape == (100, 2, 7)
        assert snapshot.arrays(BITS)[0].dtype == bool
    with snapshot_of(client, list(range(100)), urns=[AGE, WEEK, GRID]) as snapshot:
        # Batches of one size: rows are read over the file itself.
        for urn, column in snapshot.reader([AGE, WEEK, GRID])._columns.items():
            assert np.shares_memory(column._head, snapshot.arrays(urn)[0])
        assert snapshot.reader([WEEK]).read([99, 0]).values[WEEK].tolist() == [
            row.tolist() for row in (snapshot.arrays(WEEK)[12][3], snapshot.arrays(WEEK)[0][0])
        ]


def test_what_has_no_width_is_refused(client: AmbryClient) -> None:
    with snapshot_of(client, [1, 2]) as snapshot:
        for urn in (NAME, OPEN):
            for call in (snapshot.arrays, lambda urn: snapshot.reader([urn])):
                with pytest.raises(InvalidRequest, match="whose rows are not alike; `read` gives it as Arrow"):
                    call(urn)


def map_of(address: int) -> tuple[str, str]:
    """The file that is mapped at an address, and how."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, how, *_, name = line.split(maxsplit=5)
        first, end = (int(each, 16) for each in place.split("-"))
        if first <= address < end:
            return name, how
    raise AssertionError(f"nothing is mapped at {address:#x}")


@pytest.mark.parametrize("nulls", [0.0, 0.3])
@pytest.mark.parametrize("texts", [False, True])
def test_numbers_of_whole_batches_begin_where_every_framework_takes_them(
    client: AmbryClient, texts: bool, nulls: float
) -> None:
    """Arrow pads to 8 bytes, and jax and tensorflow copied seven of eight batches."""
    keys = [f"member {key}" if texts else key for key in range(1_100)]
    with snapshot_of(client, keys, nulls, [NAME, OPEN, *NUMBERS], rows_per_batch=512) as snapshot:
        path = str(client.cached_path(snapshot.place))
        for urn in (AGE, INCOME, WEEK, GRID, BITS):
            views = snapshot.arrays(urn)
            assert [len(view) for view in views] == [512, 512, 76]
            assert [view.ctypes.data % 64 for view in views[:-1]] == [0, 0], urn
            assert {map_of(view.ctypes.data) for view in views} == {(path, "rw-p" if nulls else "r--p")}
        # What is read by ranges is the same.
        asked = [keys[999], keys[0], keys[500]]
        table = snapshot.table(NUMBERS)
        there = table.column("member").to_pylist()
        with open_snapshot(client, str(snapshot.place.dataset), metadata=METADATA) as other:
            read = other.read(NUMBERS, asked)
        for urn in NUMBERS:
            name = snapshot.column(urn)
            values = [table.column(name)[there.index(key)].as_py() for key in asked]
            default = METADATA.tensor_type(urn).default
            for value, found in zip(values, read.column(name).to_pylist(), strict=True):
                assert found == value or (value is None and default is not None)


def framework(name: str) -> Any:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed; `make libraries` does it")
    library: Any = import_module(name)
    if name == "jax":
        library.config.update("jax_enable_x64", True)
    return library


def address_of(array: Any) -> int:
    return int(np.from_dlpack(array).ctypes.data)


@pytest.mark.slow
@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_arrays_of_a_framework_lie_over_the_file_too(client: AmbryClient, name: str, texts: bool) -> None:
    library = framework(name)
    keys = [f"member {key}" if texts else key for key in range(1_100)]
    with snapshot_of(client, keys, rows_per_batch=512) as snapshot:
        path = str(client.cached_path(snapshot.place))
        for urn in (AGE, INCOME, WEEK, GRID, BITS):
            plain, made = snapshot.arrays(urn), snapshot.arrays(urn, name)
            assert {type(each).__module__.partition(".")[0].removesuffix("lib") for each in made} == {library.__name__}
            for view, array in zip(plain, made, strict=True):
                assert np.array_equal(np.asarray(array), view) and np.asarray(array).dtype == view.dtype
            assert {map_of(address_of(array)) for array in made[:-1]} == {(path, "rw-p")}
        flags = snapshot.arrays(FLAG, name)
        assert [np.asarray(each).tolist() for each in flags] == [each.tolist() for each in snapshot.arrays(FLAG)]
    with snapshot_of(client, [], urns=[WEEK]) as snapshot:
        assert snapshot.arrays(WEEK, name) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_what_is_written_into_arrays_of_a_framework_changes_nothing_else(client: AmbryClient, name: str) -> None:
    """Over a map that is only to be read, torch warns of undefined behaviour, and writing ends the process."""
    framework(name)
    with snapshot_of(client, list(range(600)), rows_per_batch=512) as snapshot:
        path = client.cached_path(snapshot.place)
        before, plain = path.read_bytes(), [view.copy() for view in snapshot.arrays(WEEK)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made = snapshot.arrays(WEEK, name)
        shared = np.from_dlpack(made[0])
        memory: Any = (ctypes.c_char * shared.nbytes).from_address(shared.ctypes.data)
        whole = np.frombuffer(memory, shared.dtype)
        whole[:] = -1
        assert (np.asarray(made[0]) == -1).all()
        for again in (snapshot.arrays(WEEK), snapshot.arrays(WEEK, name)):
            assert all(np.array_equal(np.asarray(each), view) for each, view in zip(again, plain, strict=True))
        assert path.read_bytes() == before


def test_a_framework_that_is_none_is_refused(client: AmbryClient) -> None:
    with snapshot_of(client, [1, 2]) as snapshot, pytest.raises(InvalidRequest, match="framework is 'numpy' "):
        snapshot.arrays(AGE, "mxnet")


def test_a_private_mapping_may_be_written(client: AmbryClient) -> None:
    """What the tensors of torch lie over."""
    from ambry.ml.snapshots.arrays import private_file, view_of

    with snapshot_of(client, list(range(20))) as snapshot:
        with client.cached_path(snapshot.place).open("rb") as cached:
            mapped, file = private_file(cached.fileno())
        batches = map(file.get_batch, range(file.num_record_batches))
        views = [view_of(batch.column("week"), METADATA.tensor_type(WEEK), mapped) for batch in batches]
        assert all((view == other).all() for view, other in zip(views, snapshot.arrays(WEEK), strict=True))
        assert views[0].flags.writeable
        views[0][:] = -1
        assert not (snapshot.arrays(WEEK)[0] == views[0]).any()
