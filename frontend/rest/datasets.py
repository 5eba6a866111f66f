"""Datasets and aliases: `/accounts/containers/datasets` with Ambry's JSON, and `/accounts/containers/datasets/aliases`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

from ambry.errors import InvalidRequest, NameDeleted
from ambry.rest import names as header
from ambry.rest import text as rules
from ambry.rest import values
from ambry.rest.access import Role
from ambry.rest.values import DEFAULT_NAME
from ambry.rest.versions import VersionSchema, VersionToken, parse, text_of
from ambry.rest.wrong_values import why_not
from frontend.containers.resolver import Containers
from frontend.datasets.datasets import Datasets
from frontend.datasets.kept import KeptAlias, KeptDataset, KeptVersion
from frontend.datasets.rows import (
    RETENTION_MAX,
    TAG_CHARACTERS_MAX,
    TAGS_MAX,
    WHY_CHARACTERS_MAX,
    AliasMove,
    Dataset,
    checked_name,
)
from frontend.http.exchange import Exchange
from frontend.http.route import Handle, Route
from frontend.metadata.store import Version
from frontend.rest.entry import OF_BLOB, asked_for, container_of, decide_on, enter
from frontend.rest.json_body import json_object
from frontend.rest.page_tokens import PagedList, asks, asks_history, limit_of
from frontend.rest.resource import EVERYWHERE, READS, json_page, of_this_moment
from frontend.router.context import RouterContext
from frontend.who import in_container

ON_DATASET = EVERYWHERE | OF_BLOB | {header.DATASET_NAME}
PAGE = 100
"""Datasets of one answer where it does not say `max-keys`, as in Ambry."""
COUNTED = "DefaultCounterBasedPolicy"


class NewestJson(msgspec.Struct, rename="camel", gc=False):
    """The newest version of a dataset in a list."""

    version: str
    blob_id: str
    blob_size: int
    modified_time_ms: int


class DatasetJson(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A dataset with Ambry's names of the fields."""

    account_name: str
    container_name: str
    dataset_name: str
    version_schema: VersionSchema | None = None
    retention_policy: str | None = None
    retention_count: int | None = None
    retention_time_in_seconds: int | None = None
    user_tags: dict[str, str] | None = None


