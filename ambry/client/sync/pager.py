# Generated from ambry/client/aio/pager.py by `make sync-client`; change that file, not this one.
"""A list that comes in pages, as it is asked for."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from ambry.client.model import Timeout
from ambry.client.sync.calls import SyncCalls
from ambry.client.token_walk import TokenWalk
from ambry.client.wire.message import ApiRequest, Headers, violation

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
        """From the first on, or from the one that the `next_token` of another stands for.

        A page that could not be had is asked for again when the iterator is asked on.
        """
        return _Pages(self._calls, self._request, self._parse, self._timeout, token)

    def all(self) -> list[T]:
        """Every entry, for lists that are short."""
        found: list[T] = []
        for page in self.pages():
            found += page.entries
        return found

    def __iter__(self) -> Iterator[T]:
        return _Entries(self.pages())


class _Pages(Iterator["Page[T]"]):
    """No generator, which would have ended when it raised."""

    def __init__(
        self,
        calls: SyncCalls,
        request: Callable[[str | None], ApiRequest],
        parse: Callable[[Headers, bytes], Page[T]],
        timeout: Timeout | None,
        token: str | None,
    ) -> None:
        self._calls = calls
        self._request = request
        self._parse = parse
        self._timeout = timeout
        self._token = token
        self._ended = False
        self._walk = TokenWalk(token)

    def __next__(self) -> Page[T]:
        if self._ended:
            raise StopIteration
        page = self._calls._ask(self._request(self._token), None, self._checked, self._timeout)
        if page.next_token is None:
            self._ended = True
        else:
            self._walk.went_on(page.next_token)
            self._token = page.next_token
        return page

    def _checked(self, headers: Headers, body: bytes) -> Page[T]:
        page = self._parse(headers, body)
        if page.next_token is not None and not self._walk.may_go_on(page.next_token):
            raise violation(
                headers, f"the list goes on with {repr(page.next_token)[:60]}, behind which is no further page"
            )
        return page


class _Entries(Iterator[T]):
    """The entries of all pages."""

    def __init__(self, pages: Iterator[Page[T]]) -> None:
        self._pages = pages
        self._left: deque[T] = deque()

    def __next__(self) -> T:
        while not self._left:
            page = next(self._pages)
            self._left.extend(page.entries)
        return self._left.popleft()
