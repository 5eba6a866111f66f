"""Versions of datasets: `/named/<account>/<container>/<dataset>/<version>` with `x-ambry-dataset-version-query-enabled: true`.

In the place of a version may stand LATEST, a token that raises a part of it (on a put), or `@` and an alias (on a read).
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from ambry.clock import Clock
from ambry.errors import InvalidRequest, InvariantBroken, MethodNotAllowed, NameDeleted, must_have
from ambry.rest import names as header
from ambry.rest import text as rules
from ambry.rest.versions import DatasetVersion, VersionToken, parse, text_of
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.containers.standing import StandingRules
from frontend.datasets.datasets import Datasets
from frontend.datasets.kept import KeptDataset, KeptVersion
from frontend.datasets.rows import checked_name
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.idempotency.keys import KeyedPut
from frontend.metadata.spaces import Space
from frontend.metadata.store import Change, Require
from frontend.names.intents import Intents
from frontend.names.lives import NameLives
from frontend.names.names import NameVersion
from frontend.names.rows import NamedBlob, NamePlace
from frontend.rest.blob import BlobFinder, selected_head
from frontend.rest.entry import container_of
from frontend.rest.keyed import drop_conditions
from frontend.rest.named import container_in_path
from frontend.rest.named_rules import check_has_names
from frontend.rest.page_tokens import PagedList, limit_of
from frontend.rest.read import Reads
from frontend.rest.resource import json_page, of_this_moment
from frontend.rest.upload import NOTHING_CHANGED, UploadedBlob, Uploads, told
from frontend.rest.upload_headers import check_lifetime
from frontend.router.context import RouterContext


class ListedDatasetVersion(msgspec.Struct, rename="camel", gc=False):
    version: str
    blob_id: str
    blob_size: int
    modified_time_ms: int


class VersionPage(msgspec.Struct, rename="camel"):
    versions: list[ListedDatasetVersion]
    next_page_token: str | None


class AboutVersion(msgspec.Struct):
    """What a request about a dataset's version is about."""

    known: KeptDataset
    asked: DatasetVersion | VersionToken | None = None
    """None: the dataset's versions, all of them."""
    living: NameVersion | None = None
    """The version that stands there, if one does and lives."""
    keyed: KeyedPut | None = None
    """What is known of the idempotency key of an upload."""


