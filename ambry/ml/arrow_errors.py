"""What Arrow raises of a file that somebody else wrote: its own classes (one of memory), and OSError without a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
