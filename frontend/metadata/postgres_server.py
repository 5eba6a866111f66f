"""The PostgreSQL database of a metadata store: its schema, its connections, and what its failures mean.

The tables are those of frontend/metadata/sqlite_file.py, in a namespace of their own (NAMESPACE) of a database that one
datacenter has to itself. Whoever writes locks the one row of `head` first: so numbers of the log have no holes, and come in the
order of the commits.
"""

from __future__ import annotations

import asyncio
import errno
import random
from typing import Any

import asyncpg

from ambry.errors import (
    AmbryError,
    ConfigInvalid,
    DataCorrupt,
    FormatUnknown,
    InsufficientStorage,
    MetadataUnavailable,
    StoreMismatch,
)
from ambry.service.logs import get_logger
from frontend.metadata.rows import SCHEMA, STORE_ID_SIZE

log = get_logger()

NAMESPACE = "ambry_metadata"
CHANNEL = "ambry_metadata"
"""Where the log's newest number is told after each transaction."""
SCHEMA_LOCK = 0x414D424D
CONNECT_TIMEOUT_S = 3.0

_CREATE = """
CREATE TABLE head (
    only_one integer PRIMARY KEY CHECK (only_one = 1),
    schema integer NOT NULL,
    store bytea NOT NULL,
    cluster text NOT NULL,
    datacenter integer NOT NULL,
    seq bigint NOT NULL,
    time bigint NOT NULL
);
CREATE TABLE register (
    space integer NOT NULL,
    scope bigint NOT NULL,
    key bytea NOT NULL,
    time bigint NOT NULL,
    datacenter integer NOT NULL,
    value bytea NOT NULL,
    seq bigint NOT NULL UNIQUE,
    checksum integer NOT NULL,
    PRIMARY KEY (space, scope, key)
);
CREATE TABLE past (
    seq bigint PRIMARY KEY,
    space integer NOT NULL,
    scope bigint NOT NULL,
    key bytea NOT NULL,
    time bigint NOT NULL,
    datacenter integer NOT NULL,
    value bytea,
    checksum integer NOT NULL
);
CREATE INDEX past_key ON past (space, scope, key, time, datacenter);
CREATE TABLE local (
    space integer NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    expires_ms bigint,
    checksum integer NOT NULL,
    PRIMARY KEY (space, key)
);
CREATE INDEX local_expiry ON local (expires_ms) WHERE expires_ms IS NOT NULL;
"""
_MIGRATIONS: dict[int, str] = {0: _CREATE}
"""What brings the tables of one schema to the next."""


class PostgresServer:
    """Where the database is, and whose. `url` as libpq takes it; a password may stand in ~/.pgpass or PGPASSWORD."""

    def __init__(
        self, url: str, *, cluster: str, datacenter: int, random_source: random.Random, timeout_s: float
    ) -> None:
        self._url = url
        self._cluster = cluster
        self._datacenter = datacenter
        self._random = random_source
        self._timeout_s = timeout_s
        self._known = False
        """The tables are there, of this schema, and ours."""

    def __str__(self) -> str:
        return "the metadata database"

    async def connect(self) -> Any:
        """A connection of asyncpg's to tables that are ours and of this schema.

        Raises StoreMismatch, FormatUnknown, ConfigInvalid where they are not; else as `failure`.
        """
        try:
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=self._timeout_s,
                server_settings={
                    "application_name": "ambry",
                    "search_path": NAMESPACE,
                    "statement_timeout": str(round(self._timeout_s * 1000)),
                    # A frontend that hangs in a transaction must not keep the others from writing for ever.
                    "idle_in_transaction_session_timeout": str(round(self._timeout_s * 1000)),
                    "synchronous_commit": "on",
                },
            )
        except ValueError as cause:
            raise ConfigInvalid(f"metadata.url: {cause}") from cause
        except FAILURES as error:
            raise failure(error) from error
        try:
            if not self._known:
                await self._settle(connection)
                self._known = True
        except BaseException as error:
            connection.terminate()
            if isinstance(error, FAILURES) and not isinstance(error, AmbryError):
                raise failure(error) from error
            raise
        return connection

    async def _settle(self, connection: Any) -> None:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
            if await connection.fetchval("SELECT to_regclass('head')") is None:
                await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {NAMESPACE}")
                schema = 0
            else:
                schema = await connection.fetchval("SELECT schema FROM head")
            if schema > SCHEMA:
                raise FormatUnknown(
                    f"{self} has schema {schema}, and this release knows up to {SCHEMA}: it was used by a later "
                    "release; run that one, or move the data with `ambry meta dump` of the later release"
                )
            for step in range(schema, SCHEMA):
                await connection.execute(_MIGRATIONS[step])
            if schema == 0:
                store = self._random.randbytes(STORE_ID_SIZE)
                await connection.execute(
                    "INSERT INTO head VALUES (1, $1, $2, $3, $4, 0, 0)", SCHEMA, store, self._cluster, self._datacenter
                )
                log.info("metadata store made", engine="postgresql", schema=SCHEMA)
            elif schema < SCHEMA:
                await connection.execute("UPDATE head SET schema = $1", SCHEMA)
                log.info("metadata store brought up to date", engine="postgresql", schema=SCHEMA, was=schema)
            cluster, datacenter = await connection.fetchrow("SELECT cluster, datacenter FROM head")
            if (cluster, datacenter) != (self._cluster, self._datacenter):
                raise StoreMismatch(
                    f"{self} is of cluster {cluster!r}, datacenter {datacenter}, and this frontend is of "
                    f"{self._cluster!r}, datacenter {self._datacenter}; name another in metadata.url"
                )


FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    asyncio.TimeoutError,
)
"""What asyncpg raises when a server is not there, goes away amid anything, or refuses."""
_NO_ROOM = ("53100",)
_DAMAGED = ("XX001", "XX002")
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    OSError,
    asyncio.TimeoutError,
)
"""After these the connection is no use any more."""


def failure(error: BaseException) -> AmbryError:
    """What a failure means to whoever asked."""
    state = getattr(error, "sqlstate", None)
    why = str(error) or type(error).__name__
    if state in _NO_ROOM or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
        return InsufficientStorage(f"no room for the metadata: {why}; make room on its server's disk, then retry")
    if state in _DAMAGED:
        return DataCorrupt(f"the metadata database is damaged: {why}; restore it (docs/operations.md, Metadata)")
    return MetadataUnavailable(f"the metadata database cannot be used: {why}")
