"""Which metadata store a frontend has, by its configuration."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ambry.clock import Clock
from ambry.clustermap.layout import load_layout
from ambry.clustermap.model import ClusterMap
from ambry.errors import AmbryError, ConfigInvalid, FormatUnknown, StoreMismatch
from ambry.service.logs import get_logger
from frontend.config import FrontendConfig
from frontend.metadata.dump import DumpHeader
from frontend.metadata.store import MetadataStore

log = get_logger()


def sqlite_path(config: FrontendConfig) -> Path:
    """Where the file of the engine `sqlite` is."""
    if config.metadata.path:
        return Path(config.metadata.path)
    name = quote(config.frontend.datacenter, safe=" ")
    return Path(config.frontend.layout).parent / f"metadata-{name}.sqlite"


def is_new(config: FrontendConfig) -> bool:
    """Whether the store is a file that is not there yet, so that nothing can be known in it."""
    return config.metadata.engine == "sqlite" and not sqlite_path(config).exists()


def metadata_store(
    config: FrontendConfig, cluster: ClusterMap, *, clock: Clock, random_source: random.Random
) -> MetadataStore:
    """The store of this frontend's datacenter; nothing of it is touched before `open_metadata`."""
    datacenter = cluster.datacenter_id(config.frontend.datacenter)
    section = config.metadata
    timeout_s = section.timeout_ms / 1000
    # Imported by whoever uses it: an engine that is not used costs no memory.
    if section.engine == "postgresql":
        try:
            from frontend.metadata.postgres import PostgresStore
            from frontend.metadata.postgres_server import PostgresServer
        except ModuleNotFoundError as cause:
            raise ConfigInvalid("metadata.engine postgresql needs `pip install ambry[postgres]`") from cause
        server = PostgresServer(
            section.url,
            cluster=cluster.cluster,
            datacenter=datacenter,
            random_source=random_source,
            timeout_s=timeout_s,
        )
        return PostgresStore(
            server, datacenter=datacenter, clock=clock, timeout_s=timeout_s, connections=section.connections
        )
    from frontend.metadata.sqlite import SqliteStore
    from frontend.metadata.sqlite_file import SqliteFile

    file = SqliteFile(sqlite_path(config), cluster=cluster.cluster, datacenter=datacenter, random_source=random_source)
    return SqliteStore(file, datacenter=datacenter, clock=clock, timeout_s=timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedMetadata:
    """The store of a frontend for an operator, with what he is told of it."""

    store: MetadataStore
    cluster: str
    name: str
    engine_checks: tuple[str, ...]
    """Queries by which the engine looks at its own file; each row should say `ok`."""
    clock: Clock

    def dump_header(self) -> DumpHeader:
        return DumpHeader(self.cluster, self.store.datacenter, self.clock.wall_ms())


def metadata_of(config: FrontendConfig, *, clock: Clock, random_source: random.Random) -> OpenedMetadata:
    """The store that a frontend of this configuration uses."""
    cluster = load_layout(Path(config.frontend.layout))
    in_file = config.metadata.engine == "sqlite"
    return OpenedMetadata(
        store=metadata_store(config, cluster, clock=clock, random_source=random_source),
        cluster=cluster.cluster,
        name=str(sqlite_path(config)) if in_file else "the metadata database",
        engine_checks=("PRAGMA integrity_check",) if in_file else (),
        clock=clock,
    )


async def open_metadata(store: MetadataStore) -> None:
    """Reach it. Raises StoreMismatch, FormatUnknown, ConfigInvalid for one that must not be used.

    One that cannot be used now is tried again by every request that needs it; blobs by id need none.
    """
    try:
        await store.reach()
    except (StoreMismatch, FormatUnknown, ConfigInvalid):
        raise
    except AmbryError as error:
        log.error("metadata store not reached; requests by name are refused until it is", error=error.message)
