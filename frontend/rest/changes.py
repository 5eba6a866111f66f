"""What changes in a container: `GET /changes`, as a page, or as a stream that goes on.

Nothing is kept of who follows: the token of an answer says how far it told, and any frontend of any datacenter goes on with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from ambry.errors import AmbryError, InvalidRequest
from ambry.rest.access import Role
from ambry.rest.values import DEFAULT_NAME
from ambry.service.listener import TCP_CLOSE, state_of
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.feed.following import ChangeFollowing
from frontend.feed.reader import PAGE_MAX, FeedPage
from frontend.feed.token import Position
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.rest.changes_forms import Form, form_of
from frontend.rest.entry import asked_for, container_of, enter
from frontend.rest.resource import EVERYWHERE, READS, of_this_moment
from frontend.who import decide, in_container

LAST_EVENT_ID = "last-event-id"
ON_CHANGES = frozenset({"account", "container", "since", "wait", "limit"})
WAIT_MAX_S = 60
STREAM_LIMIT = 200
"""Changes of a page of a stream, as long as nobody asks for more: each stream holds one."""


class ChangePages:
    """The call that tells changes."""

    def __init__(self, feed: ChangeFollowing, containers: Containers) -> None:
        self._feed = feed
        self._containers = containers

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                op="changes",
                methods=READS,
                target="/changes",
                handle=self.changes,
                needs=in_container(Role.READ),
                enter=self._enter,
                headers=EVERYWHERE | {LAST_EVENT_ID},
                query=ON_CHANGES,
                select=of_this_moment,
                gives=tuple(form.value for form in Form),
                lacks=True,
            ),
        )

    async def _enter(self, exchange: Exchange) -> None:
        query = exchange.target.query_pairs()
        account, container = query.get("account", DEFAULT_NAME), query.get("container", DEFAULT_NAME)
        enter(
            exchange,
            await asked_for(exchange.context.who, exchange.needs.roles, self._containers, account, container),
        )

    async def changes(self, exchange: Exchange) -> web.StreamResponse:
        """What was put, deleted, undeleted, extended, named and aliased in a container since a token.

        At least once each, in an order that agrees with each name's history. Waits for something where `wait` says so; as a
        stream (`Accept`: application/x-ndjson or text/event-stream) it goes on until it is left.
        """
        query = exchange.target.query_pairs()
        container = container_of(exchange)
        form = form_of(exchange)
        streams = form is not Form.PAGE
        limit = _number("limit", query.get("limit"), 1, PAGE_MAX, default=STREAM_LIMIT if streams else PAGE_MAX)
        wait_s = float(_number("wait", query["wait"], 0, WAIT_MAX_S, default=0)) if "wait" in query else None
        since = exchange.headers.get(LAST_EVENT_ID) or query.get("since", "beginning")
        position = await self._feed.position(container, since)
        if exchange.method == "HEAD":
            return web.Response(headers={"Content-Type": form.value, "Cache-Control": "no-store"})
        if wait_s is None and not streams:
            wait_s = 0.0
        pages = self._pages_of(exchange, position, limit=limit, wait_s=wait_s)
        if streams:
            return await self._stream(exchange, form, pages)
        return await self._page(container, position, pages)

    async def _pages_of(
        self, exchange: Exchange, position: Position, *, limit: int, wait_s: float | None
    ) -> AsyncGenerator[FeedPage, None]:
        """Those that who asks may still have when they are there."""
        pages = self._feed.pages(
            container_of(exchange), position, limit=limit, wait_s=wait_s, given_up=lambda: self._is_over(exchange)
        )
        async with aclosing(pages) as each:
            async for page in each:
                if not self._may_go_on(exchange):
                    return
                yield page

    def _is_over(self, exchange: Exchange) -> bool:
        """Whether nobody waits for the answer any more, or may have it, or this frontend stops."""
        return _is_given_up(exchange) or not self._may_go_on(exchange)

    def _may_go_on(self, exchange: Exchange) -> bool:
        """Whether who asks may read here still: keys are revoked and changed, and containers closed, while a stream goes on."""
        context = exchange.context
        try:
            context.renew()
            container = self._containers.now(container_of(exchange))
            decide(context.who, exchange.needs, container)
            container.check_active()
        except AmbryError as error:
            exchange.noted["error"] = error.message
            return False
        return True

    async def _page(
        self, container: Container, position: Position, pages: AsyncGenerator[FeedPage, None]
    ) -> web.Response:
        """The first page that tells something, or the last one."""
        page = FeedPage([], position, at_end=False)
        quiet = 0
        async with aclosing(pages) as each:
            async for page in each:
                quiet += 1
                # A long way through what others changed is gone in several requests.
                if page.events or page.restarted or (not page.at_end and quiet > 1):
                    break
        body = Form.PAGE.encode(page, self._feed.token(container, page.position))
        return web.Response(body=body, headers={"Content-Type": Form.PAGE.value, "Cache-Control": "no-store"})

    async def _stream(
        self, exchange: Exchange, form: Form, pages: AsyncGenerator[FeedPage, None]
    ) -> web.StreamResponse:
        """All of them, until the client leaves or this frontend stops: whoever follows goes on elsewhere then."""
        container = container_of(exchange)
        response = form.begin()
        told, delayed = 0, False
        async with aclosing(pages) as each:
            try:
                async for page in each:
                    if not exchange.streaming:
                        await exchange.send_head(response)
                    token = self._feed.token(container, page.position)
                    await exchange.send_piece(response, form.encode(page, token, was_delayed=delayed))
                    told, delayed = told + len(page.events), bool(page.held)
            except AmbryError as error:
                if not exchange.streaming:
                    raise
                # All that was sent is whole, and the last token goes on from there.
                exchange.noted["error"] = error.message
        if not exchange.streaming:
            await exchange.send_head(response)
        await response.write_eof()
        exchange.noted["changes"] = told
        return response


def _is_given_up(exchange: Exchange) -> bool:
    """Whether nobody waits for the answer any more, or this frontend stops."""
    connection = exchange.connection
    if exchange.http.transport is None or connection is None:
        return True
    return connection.server.draining or state_of(connection.transport) == TCP_CLOSE


def _number(what: str, text: str | None, least: int, most: int, *, default: int) -> int:
    """Raises InvalidRequest."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and least <= int(text) <= most):
        raise InvalidRequest(f"{what} is a whole number from {least} to {most}, not {text[:20]!r}")
    return int(text)
