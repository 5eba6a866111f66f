"""Data frames become versions: each task stores its rows as a part, and the driver makes one version of all of them.

    save("clicks")                                      the version is the footer of all parts (Parquet's `_metadata`)
    option("definitions", "features") ... save(...)     the version is a typed snapshot, and the parts go again

A part is a blob with a name, <dataset>.parts/<job>/<partition>-<attempt>, which goes by itself after PART_TTL unless a version
is made of it (commits.py). Which parts are in a version, the driver alone says: of a task that was tried twice, or ran twice
at a time, one.
"""

from __future__ import annotations

import pickle  # nosec B403 # Of what our own tasks tell.
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import datasource
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from ambry.client.refs import NameRef
from ambry.client.scratch import scratch_directory
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.datasets import check_schema, check_version_for, dataset_there
from ambry.ml.places import in_dataset, shown_version
from ambry.ml.snapshots.matching import ChoiceWords, match_columns
from ambry.ml.snapshots.writing import KIND as SNAPSHOT_KIND
from ambry.ml.snapshots.writing import SCHEMA as SNAPSHOT_SCHEMA
from ambry.rest.versions import VersionToken, is_there
from ambry.spark.commits import CONTENT_TYPE, KIND, PART_TTL, ROWS_JOB_KEY, SCHEMA, PartsCommit, part_gone

