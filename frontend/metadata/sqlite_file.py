"""The SQLite file of a metadata store: its schema, how it is opened, and what its failures mean. Blocking.

    head      one row: whose store it is, how far its log and its clock are
    register  the newest version of every register that lives, in the order of listings
    past      every other version, by its place in the log: what was superseded, and tombstones
    local     local rows

WAL with synchronous=FULL: one sync for each transaction, readers that wait for nobody, and no power cut that takes what was
acknowledged.
"""

from __future__ import annotations

import errno
import random
import sqlite3
from pathlib import Path

from ambry.errors import (
    AmbryError,
    DataCorrupt,
    FormatUnknown,
    InsufficientStorage,
    MetadataUnavailable,
    StoreMismatch,
)
from ambry.service.logs import get_logger
from frontend.metadata import queries
from frontend.metadata.rows import SCHEMA, STORE_ID_SIZE
from frontend.metadata.sqlite_mark import give_back, take
from frontend.metadata.store import LogHead

log = get_logger()

APPLICATION_ID = 0x414D424D
"""AMBM, at offset 68 of the file; file(1) shows it."""
BUSY_S = 2.0
"""How long a writer waits for those of other processes. Less than anybody waits for the writer."""
CACHE_KIB = 4096
WAL_BYTES_KEPT = 16 << 20

_CREATE = """
CREATE TABLE head (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    store BLOB NOT NULL,
    cluster TEXT NOT NULL,
    datacenter INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    time INTEGER NOT NULL
);
CREATE TABLE register (
    space INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    time INTEGER NOT NULL,
    datacenter INTEGER NOT NULL,
    value BLOB NOT NULL,
    seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (space, scope, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX register_seq ON register (seq);
CREATE TABLE past (
    seq INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    time INTEGER NOT NULL,
    datacenter INTEGER NOT NULL,
    value BLOB,
    checksum INTEGER NOT NULL
);
CREATE INDEX past_key ON past (space, scope, key, time, datacenter);
CREATE TABLE local (
    space INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    expires_ms INTEGER,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE INDEX local_expiry ON local (expires_ms) WHERE expires_ms IS NOT NULL;
"""
_MIGRATIONS: dict[int, str] = {0: _CREATE}
"""What brings a file of one schema to the next."""


class SqliteFile:
    """Where the file is, and whose. Opens connections to it, and makes it where there is none."""

    def __init__(self, path: Path, *, cluster: str, datacenter: int, random_source: random.Random) -> None:
        self.path = path
        self._cluster = cluster
        self._datacenter = datacenter
        self._random = random_source

    def __str__(self) -> str:
        return f"the metadata file {self.path}"

    def connect(self) -> SqliteConnection:
        """A connection of the caller's thread, to a file that is ours and of this schema.

        Raises StoreMismatch, FormatUnknown for one that is not; else as `failure`.
        """
        try:
            opened = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise failure(error, self) from error
        try:
            self._settle(opened)
            return SqliteConnection(opened, self)
        except BaseException as error:
            opened.close()
            if isinstance(error, sqlite3.Error):
                raise failure(error, self) from error
            raise

    def _settle(self, opened: sqlite3.Connection) -> None:
        # In one look: another process may be making it.
        application, schema, tables = opened.execute(
            "SELECT (SELECT * FROM pragma_application_id), (SELECT * FROM pragma_user_version), "
            "(SELECT count(*) FROM sqlite_master)"
        ).fetchone()
        if application not in (0, APPLICATION_ID) or (application == 0 and tables):
            raise StoreMismatch(f"{self.path} is a SQLite file of something else; name another in metadata.path")
        if schema > SCHEMA:
            raise FormatUnknown(
                f"{self} has schema {schema}, and this release knows up to {SCHEMA}: it was used by a later release; "
                "run that one, or move the data with `ambry meta dump` of the later release"
            )
        opened.execute("PRAGMA journal_mode = WAL")
        opened.execute("PRAGMA synchronous = FULL")
        opened.execute("PRAGMA wal_autocheckpoint = 0")
        opened.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        opened.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Keys that were deleted must be nowhere in the file, so nothing that was written is left where nothing is.
        opened.execute("PRAGMA secure_delete = ON").fetchone()
        if schema < SCHEMA:
            self._migrate(opened)
        store, cluster, datacenter = opened.execute("SELECT store, cluster, datacenter FROM head").fetchone()
        if len(store) != STORE_ID_SIZE or (cluster, datacenter) != (self._cluster, self._datacenter):
            raise StoreMismatch(
                f"{self} is of cluster {cluster!r}, datacenter {datacenter}, and this frontend is of {self._cluster!r}, "
                f"datacenter {self._datacenter}; name another in metadata.path"
            )

    def _migrate(self, opened: sqlite3.Connection) -> None:
        """Forwards to this schema, in one transaction; another process may have done it meanwhile."""
        opened.execute("BEGIN IMMEDIATE")
        try:
            (schema,) = opened.execute("PRAGMA user_version").fetchone()
            for step in range(schema, SCHEMA):
                for statement in _MIGRATIONS[step].split(";"):
                    opened.execute(statement)
            if schema == 0:
                opened.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                opened.execute(
                    "INSERT INTO head VALUES (1, ?, ?, ?, 0, 0)",
                    (self._random.randbytes(STORE_ID_SIZE), self._cluster, self._datacenter),
                )
                log.info("metadata store made", path=str(self.path), schema=SCHEMA)
            elif schema < SCHEMA:
                log.info("metadata store brought up to date", path=str(self.path), schema=SCHEMA, was=schema)
            opened.execute(f"PRAGMA user_version = {SCHEMA}")
            opened.execute("COMMIT")
        except BaseException:
            if opened.in_transaction:
                opened.execute("ROLLBACK")
            raise


