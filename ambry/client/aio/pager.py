"""A list that comes in pages, as it is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from ambry.client.aio.calls import AsyncCalls
from ambry.client.model import Timeout
from ambry.client.wire.message import ApiRequest, Headers

if TYPE_CHECKING:
    from ambry.client.names import Page

T = TypeVar("T")


class AsyncPager(Generic[T]):
    """Iterate over its entries, or over `pages()`. Each pass asks anew; nothing is asked before the first.

    >>> for number in range(3):
    ...     info = await client.put(b"x", name=f"many/{number}")
    >>> pager = client.list("many/", page_size=2)
    >>> [len(page.entries) async for page in pager.pages()]
    [2, 1]
    >>> [entry.size async for entry in pager]
    [1, 1, 1]
    >>> len(await pager.all())
    3
    """

    def __init__(
        self,
        calls: AsyncCalls,
        request: Callable[[str | None], ApiRequest],
        parse: Callable[[Headers, bytes], Page[T]],
        timeout: Timeout | None,
    ) -> None:
        """`request` makes that of the page behind a token, None for the first."""
        self._calls = calls
        self._request = request
        self._parse = parse
        self._timeout = timeout

    async def pages(self, token: str | None = None) -> AsyncIterator[Page[T]]:
        """From the first on, or from the one that the `next_token` of another stands for."""
        while True:
            page = await self._calls._ask(self._request(token), None, self._parse, self._timeout)
            yield page
            token = page.next_token
            if token is None:
                return

    async def all(self) -> list[T]:
        """Every entry, for lists that are short."""
        found: list[T] = []
        async for page in self.pages():
            found += page.entries
        return found

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for entry in page.entries:
                yield entry
