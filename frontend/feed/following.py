"""Following the changes of a container: page after page, and waiting between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from frontend.container import Container
from frontend.feed.reader import FeedPage, FeedReader, container_bytes
from frontend.feed.token import BEGINNING, Position, TokenCodec
from frontend.feed.watching import Notices

LOOK_S = 0.5
"""How often who waits looks whether anybody still waits for it."""
REFRESH_S = 10.0
"""How seldom everything is looked at, and it is told how far that was read, though nothing came: a token that lags costs its
reader time."""
HELD_S = 1.0
"""How long to wait before what nobody could tell is asked for again."""


class ChangeFollowing:
    """Of one process."""

    def __init__(self, reader: FeedReader, notices: Notices, tokens: TokenCodec) -> None:
        self._reader = reader
        self._notices = notices
        self._tokens = tokens

    async def position(self, container: Container, since: str) -> Position:
        """Where to begin: a token, `now`, or the `beginning`. Raises InvalidRequest; Unavailable for a now nobody can tell."""
        if since == "beginning":
            return BEGINNING
        if since == "now":
            return await self._reader.now(container)
        return self._tokens.decode(container_bytes(container), since)

    def token(self, container: Container, position: Position) -> str:
        """The token that goes on there."""
        return self._tokens.encode(container_bytes(container), position)

    async def pages(
        self,
        container: Container,
        position: Position,
        *,
        limit: int,
        wait_s: float | None,
        given_up: Callable[[], bool],
    ) -> AsyncGenerator[FeedPage, None]:
        """Pages one after the other; the first, and some others, may tell nothing but their position.

        Whether something is held is told at once, as is that it is no more. Ends when nothing came for `wait_s`, or never for
        None, with a page that says where; or when it was given up.
        Raises Overloaded where too many follow, and what the metadata store raises.
        """
        loop = asyncio.get_running_loop()
        with self._notices.following(container_bytes(container)) as follower:
            since, told_at = loop.time(), float("-inf")
            # When all partitions are asked again, whatever news come of some of them.
            everything_at = float("-inf")
            held: frozenset[int] = frozenset()
            while not given_up():
                news = follower.take()
                only = None if loop.time() >= everything_at else news.partitions
                page = await self._reader.page(container, position, limit=limit, only=only)
                if only is not None:  # Nothing is known of those that were not asked.
                    page = msgspec.structs.replace(page, held=page.held | (held - only))
                held_anew, held = bool(page.held) != bool(held), page.held
                position = page.position
                now = loop.time()
                if only is None or held_anew:
                    everything_at = now + (HELD_S if held else REFRESH_S)
                if page.at_end:
                    self._notices.log_is_at(position.logs)
                if page.events or page.restarted:
                    since = now
                over = wait_s is not None and page.at_end and now - since >= wait_s
                if page.events or page.restarted or held_anew or over or now - told_at >= REFRESH_S:
                    told_at = now
                    yield page
                    # Whoever takes it may have been slow about it.
                    since = max(since, loop.time()) if page.events else since
                if over:
                    return
                if not page.at_end:
                    follower.note_anything()
                    continue
                until = min(told_at + REFRESH_S, everything_at)
                if wait_s is not None:
                    until = min(until, since + wait_s)
                while not given_up() and (left_s := until - loop.time()) > 0:
                    if await follower.wait(min(left_s, LOOK_S)):
                        break
                else:
                    follower.note_anything()
