"""Which bytes of a tensor an index needs, as of numpy. Pure.

The values that it wants lie within one run of bytes: numbers in front cut it down to what they name, and a slice behind them to
the rows from its first to its last. The rest is taken out of that run in memory.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType

Index = int | slice | EllipsisType
"""What stands for one dimension; the ellipsis for as many as are left."""


@dataclass(frozen=True, slots=True)
class ElementRun:
    """Elements `first` to `end` of a tensor, of the shape `shape`; `rest` is what is taken out of them then."""

    first: int
    end: int
    shape: tuple[int, ...]
    rest: tuple[Index, ...]


def run_of(shape: Sequence[int], index: Index | tuple[Index, ...]) -> ElementRun:
    """Raises IndexError, TypeError as numpy does."""
    wanted = _written_out(len(shape), index if isinstance(index, tuple) else (index,))
    first, left = 0, list(shape)
    while wanted and isinstance(wanted[0], int):
        extent, place = left.pop(0), wanted[0]
        wanted = wanted[1:]
        if not -extent <= place < extent:
            raise IndexError(f"index {place} is out of bounds for a dimension of {extent}")
        first += place % extent * math.prod(left)
    rest: tuple[Index, ...] = tuple(wanted)
    if wanted and isinstance(wanted[0], slice):
        extent, row = left[0], math.prod(left[1:])
        rows = range(extent)[wanted[0]]
        low, high = (min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1) if rows else (0, 0)
        first += low * row
        left[0] = high - low
        step = wanted[0].step or 1
        rest = (slice(None, None, step) if rows else slice(0, 0), *wanted[1:])
    return ElementRun(first, first + math.prod(left), tuple(left), rest)


def _written_out(dimensions: int, index: tuple[Index, ...]) -> list[int | slice]:
    """One number or slice for each dimension, but for those at the end that are not named."""
    left_open = sum(each is Ellipsis for each in index)
    named = len(index) - left_open
    if left_open > 1:
        raise IndexError("there is more than one ellipsis")
    if named > dimensions:
        raise IndexError(f"{named} indices for a tensor of {dimensions} dimensions")
    found: list[int | slice] = []
    for each in index:
        if isinstance(each, EllipsisType):
            found += [slice(None)] * (dimensions - named)
        elif isinstance(each, slice):
            found.append(each)
        elif hasattr(each, "__index__") and not isinstance(each, bool):
            found.append(operator.index(each))
        else:
            raise TypeError(f"a tensor is cut by numbers and slices, not by {type(each).__name__}")
    return found
