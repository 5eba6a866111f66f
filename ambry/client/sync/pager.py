# Generated from ambry/client/aio/pager.py by `make sync-client`; change that file, not this one.
"""A list that comes in pages, as it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from ambry.client.model import Timeout
from ambry.client.sync.calls import SyncCalls
from ambry.client.wire.message import ApiRequest, Headers

if TYPE_CHECKING:
    from ambry.client.names import Page

T = TypeVar("T")


class Pager(Generic[T]):
    """Iterate over its entries, or over `pages()`. Each pass asks anew; nothing is asked before the first.

    >>> for number in range(3):
    ...     info = client.put(b"x", name=f"many/{number}")
    >>> pager = client.list("many/", page_size=2)
    >>> [len(page.entries) for page in pager.pages()]
    [2, 1]
    >>> [entry.size for entry in pager]
    [1, 1, 1]
    >>> len(pager.all())
    3
    """

    def __init__(
        self,
        calls: SyncCalls,
        request: Callable[[str | None], ApiRequest],
        parse: Callable[[Headers, bytes], Page[T]],
        timeout: Timeout | None,
    ) -> None:
        """`request` makes that of the page behind a token, None for the first."""
        self._calls = calls
        self._request = request
        self._parse = parse
        self._timeout = timeout

    def pages(self, token: str | None = None) -> Iterator[Page[T]]:
        """From the first on, or from the one that the `next_token` of another stands for."""
        while True:
            page = self._calls._ask(self._request(token), None, self._parse, self._timeout)
            yield page
            token = page.next_token
            if token is None:
                return

    def all(self) -> list[T]:
        """Every entry, for lists that are short."""
        found: list[T] = []
        for page in self.pages():
            found += page.entries
        return found

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            for entry in page.entries:
                yield entry
