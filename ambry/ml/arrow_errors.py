"""What Arrow raises of a file that somebody else wrote: its own classes (one of memory), and OSError without a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa


@contextmanager
def arrow_told(tell: Callable[[Exception], Exception]) -> Iterator[None]:
    """Raises what `tell` makes of what Arrow says of the file. An OSError with a number is the system's and stays."""
    try:
        yield
    except (pa.ArrowException, EOFError, UnicodeDecodeError) as error:
        raise tell(error) from error
    except OSError as error:
        if error.errno is not None or type(error) is not OSError:
            raise
        raise tell(error) from error


def each_told(pieces: Iterable[Any], tell: Callable[[Exception], Exception]) -> Iterator[Any]:
    """`pieces`, which are read as they are asked for; what reading one raises is told, and what is done with it is not."""
    unread = iter(pieces)
    while True:
        with arrow_told(tell):
            piece = next(unread, None)
        if piece is None:
            return
        yield piece