class DatasetVersions:
    """The calls about versions; frontend/rest/named_paths.py has their routes."""

    def __init__(
        self,
        datasets: Datasets,
        intents: Intents,
        lives: NameLives,
        router: RouterContext,
        containers: Containers,
        finder: BlobFinder,
        uploads: Uploads,
        reads: Reads,
        standing: StandingRules,
        *,
        clock: Clock,
    ) -> None:
        self._datasets = datasets
        self._intents = intents
        self._lives = lives
        self._router = router
        self._containers = containers
        self._finder = finder
        self._uploads = uploads
        self._reads = reads
        self._standing = standing
        self._clock = clock

    # --- which version ---

    async def _known(self, exchange: Exchange) -> tuple[KeptDataset, str]:
        """The dataset in the path, and what stands behind it."""
        rest = exchange.name = rules.percent_decoded("the path", exchange.target.rest(3))
        container = await container_in_path(exchange, self._containers)
        name, _, version = rest.partition("/")
        return await self._datasets.find(container.scope, checked_name("a dataset's name", name)), version

    async def to_read(self, exchange: Exchange) -> None:
        known, text = await self._known(exchange)
        query = exchange.target.query_pairs() if exchange.target.query else {}
        if "history" in query or (text and query):
            raise InvalidRequest("a version has no history, for it never changes; page and max-keys are for their list")
        if not text:
            exchange.named = AboutVersion(known)
            return
        found = await self._found(known, text)
        exchange.named = AboutVersion(known, found.number, found.named)
        self._tell(exchange, found)

    async def _found(self, known: KeptDataset, text: str) -> KeptVersion:
        if text.startswith("@"):
            alias = await self._datasets.aliases.find(known, checked_name("an alias", text[1:]))
            text = must_have(alias.move, "the version of an alias that was found").version
        return await self._datasets.version(known, parse(known.dataset.schema, text))

    @staticmethod
    def _tell(exchange: Exchange, found: KeptVersion) -> None:
        exchange.about = found.named.id
        exchange.noted["blob"] = str(found.named.id)
        exchange.common = {**exchange.common, header.DATASET_VERSION: text_of(found.number)}

    async def to_change(self, exchange: Exchange) -> None:
        known, text = await self._known(exchange)
        if not text:
            raise InvalidRequest("behind the dataset stands the version, or a token such as LATEST")
        if text.startswith("@"):
            raise InvalidRequest(
                f"a version is put and deleted by its number, and {text[:80]!r} is an alias: it only reads the one it points to"
            )
        asked = parse(known.dataset.schema, text)
        living = None
        if not isinstance(asked, VersionToken):
            newest = await self._datasets.versions.newest(known.scope, self._datasets.key(known, asked))
            living = newest if newest is not None and newest.blob is not None else None
        exchange.named = AboutVersion(known, asked, living)

    async def to_put(self, exchange: Exchange) -> None:
        await self.to_change(exchange)
        keyed = _about(exchange).keyed = await self._uploads.keyed(exchange)
        if keyed is not None and keyed.made is not None:
            drop_conditions(exchange)

    async def select_shown(self, exchange: Exchange) -> Selected | None:
        """What the conditions of a read are about; a list is of this moment, without a tag or a date."""
        if exchange.about is None:
            return await of_this_moment(exchange)
        return await self._finder.select_shown(exchange)

    async def select(self, exchange: Exchange) -> Selected | None:
        """What the conditions of a change are about: the version that stands there."""
        living = _about(exchange).living
        if living is None:
            return None
        exchange.about = living.id
        return await self._finder.select_deletable(exchange)

    # --- reads ---

    async def get(self, exchange: Exchange) -> web.StreamResponse:
        return await self._list(exchange) if exchange.about is None else await self._reads.read(exchange)

    async def head(self, exchange: Exchange) -> web.Response:
        return await self._list(exchange) if exchange.about is None else await self._reads.head(exchange)

    async def _list(self, exchange: Exchange) -> web.Response:
        """Living versions, in their order."""
        known = _about(exchange).known
        query = exchange.target.query_pairs()
        limit = limit_of(query)
        pages = PagedList(self._router.map.cluster, "versions", known.scope, (known.name.encode(),))
        after = pages.key(query["page"]) if "page" in query else None
        found = await self._datasets.page(known, after=after, limit=limit)
        shown = [
            ListedDatasetVersion(
                text_of(each.number), str(each.named.id), each.named.blob.size, each.named.stamp.wall_ms
            )
            for each in found
            if each.named.blob is not None
        ]
        return json_page(VersionPage(shown, pages.token(found[-1].named.key) if len(found) == limit else None))

    # --- changes ---

    async def put(self, exchange: Exchange) -> web.Response:
        """`PUT`: a new version; the blob is durable before the version is there."""
        about = _about(exchange)
        known, asked = about.known, about.asked
        if asked is None:
            raise InvariantBroken("a version is put, and nobody asked for one")
        now_ms = self._clock.wall_ms()
        made = None if about.keyed is None else about.keyed.made
        number = (0,) * known.dataset.schema.parts
        if made is None:
            number = await self._datasets.choose(known, asked, now_ms=now_ms)
        place = NamePlace(Space.VERSION, known.scope, self._datasets.key(known, number))
        announced = self._intents.announcing(place)
        target = exchange.target.rest(3)
        new = await self._uploads.make(exchange, "", announced.announce, keyed=about.keyed, target=target)
        result, spec = new.result, new.spec
        if new.again:
            return self._told(exchange, new, new.version)
        blob = NamedBlob(result.id.raw, result.size, spec.expires_at_ms, owned=True)
        try:

            async def write(container: Container, require: Require) -> DatasetVersion:
                check_has_names(container)
                check_lifetime(blob.expires_at_ms, container)

                def along(number: DatasetVersion) -> list[Change]:
                    return [*announced.kept(), *new.along(text_of(number)), require]

                return await self._datasets.point(known, asked, blob, along, now_ms=now_ms)

            number = await self._standing.write(container_of(exchange), write)
        except NOTHING_CHANGED:
            # The janitor sees to it if nobody hears of this.
            self._router.discards.forget(exchange.context.id, [result.id], spec.expires_at_ms)
            raise
        return self._told(exchange, new, text_of(number))

    @staticmethod
    def _told(exchange: Exchange, new: UploadedBlob, version: str) -> web.Response:
        answer = told(new.result, new.spec)
        exchange.noted.update(blob=answer.id, size=new.result.size)
        headers = {**answer.headers, header.DATASET_VERSION: version}
        return web.Response(status=201, body=answer.body, headers=headers)

    async def delete(self, exchange: Exchange) -> web.Response:
        """`DELETE`: the version and its blob; its number is never given again. Again is fine."""
        about = _about(exchange)
        known, asked = about.known, about.asked
        if asked is None or isinstance(asked, VersionToken):
            raise InvalidRequest("a version is deleted by its number")
        living = about.living
        if living is None:
            try:
                # Says that there is none, or another datacenter has it.
                living = (await self._datasets.version(known, asked)).named
            except NameDeleted:
                return web.Response(status=202)
        found, head = living, selected_head(exchange)
        place = NamePlace(Space.VERSION, known.scope, found.key)

        async def write(container: Container, require: Require) -> None:
            container.check_unlocked(self._clock.wall_ms())

            async def bury(along: Change) -> None:
                await self._datasets.bury(known, found, [along, require])

            await self._lives.bury(exchange.context, place, found, head, bury)

        await self._standing.write(container_of(exchange), write)
        return web.Response(status=202)

    async def act(self, exchange: Exchange) -> web.Response:
        raise MethodNotAllowed(
            "a version of a dataset never changes: put a new one, or move an alias",
            allowed=["DELETE", "GET", "HEAD", "PUT"],
        )


def _about(exchange: Exchange) -> AboutVersion:
    named: AboutVersion = exchange.named
    return named