class AliasJson(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Where an alias is to point. `if_version` is where it points now; null where there is none yet."""

    account_name: str
    container_name: str
    dataset_name: str
    alias: str
    version: str | None
    if_version: str | None
    who: str = ""
    why: str = ""


class DatasetPages:
    """The calls about datasets and aliases."""

    def __init__(self, datasets: Datasets, router: RouterContext, containers: Containers) -> None:
        self._datasets = datasets
        self._router = router
        self._containers = containers

    def routes(self) -> tuple[Route, ...]:
        target = "/accounts/containers/datasets"

        def page(op: str, methods: tuple[str, ...], path: str, handle: Handle, role: Role, **more: Any) -> Route:
            changes = methods != READS
            return Route(
                op=op,
                methods=methods,
                target=path,
                handle=handle,
                needs=in_container(role),
                changes=changes,
                select=of_this_moment,
                **more,
            )

        saving = EVERYWHERE | {header.DATASET_UPDATE}
        paged = frozenset({"page", "max-keys"})
        alias = paged | {"alias", "history"}
        listed = paged | {"newest"}
        return (
            page(
                "datasets",
                READS,
                target,
                self.show,
                Role.READ,
                enter=self._enter,
                headers=ON_DATASET,
                query=listed,
            ),
            page("datasets_post", ("POST",), target, self.save, Role.NAME, takes_body=True, headers=saving),
            page(
                "datasets_delete", ("DELETE",), target, self.delete, Role.DELETE, enter=self._enter, headers=ON_DATASET
            ),
            page(
                "aliases",
                READS,
                f"{target}/aliases",
                self.aliases,
                Role.READ,
                enter=self._enter,
                headers=ON_DATASET,
                query=alias,
            ),
            page(
                "alias_move", ("POST",), f"{target}/aliases", self.move, Role.NAME, takes_body=True, headers=EVERYWHERE
            ),
        )

    async def _enter(self, exchange: Exchange) -> None:
        headers = exchange.headers
        exchange.name = headers.get(header.DATASET_NAME)
        await self._enter_container(
            exchange, headers.get(header.ACCOUNT_NAME, DEFAULT_NAME), headers.get(header.CONTAINER_NAME, DEFAULT_NAME)
        )

    async def _enter_container(self, exchange: Exchange, account: str, container: str) -> None:
        found = await asked_for(exchange.context.who, exchange.needs.roles, self._containers, account, container)
        enter(exchange, found)

    def _scope(self, exchange: Exchange) -> int:
        return container_of(exchange).scope

    async def _named(self, exchange: Exchange, name: str | None = None) -> KeptDataset:
        said = exchange.headers.get(header.DATASET_NAME) if name is None else name
        if said is None:
            raise InvalidRequest(f"say which dataset in {header.DATASET_NAME}")
        return await self._datasets.find(self._scope(exchange), checked_name("a dataset's name", said))

    def _pages(self, exchange: Exchange, kind: str, *of: str) -> PagedList:
        return PagedList(self._router.map.cluster, kind, self._scope(exchange), tuple(each.encode() for each in of))

    # --- datasets ---

    async def show(self, exchange: Exchange) -> web.Response:
        """`GET`: the one that a header names, or a page of the container's."""
        query = exchange.target.query_pairs()
        if header.DATASET_NAME in exchange.headers:
            if query:
                raise InvalidRequest(
                    f"{min(query)} is for the list of datasets; leave it out, or {header.DATASET_NAME}"
                )
            return json_page(self._told(exchange, await self._named(exchange)))
        limit = limit_of(query) if "max-keys" in query else PAGE
        with_newest = asks("newest", query)
        pages = self._pages(exchange, "datasets")
        after = pages.text(query["page"]) if "page" in query else None
        found = await self._datasets.all(self._scope(exchange), after=after, limit=limit)
        token = pages.token(found[-1].name.encode()) if len(found) == limit else None
        told = [self._told(exchange, each) for each in found]
        if not with_newest:
            return json_page({"datasets": told, "nextPageToken": token})
        newest = await self._datasets.newest_of(found)
        listed = [
            {**msgspec.to_builtins(dataset), "newest": _newest_told(newest.get(dataset.dataset_name))}
            for dataset in told
        ]
        return json_page({"datasets": listed, "nextPageToken": token})

    async def save(self, exchange: Exchange) -> web.Response:
        """`POST`: make one, or with `x-ambry-dataset-update: true` change what holds for it."""
        asked = _converted(await json_object(exchange, self._router), DatasetJson)
        exchange.name = asked.dataset_name
        await self._enter_container(exchange, asked.account_name, asked.container_name)
        if any(each not in (None, -1) for each in (asked.retention_count, asked.retention_time_in_seconds)):
            # Versions go by themselves then.
            decide_on(exchange, Role.DELETE, container_of(exchange), exchange.name)
        name = checked_name("a dataset's name", asked.dataset_name)
        said = exchange.headers.get(header.DATASET_UPDATE)
        update = said is not None and values.flag(header.DATASET_UPDATE, said)
        base = (await self._named(exchange, name)).dataset if update else None
        saved = await self._datasets.save(self._scope(exchange), name, _dataset(asked, base), update=update)
        return json_page(self._told(exchange, saved))

    async def delete(self, exchange: Exchange) -> web.Response:
        """`DELETE`: one that has no versions."""
        await self._datasets.delete(await self._named(exchange))
        return web.Response(status=202)

    def _told(self, exchange: Exchange, known: KeptDataset) -> DatasetJson:
        container, dataset = container_of(exchange), known.dataset
        return DatasetJson(
            account_name=container.account_name,
            container_name=container.container_name,
            dataset_name=known.name,
            version_schema=dataset.schema,
            retention_policy=None if dataset.retention_count is None else COUNTED,
            retention_count=dataset.retention_count,
            retention_time_in_seconds=dataset.retention_s,
            user_tags=dataset.tags or None,
        )

    # --- aliases ---

    async def aliases(self, exchange: Exchange) -> web.Response:
        """`GET`: all of a dataset, or with `?alias=` one, and with `&history` all its moves, the newest first."""
        known = await self._named(exchange)
        query = exchange.target.query_pairs()
        token, limit, history_asked = query.get("page"), limit_of(query), asks_history(query)
        if "alias" not in query:
            if history_asked:
                raise InvalidRequest("a history is that of one alias: say which with ?alias=")
            pages = self._pages(exchange, "aliases", known.name)
            after = pages.text(token) if token is not None else None
            found = await self._datasets.aliases.page(known, after=after, limit=limit)
            next_token = pages.token(found[-1].name.encode()) if len(found) == limit else None
            return json_page({"aliases": [_move_told(each) for each in found], "nextPageToken": next_token})
        name = checked_name("an alias", query["alias"])
        if not history_asked:
            if token is not None or "max-keys" in query:
                raise InvalidRequest("page and max-keys are for a list of aliases, or for ?history of one")
            return json_page(_move_told(await self._datasets.aliases.find(known, name)))

        async def read(before: Version | None, limit: int) -> list[KeptAlias]:
            return await self._datasets.aliases.history(known, name, before=before, limit=limit)

        pages = self._pages(exchange, "moves", known.name, name)
        history = await pages.history(token, limit, read)
        if not history.shown and token is None:
            with suppress(NameDeleted):
                await self._datasets.aliases.find(known, name)  # says that there never was one, or brings it here
            history = await pages.history(token, limit, read)
        moves = [_move_told(each) for each in history.shown]
        return json_page({"alias": name, "moves": moves, "nextPageToken": history.next_token})

    async def move(self, exchange: Exchange) -> web.Response:
        """`POST`: let an alias point to a version, if it points to `ifVersion` now; a `version` of null deletes it."""
        asked = _converted(await json_object(exchange, self._router), AliasJson)
        exchange.name = asked.dataset_name
        await self._enter_container(exchange, asked.account_name, asked.container_name)
        known = await self._named(exchange, asked.dataset_name)
        name = checked_name("an alias", asked.alias)
        for what, text in (("who", asked.who), ("why", asked.why)):
            if len(text) > WHY_CHARACTERS_MAX:
                raise InvalidRequest(f"{what} has at most {WHY_CHARACTERS_MAX} characters")
        move, to = None, None
        if asked.version is not None:
            number = parse(known.dataset.schema, asked.version)
            if isinstance(number, VersionToken):
                raise InvalidRequest("an alias points to a version by its number; it would move by itself otherwise")
            to = await self._datasets.version(known, number)  # says that there is none
            who = asked.who or rules.plain_text(header.SERVICE_ID, exchange.headers.get(header.SERVICE_ID, ""))
            move = AliasMove(version=asked.version, who=who, why=asked.why)
        return json_page(_move_told(await self._datasets.aliases.move(known, name, move, to, asked.if_version)))


def _newest_told(found: KeptVersion | None) -> NewestJson | None:
    if found is None or found.named.blob is None:
        return None
    named, blob = found.named, found.named.blob
    return NewestJson(text_of(found.number), str(named.id), blob.size, named.stamp.wall_ms)


def _dataset(asked: DatasetJson, base: Dataset | None) -> Dataset:
    """What is to hold; on an update, what is not said stays. Raises InvalidRequest."""
    schema = asked.version_schema or (None if base is None else base.schema)
    if schema is None:
        raise InvalidRequest(f"versionSchema is one of {', '.join(each.value for each in VersionSchema)}")
    if asked.retention_policy not in (None, COUNTED):
        raise InvalidRequest(f"retentionPolicy is {COUNTED}: the newest retentionCount versions are kept")
    tags = asked.user_tags if asked.user_tags is not None else ({} if base is None else base.tags)
    if len(tags) > TAGS_MAX or any(len(text) > TAG_CHARACTERS_MAX for pair in tags.items() for text in pair):
        raise InvalidRequest(f"userTags are at most {TAGS_MAX}, of {TAG_CHARACTERS_MAX} characters each")
    return Dataset(
        schema=schema,
        retention_count=_bound("retentionCount", asked.retention_count, None if base is None else base.retention_count),
        retention_s=_bound(
            "retentionTimeInSeconds", asked.retention_time_in_seconds, None if base is None else base.retention_s
        ),
        tags=tags,
    )


def _bound(what: str, asked: int | None, base: int | None) -> int | None:
    """-1 is none, as in Ambry."""
    if asked is None:
        return base
    if asked == -1:
        return None
    if not 1 <= asked <= RETENTION_MAX:
        raise InvalidRequest(f"{what} is at least 1, or -1 for none")
    return asked


def _converted(found: dict[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(found, kind)
    except msgspec.ValidationError as cause:
        raise InvalidRequest(
            f"the body says what a dataset or an alias is, in Ambry's words: {why_not(cause, kind)}"
        ) from cause


def _move_told(alias: KeptAlias) -> dict[str, Any]:
    stamp, move = alias.version.stamp, alias.move
    told = {"alias": alias.name, "version": None if move is None else move.version, "modifiedTimeMs": stamp.wall_ms}
    if move is not None:
        told |= {"who": move.who, "why": move.why}
    return told | {"datacenter": stamp.datacenter}
