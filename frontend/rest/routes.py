"""The routes of Ambry's HTTP API, as values, and how a request finds its own.

A route is found by dictionary: by the path where it is fixed, by its second segment below a blob's id. Fixed names count in
any case, as in Ambry. Nothing is matched by pattern, and what is not in the table does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from ambry.errors import InvalidRequest, MethodNotAllowed
from ambry.rest import names
from frontend.http.digests import DIGEST_HEADERS
from frontend.http.exchange import Exchange
from frontend.http.route import Handle, Route, Select
from frontend.http.target import Target
from frontend.rest.about import About
from frontend.rest.blob import BlobFinder
from frontend.rest.read import Reads
from frontend.rest.service import ServicePages
from frontend.rest.updates import Updates
from frontend.rest.upload import Uploads

READS = ("GET", "HEAD")
EVERYWHERE = frozenset({names.SERVICE_ID})
"""Whoever calls may say so on any call."""
ON_UPLOAD = EVERYWHERE | DIGEST_HEADERS | {
    "content-encoding", names.OWNER_ID, names.CONTENT_TYPE, names.CONTENT_ENCODING, names.ACCOUNT_NAME, names.CONTAINER_NAME,
    names.TTL, names.PRIVATE, names.FILENAME, names.ENCODED_FILENAME, names.DIGEST, names.DURABILITY,
}  # fmt: skip
PLAIN_ON_UPLOAD = ON_UPLOAD - DIGEST_HEADERS - {names.DIGEST}
"""What a plain upload may say: a digest is verified on the ordinary way."""
METADATA_PREFIXES = (names.METADATA_PREFIX, names.ENCODED_METADATA_PREFIX)
ON_READ = EVERYWHERE | {names.GET_OPTION, names.RESOLVE_RANGE_ON_EMPTY_BLOB}
ABOUT = EVERYWHERE | {names.GET_OPTION}


def table(
    uploads: Uploads, reads: Reads, about: About, updates: Updates, pages: ServicePages, finder: BlobFinder
) -> tuple[Route, ...]:
    """Every route there is; OPTIONS is answered from them."""
    shown = finder.select_shown

    def upload(methods: tuple[str, ...], target: str, handle: Handle) -> Route:
        return Route(
            op="put",
            methods=methods,
            target=target,
            handle=handle,
            changes=True,
            takes_body=True,
            headers=ON_UPLOAD,
            header_prefixes=METADATA_PREFIXES,
            select=uploads.select_nothing,
        )

    def tell(op: str, target: str, handle: Handle, headers: frozenset[str] = EVERYWHERE) -> Route:
        return Route(op=op, methods=READS, target=target, handle=handle, headers=headers, select=finder.select_about)

    def change(op: str, method: str, target: str, handle: Handle, headers: frozenset[str], select: Select) -> Route:
        return Route(
            op=op, methods=(method,), target=target, handle=handle, changes=True, headers=headers, select=select
        )

    def page(target: str, handle: Handle) -> Route:
        return Route(op="health", methods=READS, target=target, handle=handle, headers=EVERYWHERE, select=pages.select)

    by_header = EVERYWHERE | {names.BLOB_ID}
    return (
        upload(("POST", "PUT"), "/", uploads.upload),
        upload(("PUT",), "/{filename}", uploads.upload_named),
        Route(op="get", methods=("GET",), target="/{id}", handle=reads.read, headers=ON_READ, select=shown),
        Route(op="head", methods=("HEAD",), target="/{id}", handle=reads.head, headers=ON_READ, select=shown),
        tell("segment", "/{id}/Segment/{n}", reads.segment),
        tell("blobinfo", "/{id}/BlobInfo", about.blob_info, ABOUT),
        tell("usermetadata", "/{id}/UserMetadata", about.user_metadata, ABOUT),
        tell("replicas", "/{id}/Replicas", about.replicas),
        tell("blobchunkids", "/{id}/BlobChunkIds", about.chunk_ids),
        change("delete", "DELETE", "/{id}", updates.delete, EVERYWHERE, finder.select_deletable),
        change("update_ttl", "PUT", "/updateTtl", updates.update_ttl, by_header | {names.TTL}, finder.select_living),
        change("undelete", "PUT", "/undelete", updates.undelete, by_header, finder.select_kept),
        page("/", pages.root),
        page("/healthCheck", pages.health_check),
        page("/healthz", pages.healthz),
        page("/readyz", pages.readyz),
        page("/version", pages.version),
    )


class RouteFinder:
    """The table, arranged to be searched. A resource is what stands at one target: its routes by method."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {"*": {}}
        """By the whole path in lower case."""
        self._below: dict[tuple[int, str], dict[str, Route]] = {}
        """Below a blob's id: by the number of segments and the second of them, in lower case."""
        self._blob: dict[str, Route] = {}
        for route in routes:
            resource = self._place(route.target)
            resource.update(dict.fromkeys(route.methods, route))
        everything = sorted({method for resource in self._resources() for method in resource} | {"OPTIONS"})
        for path, resource in self._fixed.items():
            resource["OPTIONS"] = _options(path, everything if path == "*" else sorted((*resource, "OPTIONS")))
        for resource in (self._blob, *self._below.values()):
            resource["OPTIONS"] = _options("/{id}", sorted((*resource, "OPTIONS")))

    def _place(self, target: str) -> dict[str, Route]:
        segments = target[1:].lower().split("/")
        if not segments[0].startswith("{"):
            return self._fixed.setdefault(target.lower(), {})
        if len(segments) == 1:
            return self._blob
        return self._below.setdefault((len(segments), segments[1]), {})

    def _resources(self) -> Iterable[Mapping[str, Route]]:
        return (*self._fixed.values(), self._blob, *self._below.values())

    def find(self, method: str, target: Target) -> Route:
        """Raises MethodNotAllowed, InvalidRequest."""
        count = len(target.segments)
        if count == 1:
            resource = self._fixed.get(target.path.lower(), self._blob)
        else:
            found = self._below.get((count, target.segments[1].lower()))
            if found is None:
                raise InvalidRequest(
                    f"nothing stands at {target.path[:80]!r}; below a blob's id there are BlobInfo, UserMetadata, Replicas, "
                    "BlobChunkIds and Segment/<n>"
                )
            resource = found
        route = resource.get(method)
        if route is None:
            allowed = sorted(resource)
            raise MethodNotAllowed(
                f"{target.path[:80]} takes {', '.join(allowed)}, and not {method[:20]}", allowed=allowed
            )
        return route


def _options(target: str, allowed: list[str]) -> Route:
    async def handle(exchange: Exchange) -> web.Response:
        return web.Response(status=204, headers={"Allow": ", ".join(allowed)})

    return Route(op="options", methods=("OPTIONS",), target=target, handle=handle, headers=EVERYWHERE)
