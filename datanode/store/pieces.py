"""Long blocking work in pieces: who drives it says when the next one is done, and on which thread.

Such work is a generator that yields the size in bytes of every piece it has done, and returns what came of it. It never sleeps:
between two pieces nobody waits for it, and its driver may do anything else, or close it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

Pieces = Generator[int, None, T]


def counted(pieces: Pieces[T], count: Callable[[int], None]) -> Pieces[T]:
    """The same work; `count` hears of the size of each piece."""
    try:
        while True:
            size = next(pieces)
            count(size)
            yield size
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        pieces.close()
