"""Which pieces of a file a query has to read, and which of them one task reads. Pure.

A piece is a row group of Parquet or a record batch of Arrow. One is left out where what is known of its values says that no
row of it can be wanted; the query looks at each row again, so that a piece too many costs time and changes nothing.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import numpy as np

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


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""Texts that are a date and a number to Spark whatever is set, and are written so by it."""
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
        lines = text.encode().split(b"\n")
        return [_condition(one, lines) for one in each]
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


def _condition(said: ast.expr, lines: Sequence[bytes]) -> ColumnCondition:
    """Raises ValueError, KeyError."""
    if not isinstance(said, ast.Compare) or not isinstance(said.left, ast.Name) or len(said.ops) != 1:
        raise ValueError
    # As it is written: Python takes ﬁ for fi, and there may be columns of both names.
    column = lines[said.left.lineno - 1][said.left.col_offset : said.left.end_col_offset].decode()
    how, [values] = type(said.ops[0]), said.comparators
    value = ast.literal_eval(values)
    is_list = how is ast.In and isinstance(values, ast.Tuple | ast.List | ast.Set)
    if isinstance(value, tuple | list | set | dict) is not is_list:
        raise ValueError
    if how is ast.In and not is_list:
        # ("a") is a list of one in SQL, and in Python a text, whose letters nobody means.
        before = [*lines[: values.lineno - 1], lines[values.lineno - 1][: values.col_offset]]
        if not b"\n".join(before).rstrip().endswith(b"("):
            raise ValueError
    return ColumnCondition(column, _COMPARISONS[how], tuple(value) if is_list else (value,))


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
    ends = bounds.get(condition.column)
    return ends is None or any(_may_be(condition.comparison, *ends, value) for value in condition.values)


def _may_be(comparison: Comparison, least: Any, greatest: Any, value: Any) -> bool:
    """Whether anything from `least` to `greatest` compares so with `value`. It is false only where that is certain.

    What Spark compares a column with may be of another type than is written here (0.1 is a decimal in SQL, and a double in
    Python), and it makes one type of two. So numbers are only looked at as roughly as any type that it may choose would have
    them, and of types that are not the same nothing is known.
    """
    if isinstance(value, str) and not isinstance(least, str):
        value = _read_as(value, type(least))
    three = (least, greatest, value)
    kinds = {type(each) for each in three}
    if kinds <= {int, Decimal} and all(_is_whole(each) for each in three):
        return _between(comparison, *three)
    if kinds <= {int, float, Decimal}:
        if comparison in (">", ">=") and isinstance(greatest, float):
            # NaN, which no bounds tell of, is greater than all numbers in Spark.
            return True
        # What is rounded may be equal where it was less.
        return _between({"<": "<=", ">": ">="}.get(comparison, comparison), *_rounded(*three))
    return len(kinds) > 1 or not kinds <= {str, bytes, bool, date} or _between(comparison, *three)


def _read_as(text: str, kind: type) -> Any:
    """What a column of another type is compared with where a text is written: as Spark's cast has it, and only where that
    text is also what the cast the other way would write, which an IN without ANSI compares. Any other text stays one, of which
    nothing is known here: a time is one by the session's zone, and truth has many words.

    A whole number is a float, as it is to Spark beside a decimal.
    """
    if kind is date and _DAY.fullmatch(text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    if kind in (int, float, Decimal) and _WHOLE.fullmatch(text):
        return float(text)
    return text


def _between(comparison: str, least: Any, greatest: Any, value: Any) -> bool:
    if not least <= greatest or value != value:
        # These are no bounds, or NaN, which Spark holds equal to itself and Python does not.
        return True
    return bool(
        {
            "in": least <= value <= greatest,
            "<": least < value,
            "<=": least <= value,
            ">": greatest > value,
            ">=": greatest >= value,
        }[comparison]
    )


def _is_whole(value: Any) -> bool:
    """Of a type without fractions: such are compared as they are."""
    return isinstance(value, int) or value.as_tuple().exponent == 0


def _rounded(least: Any, greatest: Any, value: Any) -> list[float]:
    """As the nearest floats: of 32 bits where the column may be one of these, which Spark compares whole numbers as."""
    told = [_nearest(each) for each in (least, greatest, value)]
    with np.errstate(over="ignore"):
        narrow = [float(np.float32(each)) for each in told]
    return narrow if narrow[:2] == [least, greatest] else told


def _nearest(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