GROUP_SIZE = 64 << 20
"""Bytes of Arrow that a task collects for a row group."""
_WORDS = ChoiceWords(
    entity="the option entity",
    feature="the option features",
    whole="Call its column so (withColumnRenamed), or say with the option features which are meant",
    some="A column is called as its feature (withColumnRenamed)",
    clear="call it {columns} (withColumnRenamed), or say with the option features which is meant",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """What a writer was told besides the place."""

    NAMES: ClassVar = ("path", "version", "definitions", "entity", "features", "as_of", "format", "spool")

    version: str = "LATEST"
    definitions: str = ""
    entity: str = ""
    features: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    """The URN of each feature with the column that was matched with it, which may have a longer name than it."""
    as_of: datetime | None = None
    file_format: Any = "arrow"
    spool: Path | None = None
    """A directory for temporary files; the system's without one."""


@dataclass(frozen=True, slots=True)
class StoredPart(datasource.WriterCommitMessage):  # type: ignore[misc]  # Of pyspark, which is not always there.
    """What a task tells the driver. `footer` is pickled FileMetaData; of no rows nothing is stored, and `blob` is empty."""

    name: NameRef
    blob: str
    rows: int
    footer: bytes


class AmbryWriter(datasource.DataSourceArrowWriter):  # type: ignore[misc]  # As above.
    """Goes to the tasks pickled, with the client and its key."""

    def __init__(self, client: AmbryClient, dataset: str, options: WriteOptions, schema: Any) -> None:
        """Looks the dataset up, before the first task: a name that no dataset can have would be told after the last one.
        So are definitions, which features have columns, and columns that are no feature, of which is warned.

        Raises InvalidRequest for such a name, for a version that is none of its schema, and for a feature without a column;
        AlreadyExists for a version that is there, BlobNotFound for definitions, AccessDenied, Unavailable.
        """
        place = in_dataset(dataset)
        with copy(client) as looking:
            _check_target(looking, dataset, options)
            if options.definitions:
                options = _matched(looking, options, schema.fieldNames())
        folder = NameRef(
            place.dataset, place.account or client.default_account, place.container or client.default_container
        )
        self._client = client
        self._dataset = dataset
        self._options = options
        self._schema = schema
        self._commit = PartsCommit(dataset, folder, secrets.token_hex(8))

    def write(self, iterator: Iterator[Any]) -> StoredPart:
        """One part; its rows stand in a temporary file meanwhile, a row group of them in memory."""
        from pyspark import TaskContext

        context = TaskContext.get()
        task = f"{context.partitionId():05}-{context.taskAttemptId()}" if context else secrets.token_hex(8)
        name = self._commit.part(task)
        with scratch_directory("spark", self._options.spool) as made:
            path = made / "part.parquet"
            rows, footer = part_file(path, to_arrow_schema(self._schema, timezone="UTC"), iterator)
            if not rows:
                return StoredPart(name, "", 0, b"")
            with copy(self._client) as client:
                info = client.put(path, name=name, ttl=PART_TTL, content_type=CONTENT_TYPE)
        return StoredPart(name, str(info.id), rows, pickle.dumps(footer))

    def commit(self, messages: list[Any]) -> None:
        """One version of a job, however often it is called; none where a snapshot of another job has the same rows and time.

        Raises what `snapshots.write` and PartsCommit raise.
        """
        parts = _stored(messages)
        with copy(self._client) as client:
            names = [each.name for each in parts]
            if self._options.definitions:
                self._commit.copy(client, names, lambda: self._as_snapshot(client, parts))
            else:
                footer = footer_of(to_arrow_schema(self._schema, timezone="UTC"), parts)
                self._commit.publish(client, names, footer, self._options.version)

    def abort(self, messages: list[Any]) -> None:
        """What was stored goes; of a job that was killed, by itself after PART_TTL."""
        with copy(self._client) as client:
            self._commit.abort(client, [each.name for each in _stored(messages)])

    def _as_snapshot(self, client: AmbryClient, parts: Sequence[StoredPart]) -> None:
        from ambry.ml.features.publishing import load
        from ambry.ml.places import version_of
        from ambry.ml.snapshots.writing import write_snapshot

        options = self._options
        loaded = load(client, version_of(options.definitions))
        write_snapshot(
            client,
            self._dataset,
            _rows_of(client, parts, to_arrow_schema(self._schema, timezone="UTC")),
            options.features,
            metadata=loaded,
            entity=options.entity,
            columns=dict(options.columns),
            as_of=options.as_of or client.store_time(),
            file_format=options.file_format,
            spool=options.spool,
            version_metadata={ROWS_JOB_KEY: self._commit.job},
        )


def write_options(options: Mapping[str, str]) -> WriteOptions:
    """Raises InvalidRequest for what does not go together."""
    as_of = options.get("as_of")
    features = tuple((options.get("features") or "").split())
    typed = WriteOptions(
        version=options.get("version") or "LATEST",
        definitions=options.get("definitions") or "",
        entity=options.get("entity") or "",
        features=features,
        as_of=None if not as_of else _time_of(as_of),
        file_format=options.get("format") or "arrow",
        spool=Path(options["spool"]) if options.get("spool") else None,
    )
    if typed.definitions and not typed.entity:
        raise InvalidRequest("a snapshot has a column with the keys: say the option entity")
    if typed.definitions and options.get("version"):
        raise InvalidRequest("the version of a snapshot is its point in time: say as_of, and no version")
    if not typed.definitions:
        for name in ("entity", "features", "as_of", "format"):
            if options.get(name):
                raise InvalidRequest(f"the option {name} is one of a snapshot: say definitions too")
    return typed


def check_columns(schema: Any) -> None:
    """Raises InvalidRequest for a frame whose columns Parquet has not, before a task begins."""
    names = schema.fieldNames()
    if not names:
        raise InvalidRequest("the frame has no columns; there is nothing to be kept of it")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"{names.count(twice)} columns are called {twice!r}; give each a name of its own")
    for field in schema.fields:
        try:
            footer_of(to_arrow_schema(StructType([field]), timezone="UTC"), [])
        except (
            pa.ArrowException,
            PySparkException,
            ValueError,
        ) as error:  # pyarrow has plain ones, as of NOT NULL of no type.
            raise InvalidRequest(
                f"the column {field.name!r} is {field.dataType.simpleString()}, which Arrow or Parquet has not; write it as "
                "another type, or leave it out"
            ) from error


