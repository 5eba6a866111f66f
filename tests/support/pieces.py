"""Work in pieces (datanode/store/pieces.py), all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from datanode.store.pieces import Pieces

T = TypeVar("T")


def all_of(pieces: Pieces[T], between: Callable[[int], None] = lambda _size: None) -> T:
    """Do all of it on this thread; `between` is called after each piece with its size."""
    try:
        while True:
            between(next(pieces))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        pieces.close()
