"""A FLOAT is shown as the shortest text that is it, and read back to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from ambry.ml.snapshots.json_cells import plain_values

SEED = 20261128


def every_kind(seed: int, count: int) -> np.ndarray:
    """Floats of any exponent, by their bits."""
    bits = np.random.default_rng(seed).integers(0, 1 << 32, count, dtype=np.uint32).view(np.float32)
    return bits[np.isfinite(bits)]


def columns() -> list[pa.Array]:
    values = pa.array([1.4, None, 2.35, 0.1], pa.float32())
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.array([[1.4, 2.35]], np.float32))
    cells = pa.array([[], None, [{"key": 3, "value": 1.4}, {"key": 4, "value": 2.35}]])
    kind = pa.list_(pa.struct([pa.field("key", pa.int32()), pa.field("value", pa.float32())]))
    return [values, values[2:], tensor, cells.cast(kind), cells.cast(kind)[1:]]


@pytest.mark.parametrize(
    ("column", "shown"),
    list(
        zip(
            columns(),
            (
                [1.4, None, 2.35, 0.1],
                [2.35, 0.1],
                [[1.4, 2.35]],
                [[], None, [[3, 1.4], [4, 2.35]]],
                [None, [[3, 1.4], [4, 2.35]]],
            ),
            strict=True,
        )
    ),
)
def test_floats_are_shown_short(column: pa.Array, shown: list[object]) -> None:
    assert plain_values(column, pa.field("score", column.type)) == shown


def test_floats_come_back_to_the_last_bit() -> None:
    values = every_kind(SEED, 50_000)
    shown = json.loads(json.dumps(plain_values(pa.array(values), pa.field("score", pa.float32()))))
    assert np.array(shown, np.float64).astype(np.float32).tobytes() == values.tobytes()
    odd = pa.array([np.nan, np.inf, -np.inf, -0.0], pa.float32())
    back = np.array(plain_values(odd, pa.field("score", pa.float32())), np.float32)
    assert back.tobytes() == np.array(odd, np.float32).tobytes()


def test_doubles_stay() -> None:
    assert plain_values(pa.array([1.399999976158142]), pa.field("score", pa.float64())) == [1.399999976158142]
