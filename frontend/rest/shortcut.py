"""Which requests of this API go the short way (frontend/http/short.py)."""

from __future__ import annotations

from ambry.clock import Clock
from frontend.config import FrontendSection
from frontend.http.pipeline import Pipeline
from frontend.http.plain import PlainReads, PlainUploads
from frontend.http.plain_names import PlainNamedReads, PlainNamedUploads
from frontend.http.short import Shortcut
from frontend.rest.api import AmbryApi
from frontend.rest.short_named_put import ShortNamedPuts
from frontend.rest.short_named_read import ShortNamedReads
from frontend.rest.short_put import ShortPuts
from frontend.rest.short_read import ShortReads
from frontend.rest.upload_headers import METADATA_PREFIXES, PLAIN_ON_UPLOAD, asked_by_header
from frontend.router.context import RouterContext
from frontend.services import MetadataServices


def shortcuts_of(
    pipeline: Pipeline,
    router: RouterContext,
    api: AmbryApi,
    services: MetadataServices | None = None,
    *,
    config: FrontendSection,
    clock: Clock,
) -> dict[bytes, Shortcut]:
    """Reads of small blobs, and uploads of short bodies, by the first byte of a request.

    `clock` tells the time of what is stored. Those by name need the `services`.
    """
    hosts = pipeline.hosts
    reads = ShortReads(pipeline, router, api.finder, api.access, heads=PlainReads(hosts), clock=clock)
    puts = ShortPuts(
        pipeline,
        router,
        api.containers,
        api.access,
        uploads=PlainUploads(hosts, PLAIN_ON_UPLOAD, METADATA_PREFIXES, asked_by_header),
        clock=clock,
        size_max=config.blob_size_max,
    )
    if services is not None:
        reads.otherwise = ShortNamedReads(reads, services.names, heads=PlainNamedReads(hosts))
        puts.otherwise = ShortNamedPuts(
            puts,
            services.names,
            services.intents,
            services.standing,
            uploads=PlainNamedUploads(hosts, PLAIN_ON_UPLOAD, METADATA_PREFIXES, asked_by_header),
            size_max=config.blob_size_max,
        )
    return {b"G": reads, b"P": puts}