class SqliteConnection:
    """One connection of one thread, and which file it has open."""

    def __init__(self, opened: sqlite3.Connection, file: SqliteFile) -> None:
        self.sql = opened
        self._file = file
        self._opened = self._named()
        self.mark = take(file.path)
        """By which it is seen whether anything was committed; None where that cannot be seen."""

    @property
    def current(self) -> bool:
        """Whether the file is still the one of that name. What goes to another is lost, though nothing fails."""
        return self._named() == self._opened

    def _named(self) -> tuple[int, int] | None:
        try:
            status = self._file.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def close(self) -> None:
        try:
            self.sql.close()
        except sqlite3.Error as error:
            log.warning("metadata file not closed in order", path=str(self._file.path), error=str(error))
        if self.mark is not None:
            give_back(self.mark)
            self.mark = None


class HeldConnection:
    """The connection of one thread: made when it is needed, and anew after a failure or when the file is another one."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self.connection: SqliteConnection | None = None

    def get(self) -> SqliteConnection:
        """Raises as SqliteFile.connect."""
        connection = self.connection
        if connection is not None and not connection.current:
            log.warning("the metadata file is another one; opened anew", path=str(self._file.path))
            self.close()
            connection = None
        if connection is None:
            connection = self.connection = self._file.connect()
        return connection

    def explain(self, error: sqlite3.Error | OSError | AmbryError) -> AmbryError:
        """What to tell whoever asked; after what may last, the connection is given up."""
        if isinstance(error, AmbryError):
            return error
        if isinstance(error, OSError):
            return os_failure(error, self._file)
        if primary_code(error) in LASTING:
            self.close()
        return failure(error, self._file)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def head_of(opened: sqlite3.Connection) -> LogHead:
    return LogHead(*opened.execute(queries.HEAD).fetchone())


_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
LASTING = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
}
"""After these a connection is given up, and the next turn makes a new one."""


def error_number(error: sqlite3.Error) -> int:
    """SQLite's extended result code; 0 where the module raised by itself."""
    return getattr(error, "sqlite_errorcode", 0)


def primary_code(error: sqlite3.Error) -> int:
    """The same without its details."""
    return error_number(error) & 0xFF


def os_failure(error: OSError, file: SqliteFile) -> AmbryError:
    """As `failure`, of a file beside it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InsufficientStorage(f"no room for {file}: {error.strerror}; make room on its disk, then retry")
    return MetadataUnavailable(f"{file} cannot be used: {error}")


def failure(error: sqlite3.Error, file: SqliteFile) -> AmbryError:
    """What a failure of SQLite means to whoever asked."""
    code = primary_code(error)
    # The file of shared memory is made as large as it will be, and says it another way.
    if error_number(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):
        return InsufficientStorage(f"no room for {file}: {error}; make room on its disk, then retry")
    if code in _CORRUPT:
        return DataCorrupt(
            f"{file} is damaged: {error}; look with `ambry meta check`, then restore it (docs/operations.md, Metadata)"
        )
    if code == sqlite3.SQLITE_BUSY:
        return MetadataUnavailable(f"{file}: other processes have held it for {BUSY_S:g} s; retry later")
    if code == sqlite3.SQLITE_CANTOPEN:
        return MetadataUnavailable(
            f"{file} cannot be opened: is there a directory that this process may write to? metadata.path names another"
        )
    return MetadataUnavailable(f"{file} cannot be used: {error}")
