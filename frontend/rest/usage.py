"""`GET /usage`: what is stored, and what was asked for, by container and by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from ambry.clock import Clock
from ambry.rest.access import Role
from frontend.access.keys import Keys
from frontend.container import scope_of
from frontend.containers.quota_bounds import has_quota
from frontend.containers.resolver import Containers
from frontend.containers.use_counts import UseCounts, UsedCount, container_row, key_row
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.rest.resource import EVERYWHERE, READS, json_page, of_this_moment
from frontend.router.context import RouterContext
from frontend.router.usage import UsedSpace, total, usage
from frontend.uploads.places import OpenAmount, Places
from frontend.who import ANY_KEY, Who


class UsagePages:
    """That call. Whoever asks is told of containers in which they have something, and of keys that they may administer."""

    def __init__(
        self,
        counts: UseCounts,
        keys: Keys,
        places: Places,
        containers: Containers,
        router: RouterContext,
        *,
        clock: Clock,
    ) -> None:
        self._counts = counts
        self._keys = keys
        self._places = places
        self._containers = containers
        self._router = router
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                op="usage",
                methods=READS,
                target="/usage",
                handle=self.show,
                needs=ANY_KEY,
                headers=EVERYWHERE,
                select=of_this_moment,
            ),
        )

    async def show(self, exchange: Exchange) -> web.Response:
        """What is stored is as of the data nodes' last checkpoints; what was asked for as of some seconds ago."""
        who = exchange.context.who
        partitions = await usage(exchange.context, self._router)
        stored = {scope_of(each.account, each.container): space for each, space in total(partitions).items()}
        used = await self._counts.all()
        uploads = await self._places.all()
        page: dict[str, Any] = {
            "atMs": self._clock.wall_ms(),
            "partitionsMissing": [each.id for each in partitions if each.error],
            "accounts": self._accounts(who, stored),
            "containers": self._containers_told(who, stored, used, uploads),
            "keys": [
                {
                    "id": id,
                    "name": key.name,
                    **_told(used.get(key_row(id))),
                    "openUploads": sum(by[id].sessions for by in uploads.values() if id in by),
                    "limits": msgspec.to_builtins(key.limits),
                }
                for id, key in await self._keys.all(who)
            ],
        }
        if who.everywhere(Role.ADMIN):
            page["withoutKey"] = _told(used.get(key_row("")))
        return json_page(page)

    def _accounts(self, who: Who, stored: Mapping[int, UsedSpace]) -> list[dict[str, Any]]:
        """Those in which somebody has a role everywhere."""
        told = []
        for account in self._containers.directory.accounts.values():
            if not any(who.in_account(role, account.name) for role in Role):
                continue
            spaces = [space for scope, space in stored.items() if scope >> 32 == account.id]
            settings = account.settings
            quota = {"quotaBytes": settings.quota_bytes, "quotaBlobs": settings.quota_blobs}
            told.append(
                {
                    "account": account.name,
                    "bytes": sum(space.live_bytes for space in spaces),
                    "blobs": sum(space.live_blobs for space in spaces),
                    **(quota if has_quota(settings) else {}),
                }
            )
        return sorted(told, key=lambda each: str(each["account"]))

    def _containers_told(
        self,
        who: Who,
        stored: Mapping[int, UsedSpace],
        used: Mapping[bytes, UsedCount],
        uploads: Mapping[int, Mapping[str, OpenAmount]],
    ) -> list[dict[str, Any]]:
        directory = self._containers.directory
        told = []
        for account in sorted(directory.accounts.values(), key=lambda each: each.name):
            for number in account.containers:
                container = directory.find_id(account.id, number)
                if container is None or not who.whole(container):
                    continue
                space = stored.get(container.scope, UsedSpace())
                begun = sum(uploads.get(container.scope, {}).values(), OpenAmount())
                settings = container.settings
                quota = {"quotaBytes": settings.quota_bytes, "quotaBlobs": settings.quota_blobs}
                told.append(
                    {
                        "account": container.account_name,
                        "container": container.container_name,
                        "bytes": space.live_bytes,
                        "blobs": space.live_blobs,
                        "reclaimableBytes": space.reclaimable_bytes,
                        **(quota if has_quota(settings) else {}),
                        "openUploads": begun.sessions,
                        "openUploadBytes": begun.bytes,
                        **_told(used.get(container_row(container.scope))),
                    }
                )
        return told


def _told(used: UsedCount | None) -> dict[str, Any]:
    known = used or UsedCount()
    return {
        "requests": known.requests,
        "refused": known.refused,
        "bytesIn": known.bytes_in,
        "bytesOut": known.bytes_out,
        "sinceMs": known.since_ms or None,
    }
