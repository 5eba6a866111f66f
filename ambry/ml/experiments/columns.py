"""Columns of outcomes, out of whatever frames they come in: whole, of one length, and numbers where numbers belong.

A metric is a column with a value of each unit, or a ratio of two: `clicks/views` is the sum of one over the sum of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.experiments.assignment import array_of
from ambry.ml.snapshots.frames import pieces_of

VALUE_MAX = 1e150
"""Of a metric: its square is a number too, without which there is no variance."""
SEGMENT_VALUES_MAX = 100
"""Of one segment; the most frequent ones, and the others together."""
_LABEL_CHARACTERS_MAX = 100


def parts_of(metric: str, columns: Collection[str]) -> tuple[str, ...]:
    """The one column of a metric, or the two of a ratio."""
    parts = tuple(metric.split("/"))
    return parts if metric not in columns and len(parts) == 2 and all(parts) else (metric,)


def whole_columns(
    rows: Any,
    names: Iterable[str],
    metrics: Sequence[str] = (),
    why: Mapping[str, str] | None = None,
    to_do: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """These columns, and those of the metrics, as numpy arrays of one length.

    `why` is said of a column that is not there in place of those that are, `to_do` behind them. Raises InvalidRequest for
    one that is not in each of the frames, or has more than a value of each row; and what `pieces_of` refuses.
    """
    found: dict[str, list[Any]] = {}
    needed: list[str] = []
    count = 0
    for piece in pieces_of(rows):
        needed = needed or list(
            dict.fromkeys([*names, *(part for metric in metrics for part in parts_of(metric, piece))])
        )
        for name in needed:
            if name not in piece:
                more = (why or {}).get(name, "")
                where = f"from {count:,} on " if count else ""
                raise InvalidRequest(
                    more
                    or f"the rows {where}have no column {name!r}; they have {', '.join(sorted(piece))}"
                    f"{(to_do or {}).get(name, '')}"
                )
        if not len(piece[needed[0]]):
            # Its types would be those of nothing.
            continue
        arrays = {name: _array(name, piece[name]) for name in needed}
        for name, array in arrays.items():
            found.setdefault(name, []).append(array)
        count += len(arrays[needed[0]])
    if not count:
        raise InvalidRequest("there are no rows to evaluate")
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def numbers(column: Any, metric: str) -> Any:
    """Of a metric, as floats; null and NaN are a unit without it. Raises InvalidRequest."""
    if column.dtype.kind in "biuf":
        values = column.astype(np.float64)
    elif column.dtype.kind == "O":
        listed = column.tolist()
        if any(isinstance(each, str) for each in listed):
            raise _no_number(metric, _odd_text([each for each in listed if isinstance(each, str)]))
        values = np.array([_number(each, metric) for each in listed], dtype=np.float64)
    elif column.dtype.kind == "U":
        raise _no_number(metric, _odd_text(column.tolist()))
    else:
        raise _no_number(metric, column.tolist()[0])
    beyond = np.abs(values) > VALUE_MAX
    if beyond.any():
        raise InvalidRequest(
            f"the metric {metric!r} has the value {float(values[beyond][0]):g}; its values lie within {VALUE_MAX:g}, "
            "so leave it null, or cap it"
        )
    return values


def groups_of(segment: str, column: Any) -> list[tuple[str, Any]]:
    """What each value of a segment is called, and the places of its rows: the most frequent ones, and the others together."""
    places: dict[str, list[int]] = {}
    for place, value in enumerate(column.tolist()):
        places.setdefault(_label(value), []).append(place)
    frequent = sorted(places, key=lambda value: (-len(places[value]), value))
    found = [(f"{segment}={_cut(value)}", np.array(places[value])) for value in sorted(frequent[:SEGMENT_VALUES_MAX])]
    if rare := frequent[SEGMENT_VALUES_MAX:]:
        others = np.sort(np.concatenate([places[value] for value in rare]))
        found.append((f"{segment}: {len(rare):,} others", others))
    return found


def is_missing(value: object) -> bool:
    """Whether it is nothing: None, NaN, or what pandas has for it."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _array(name: str, column: Any) -> Any:
    if hasattr(column, "to_pylist"):
        plain = column.null_count == 0 and not hasattr(column, "dictionary")
        column = column.to_numpy(zero_copy_only=False) if plain else column.to_pylist()
    # numpy makes texts of numbers beside texts, and 1 of True beside numbers.
    mixed = isinstance(column, list | tuple) and len(set(map(type, column))) > 1
    try:
        array = np.array(column, dtype=object) if mixed else array_of(column)
    except ValueError:  # Lists of different lengths.
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise InvalidRequest(f"the column {name!r} has to have one value of each row, and no lists")
    return array


def _number(value: object, metric: str) -> float:
    if is_missing(value):
        return float("nan")
    if not isinstance(value, int | float | Decimal | np.number | np.bool_) or isinstance(value, np.complexfloating):
        raise _no_number(metric, value)
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _odd_text(texts: Sequence[str]) -> str:
    """The text that made texts of a column of numbers: the first one that is none, or else the first."""
    for each in texts:
        try:
            float(each)
        except ValueError:
            return each
    return texts[0]


def _no_number(metric: str, value: object) -> InvalidRequest:
    return InvalidRequest(f"the metric {metric!r} has values that are no numbers, such as {value!r:.60}")


def _label(value: object) -> str:
    """As it is shown: 1 and 1.0 are the same, since a column with a null in it has floats."""
    if is_missing(value):
        return ""
    shown = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return shown.encode("utf-8", "backslashreplace").decode()


def _cut(value: str) -> str:
    return value if len(value) <= _LABEL_CHARACTERS_MAX else f"{value[: _LABEL_CHARACTERS_MAX - 1]}…"
