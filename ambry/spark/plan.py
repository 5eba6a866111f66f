"""Which pieces of a file a query has to read, and which of them one task reads. Pure.

A piece is a row group of Parquet or a record batch of Arrow. One is left out where what is known of its values says that no
row of it can be wanted; the query looks at each row again, so that a piece too many costs time and changes nothing.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ambry.errors import InvalidRequest

Comparison = Literal["in", "<", "<=", ">", ">="]
CONDITIONS_MAX = 100_000
"""Characters of `prune`: a list of some thousand keys."""
SPLIT_SIZE = 64 << 20
SPLIT_SIZE_MIN = 16 << 20
SPLITS = 16
"""A task takes on a part of SPLITS of all bytes that are read, but no more and no less than so many.

Spark's own minimum is 4 MiB; one of Python costs it and its worker about as much as 2 MB of columns. 62 MB in 16 tasks took
1.5 times as long as in 4.
"""


@dataclass(frozen=True, slots=True)
class ColumnCondition:
    """A column is one of `values`, or compares so with the only one of them."""

    column: str
    comparison: Comparison
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class FilePiece:
    """`number` among the pieces of its file; `bounds` the least and the greatest value of columns, where that is known."""

    number: int
    rows: int
    size: int
    """Bytes that are moved for it."""
    bounds: Mapping[str, tuple[Any, Any]]


_COMPARISONS: dict[type[ast.cmpop], Comparison] = {
    ast.In: "in",
    ast.Eq: "in",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def conditions_in(text: str) -> list[ColumnCondition]:
    """`member >= 10 and member < 20`, `name in ("a", "b")`, `day == "x"`: a column, a comparison and what is compared with.

    Raises InvalidRequest.
    """
    if not text.strip():
        return []
    if len(text) > CONDITIONS_MAX:
        raise InvalidRequest(f"prune has {len(text)} characters, and at most {CONDITIONS_MAX} are read")
    try:
        text = text.strip().replace("\r\n", "\n").replace("\r", "\n")
        said = ast.parse(text, mode="eval").body
        each = said.values if isinstance(said, ast.BoolOp) and isinstance(said.op, ast.And) else [said]
        return [_condition(one, text) for one in each]
    except (
        SyntaxError,
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        MemoryError,
    ):  # The last of many signs in a row.
        raise InvalidRequest(
            f"prune is {text[:200]!r}, and no list of conditions; write them as member >= 10 and member < 20, "
            'or member in (17, 42), or name == "a"'
        ) from None


def _condition(said: ast.expr, text: str) -> ColumnCondition:
    """Raises ValueError, KeyError."""
    if not isinstance(said, ast.Compare) or not isinstance(said.left, ast.Name) or len(said.ops) != 1:
        raise ValueError
    if said.left.id not in text:
        raise ValueError  # Python takes ﬁ for fi, and there may be columns of both names.
    how, [values] = type(said.ops[0]), said.comparators
    value = ast.literal_eval(values)
    is_list = how is ast.In and isinstance(values, ast.Tuple | ast.List | ast.Set)
    if isinstance(value, tuple | list | set | dict) is not is_list:
        raise ValueError
    if how is ast.In and not is_list:
        # ("a") is a list of one in SQL, and in Python a text, whose letters nobody means.
        lines = text.encode().split(b"\n")[: values.lineno]
        lines[-1] = lines[-1][: values.col_offset]
        if not b"\n".join(lines).rstrip().endswith(b"("):
            raise ValueError
    return ColumnCondition(said.left.id, _COMPARISONS[how], tuple(value) if is_list else (value,))


def wanted(pieces: Iterable[FilePiece], conditions: Sequence[ColumnCondition]) -> list[FilePiece]:
    """Those in which there may be a row for which all conditions hold."""
    return [piece for piece in pieces if piece.rows and all(_may_hold(each, piece.bounds) for each in conditions)]


def split_size_of(pieces: Iterable[FilePiece]) -> int:
    """Bytes of a task unless the reader says otherwise: few columns of a large file are for many tasks, too."""
    return max(SPLIT_SIZE_MIN, min(SPLIT_SIZE, sum(piece.size for piece in pieces) // SPLITS))


def tasks(pieces: Iterable[FilePiece], split_size: int) -> list[tuple[FilePiece, ...]]:
    """Neighbours together, up to `split_size` bytes; a larger piece is a task of its own."""
    found: list[list[FilePiece]] = []
    size = 0
    for piece in pieces:
        if not found or size + piece.size > split_size:
            found.append([])
            size = 0
        found[-1].append(piece)
        size += piece.size
    return [tuple(each) for each in found]


def _may_hold(condition: ColumnCondition, bounds: Mapping[str, tuple[Any, Any]]) -> bool:
    if condition.column not in bounds:
        return True
    least, greatest = bounds[condition.column]
    values = [_as_written(value, least) for value in condition.values]
    if _may_compare(condition, least, greatest, values):
        return True
    if any(isinstance(each, float) for each in (least, *values)):
        # As Spark compares whole numbers with floats: with the nearest float of them.
        return _may_compare(condition, _nearest(least), _nearest(greatest), [_nearest(each) for each in values])
    return False


def _may_compare(condition: ColumnCondition, least: Any, greatest: Any, values: Sequence[Any]) -> bool:
    try:
        match condition.comparison:
            case "in":
                return any(_is_odd(value) or least <= value <= greatest for value in values)
            case "<":
                return bool(least < values[0]) or _is_odd(values[0])
            case "<=":
                return bool(least <= values[0]) or _is_odd(values[0])
            case _ if isinstance(greatest, float):
                # NaN, which no bounds tell of, is greater than all numbers in Spark.
                return True
            case ">":
                return bool(greatest > values[0])
            case ">=":
                return bool(greatest >= values[0])
    except TypeError:
        # Of types that do not compare, such as times with and without a zone: nothing is known.
        return True


def _as_written(value: Any, beside: Any) -> Any:
    """0.1 beside decimals is what was written, as in Spark, and not the nearest float."""
    return Decimal(repr(value)) if isinstance(beside, Decimal) and isinstance(value, float) else value


def _nearest(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, int) else value
    except OverflowError:
        return math.copysign(math.inf, value)


def _is_odd(value: Any) -> bool:
    """NaN: Spark holds it equal to itself, and Python does not."""
    return bool(value != value)
