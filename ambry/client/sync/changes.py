# Generated from ambry/client/aio/changes.py by `make sync-client`; change that file, not this one.
"""Following what changes in a container."""

# A part of the client, which calls what users do not.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ambry.client import wire
from ambry.client.model import Timeout
from ambry.client.sync.calls import SyncCalls
from ambry.client.wire.message import ApiRequest
from ambry.errors import Unavailable, must_have

if TYPE_CHECKING:
    from ambry.client.changes import ToldChange, ToldChanges


class ChangesFeed:
    """Iterate over it. One that raised is as it was before: iterate on, when it may help, or begin with `token` anew.

    >>> feed = client.changes("now")
    >>> for change in feed:
    ...     told = f"{change.type} {change.id}"
    >>> page = feed.next_page()  # for who keeps tokens: what is left, whole, with the token behind it
    >>> bool(feed.token), page.changes
    (True, ())
    """

    def __init__(self, calls: SyncCalls, since: str, *, follow: bool, page_size: int, timeout: Timeout | None) -> None:
        self._calls = calls
        self._follow = follow
        self._page_size = page_size
        self._timeout = timeout
        self._page: ToldChanges | None = None
        """The last one that came."""
        self._left: deque[ToldChange] = deque()
        self.token = since
        """What `changes(since=...)` takes to go on, at any frontend: behind the last page of which all changes were given out.

        Those of the page that is under way come again then.
        """
        self._request(0)  # Raises now, and not at the first change.

    @property
    def delayed(self) -> bool:
        """Whether the last page said that some changes cannot be told now; they come behind a later token."""
        return self._page is not None and self._page.delayed

    def __iter__(self) -> Iterator[ToldChange]:
        return self

    def __next__(self) -> ToldChange:
        while not self._left:
            if self._page is not None:
                self.token = self._page.token or self.token
                if self._page.at_end and not self._follow:
                    if self._page.delayed:
                        from ambry.client.changes import NOT_ALL

                        self._page = replace(self._page, at_end=False)  # Whoever iterates on asks for them again.
                        raise Unavailable(f"{NOT_ALL}; they come behind this token later")
                    raise StopIteration
            self._next_page()
        return self._left.popleft()

    def next_page(self) -> ToldChanges:
        """The changes that were not given out yet of a page, or else the next one whole, with the token behind it.

        For who keeps that token beside what was done with the changes. With `follow` a page may have none: so far nothing came.
        Where the feed does not follow it is asked for until a page is `at_end`; one that is `delayed` too is not all there is.

        >>> page = client.changes("now").next_page()
        >>> page.changes, page.at_end
        ((), True)
        """
        if not self._left:
            if self._page is not None:
                self.token = self._page.token or self.token
            self._next_page()
        page = must_have(self._page, "the page that came")
        told = tuple(self._left)
        self._left.clear()
        return replace(page, changes=told, token=page.token or self.token)

    def _next_page(self) -> None:
        """The next one; waits for a change where there is none."""
        bears = (self._timeout or self._calls._timeout).read
        # A now is known at once, so that no change is left out where a request that waits is lost.
        wait_s = (
            int(min(wire.changes.WAIT_MAX_S, bears * 2 / 3)) if self._follow and self._page and self._page.token else 0
        )
        page = self._calls._ask(self._request(wait_s), None, wire.changes.parse_changes, self._timeout)
        # In this order: what is interrupted in between comes again, and is never left out.
        self._left.extend(page.changes)
        self._page = page

    def _request(self, wait_s: int) -> ApiRequest:
        calls = self._calls
        return wire.changes.changes_request(
            calls.default_account, calls.default_container, self.token, page_size=self._page_size, wait_s=wait_s
        )


class SyncChanges(SyncCalls):
    """The call that tells changes."""

    def changes(
        self,
        since: str = "beginning",
        *,
        follow: bool = False,
        page_size: int = 1_000,
        timeout: Timeout | None = None,
    ) -> ChangesFeed:
        """What was put, deleted, undeleted, extended, named and aliased in the container of the client, as `ToldChange`s.

        `since`: the `beginning`, `now`, or the `token` of a feed before. At least once each; it ends where there is no
        more, or with `follow` waits for more; where some cannot be told now, it ends with Unavailable. Keep `token`
        together with what was done with the changes so far.

        >>> feed = client.changes("now")
        >>> seen = [change for change in feed]
        >>> feed = client.changes(feed.token)  # goes on from there
        """
        return ChangesFeed(self, since, follow=follow, page_size=page_size, timeout=timeout)
