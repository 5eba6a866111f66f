"""What Arrow raises of a file that somebody else wrote: its own classes (one of memory), and OSError without a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest

FIXED_LISTS_SINCE = 26
"""The release of pyarrow that reads lists of one length from Parquet where some are missing (apache/arrow 35692)."""
_OF_FIXED_LISTS = ("Expected all lists to be of size", "Lists with non-zero length null components")


@contextmanager
def arrow_told(tell: Callable[[Exception], Exception]) -> Iterator[None]:
    """Raises what `tell` makes of what Arrow says of the file. An OSError with a number is the system's and stays."""
    try:
        yield
    except (pa.ArrowException, EOFError, UnicodeDecodeError) as error:
        raise _of_release(error, tell) from error
    except OSError as error:
        if error.errno is not None or type(error) is not OSError:
            raise
        raise tell(error) from error


def reads_fixed_lists() -> bool:
    """Whether this pyarrow reads dense tensors from Parquet where some are missing."""
    return int(pa.__version__.partition(".")[0]) >= FIXED_LISTS_SINCE


def _of_release(error: Exception, tell: Callable[[Exception], Exception]) -> Exception:
    """What is told; InvalidRequest of what is no damage of the file, which would be read again."""
    if reads_fixed_lists() or not any(words in str(error) for words in _OF_FIXED_LISTS):
        return tell(error)
    words = (
        f"it has dense tensors of which some are missing, and pyarrow {pa.__version__} cannot read those from Parquet; install "
        f"pyarrow {FIXED_LISTS_SINCE} or later"
    )
    return InvalidRequest(str(tell(pa.ArrowInvalid(words))))


def each_told(pieces: Iterable[Any], tell: Callable[[Exception], Exception]) -> Iterator[Any]:
    """`pieces`, which are read as they are asked for; what reading one raises is told, and what is done with it is not."""
    unread = iter(pieces)
    while True:
        with arrow_told(tell):
            piece = next(unread, None)
        if piece is None:
            return
        yield piece
