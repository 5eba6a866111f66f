"""What a library raises about something that a stranger wrote, as one sentence: where, what, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ambry.errors import InvalidRequest


@contextmanager
def foreign(what: str, to_do: str, *raised: type[Exception]) -> Iterator[None]:
    """`raised` are those of the library that are about what lies there, besides those of Python about values.

    Raises InvalidRequest for them. An OSError with a number or a class of its own is the system's, about a file or a
    connection, and stays.
    """
    told_of: tuple[type[Exception], ...] = (
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        EOFError,
        OSError,
        *raised,
    )
    try:
        yield
    except InvalidRequest:
        raise
    except told_of as error:
        if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
            raise
        told = " ".join(str(error).split())[:500] or type(error).__name__
        raise InvalidRequest(f"{what}: {told}; {to_do}") from error
