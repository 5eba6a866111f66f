"""What the audit tells of a change of which it is not known whether it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ambry.errors import AmbryError
from frontend.http.exchange import Exchange


@contextmanager
def told_in_doubt(exchange: Exchange, asked: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Tell all that is asked for where the change in here ends in any other way than by being made or refused.

    It may have been made: the store may have it without having said so, and its client may have gone meanwhile.
    """
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, AmbryError) and error.status < 500):
            exchange.noted["asked_for"] = list(asked())
        raise
