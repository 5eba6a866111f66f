"""Which metadata store a frontend has, by its configuration."""

from __future__ import annotations

import random
from pathlib import Path
from urllib.parse import quote

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap
from ambry.errors import AmbryError, FormatUnknown, StoreMismatch
from ambry.service.logs import get_logger
from frontend.config import FrontendConfig
from frontend.metadata.store import MetadataStore

log = get_logger()


def sqlite_path(config: FrontendConfig) -> Path:
    """Where the file of the engine `sqlite` is."""
    if config.metadata.path:
        return Path(config.metadata.path)
    name = quote(config.frontend.datacenter, safe=" ")
    return Path(config.frontend.layout).parent / f"metadata-{name}.sqlite"


def metadata_store(
    config: FrontendConfig, cluster: ClusterMap, *, clock: Clock, random_source: random.Random
) -> MetadataStore:
    """The store of this frontend's datacenter; nothing of it is touched before `open_metadata`."""
    # Imported by whoever uses it: an engine that is not used costs no memory.
    from frontend.metadata.sqlite import SqliteStore
    from frontend.metadata.sqlite_file import SqliteFile

    datacenter = cluster.datacenter_id(config.frontend.datacenter)
    file = SqliteFile(sqlite_path(config), cluster=cluster.cluster, datacenter=datacenter, random_source=random_source)
    return SqliteStore(file, datacenter=datacenter, clock=clock, timeout_s=config.metadata.timeout_ms / 1000)


async def open_metadata(store: MetadataStore) -> None:
    """Reach it. Raises StoreMismatch, FormatUnknown for one that must not be used.

    One that cannot be used now is tried again by every request that needs it; blobs by id need none.
    """
    try:
        await store.reach()
    except (StoreMismatch, FormatUnknown):
        raise
    except AmbryError as error:
        log.error("metadata store not reached; requests by name are refused until it is", error=error.message)
