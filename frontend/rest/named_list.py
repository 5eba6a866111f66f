"""The names of a container: `GET /named/<account>/<container>`.

Pages go on behind the last key that was told, so what others write meanwhile moves nothing: each name that was there all the
time is told exactly once.
"""

from __future__ import annotations

from aiohttp import web

from ambry.clock import Clock
from ambry.errors import InvalidRequest
from ambry.rest.access import Role
from frontend.containers.resolver import Containers
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.metadata.store import CommonPrefix
from frontend.names.names import Names
from frontend.names.rows import NAME_BYTES_MAX
from frontend.rest.entry import container_of
from frontend.rest.named import container_in_path
from frontend.rest.named_pages import NamePage, entry_of
from frontend.rest.page_tokens import PagedList, limit_of
from frontend.rest.resource import EVERYWHERE, READS, json_page, of_this_moment
from frontend.router.context import RouterContext
from frontend.who import in_container

ON_LIST = frozenset({"prefix", "delimiter", "page", "max-keys", "start-after"})
DELIMITER_BYTES_MAX = 64


class NameLists:
    """The calls that list names."""

    def __init__(self, names: Names, router: RouterContext, containers: Containers, *, clock: Clock) -> None:
        self._router = router
        self._names = names
        self._containers = containers
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                op="named_list",
                methods=READS,
                target="/named/{account}/{container}",
                handle=self.list,
                needs=in_container(Role.READ),
                enter=self._enter,
                headers=EVERYWHERE,
                query=ON_LIST,
                select=of_this_moment,
            ),
        )

    async def _enter(self, exchange: Exchange) -> None:
        # Who may read names that begin with something may list those.
        exchange.name = exchange.target.query_pairs().get("prefix") or None
        await container_in_path(exchange, self._containers)

    async def list(self, exchange: Exchange) -> web.Response:
        """A page of the container's names by the order of their bytes. Names of blobs that are over are left out."""
        container = container_of(exchange)
        query = exchange.target.query_pairs()
        limit = limit_of(query)
        prefix = _text("prefix", query.get("prefix", ""), NAME_BYTES_MAX)
        delimiter = _text("delimiter", query.get("delimiter", ""), DELIMITER_BYTES_MAX)
        after = _text("start-after", query.get("start-after", ""), NAME_BYTES_MAX) or None
        pages = PagedList(self._router.map.cluster, "names", container.scope, (prefix, delimiter))
        if "page" in query:
            # Whoever goes on with a request says again behind which name it begins: both hold.
            after = max(pages.key(query["page"]), after or b"")
        found = await self._names.page(
            container.scope,
            prefix=prefix,
            delimiter=delimiter,
            after=after,
            limit=limit,
        )
        now_ms = self._clock.wall_ms()
        entries = [entry for each in found if (entry := entry_of(each, now_ms)) is not None]
        token = None
        if len(found) == limit:
            last = found[-1]
            token = pages.token(last.prefix if isinstance(last, CommonPrefix) else last.key)
        return json_page(NamePage(entries, token))


def _text(what: str, text: str, size_max: int) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} is text in UTF-8") from None
    if len(raw) > size_max:
        raise InvalidRequest(f"{what} has at most {size_max} bytes, this one {len(raw)}")
    return raw