def part_file(path: Path, schema: Any, batches: Iterator[Any]) -> tuple[int, Any]:
    """Write batches as Parquet. Returns how many rows, and the FileMetaData."""
    from pyarrow import parquet

    told: list[Any] = []
    held: list[Any] = []
    rows = size = 0
    try:
        with parquet.ParquetWriter(str(path), schema, compression="zstd", metadata_collector=told) as writer:
            for batch in batches:
                held.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
                rows, size = rows + batch.num_rows, size + batch.nbytes
                if size >= GROUP_SIZE:
                    writer.write_table(pa.Table.from_batches(held, schema))
                    held, size = [], 0
            if held:
                writer.write_table(pa.Table.from_batches(held, schema))
    except RuntimeError as error:
        # pyarrow asks for the footer also of what it could not write, and that hides why.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    return rows, told[0]


def footer_of(schema: Any, parts: Sequence[StoredPart]) -> bytes:
    """Parquet's `_metadata`: the row groups of all parts, each with the id of its blob as the path of its file."""
    from pyarrow import parquet

    whole = None
    for part in parts:
        footer = pickle.loads(part.footer)  # nosec B301 # As above.
        footer.set_file_path(part.blob)
        if whole is None:
            whole = footer
        else:
            whole.append_row_groups(footer)
    sink = pa.BufferOutputStream()
    if whole is None:
        parquet.write_table(schema.empty_table(), sink)
    else:
        whole.write_metadata_file(sink)
    return bytes(sink.getvalue())


def _rows_of(client: AmbryClient, parts: Sequence[StoredPart], schema: Any) -> Iterator[Any]:
    from pyarrow import parquet

    yield schema.empty_table()
    for part in parts:
        try:
            with client.open(BlobId.parse(part.blob)) as source:
                for batch in parquet.ParquetFile(source, pre_buffer=True).iter_batches():
                    yield pa.Table.from_batches([batch])
        except BlobNotFound as error:
            raise part_gone(error) from error


def _matched(client: AmbryClient, options: WriteOptions, names: Sequence[str]) -> WriteOptions:
    """With the features that have columns, and the definitions by their number. Raises as `AmbryWriter` does."""
    from ambry.ml.features.publishing import load
    from ambry.ml.places import version_of

    loaded = load(client, version_of(options.definitions))
    found = match_columns(loaded.metadata, names, options.entity, options.features, {}, _WORDS)
    found.check_whole()
    if gone := [column for column in found.kinds if column not in names]:
        raise InvalidRequest(
            f"no column is called {gone[0]!r}, as the option features says; there are {', '.join(names)}"
        )
    if found.unused:
        warnings.warn(f"columns that are no feature, left out: {', '.join(found.unused)}", stacklevel=2)
    columns = tuple((str(kind.urn), column) for column, kind in found.kinds.items())
    return replace(options, definitions=loaded.place, features=tuple(urn for urn, _ in columns), columns=columns)


def _check_target(client: AmbryClient, dataset: str, options: WriteOptions) -> None:
    """Raises InvalidRequest, AlreadyExists, AccessDenied, Unavailable."""
    schema = SNAPSHOT_SCHEMA if options.definitions else SCHEMA
    kind = SNAPSHOT_KIND if options.definitions else KIND
    if (found := dataset_there(client, dataset, kind)) is not None:
        if options.definitions:
            check_schema(found, schema, "snapshots")
        schema = found.schema
    check_version_for(schema, options.version)
    if found is not None and options.version not in VersionToken.__members__:
        exact = in_dataset(dataset, options.version)
        if client.exists(exact):
            raise AlreadyExists(is_there(shown_version(exact), "say another version, or none"))


def _stored(messages: Sequence[Any]) -> list[StoredPart]:
    """Spark has no message of a task that it knows nothing of."""
    return [each for each in messages if each is not None and each.blob]


def _time_of(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no point in time; write 2026-11-27T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
