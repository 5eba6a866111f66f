"""Data frames become versions: each task stores its rows as a part, and the driver makes one version of all of them.

    save("clicks")                                      the version is the footer of all parts (Parquet's `_metadata`)
    option("definitions", "features") ... save(...)     the version is a typed snapshot, and the parts go again

A part is a blob with a name, <dataset>.parts/<job>/<partition>-<attempt>, which goes by itself after PART_TTL unless a version
is made of it. Which parts are in a version, the driver alone says: of a task that was tried twice, or ran twice at a time, one.
"""

from __future__ import annotations

import pickle  # nosec B403 # Of what our own tasks tell.
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pyspark.sql import datasource
from pyspark.sql.pandas.types import to_arrow_schema

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, InvalidRequest
from ambry.ids import BlobId
from ambry.ml.datasets import dataset_for
from ambry.ml.places import in_dataset

PARTS = ".parts"
PART_TTL = timedelta(days=7)
GROUP_SIZE = 64 << 20
"""Bytes of Arrow that a task collects for a row group."""
CONTENT_TYPE = "application/vnd.apache.parquet"
PARTS_KEY = "parquet-parts"
"""In the metadata of a version: how many parts its row groups lie in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """What a writer was told besides the place."""

    NAMES: ClassVar = ("path", "version", "definitions", "entity", "features", "as_of", "format", "spool")

    version: str = "LATEST"
    definitions: str = ""
    entity: str = ""
    features: tuple[str, ...] = ()
    as_of: datetime | None = None
    file_format: Any = "arrow"
    spool: Path | None = None
    """A directory for temporary files; the system's without one."""


@dataclass(frozen=True, slots=True)
class StoredPart(datasource.WriterCommitMessage):  # type: ignore[misc]  # Of pyspark, which is not always there.
    """What a task tells the driver. `footer` is pickled FileMetaData."""

    name: NameRef
    blob: str
    rows: int
    footer: bytes


class AmbryWriter(datasource.DataSourceArrowWriter):  # type: ignore[misc]  # As above.
    """Goes to the tasks pickled, with the client and its key."""

    def __init__(self, client: AmbryClient, dataset: str, options: WriteOptions, schema: Any) -> None:
        """Raises InvalidRequest for a place that is no dataset."""
        self._client = client
        self._place = in_dataset(dataset)
        self._dataset = dataset
        self._options = options
        self._schema = schema
        self._job = secrets.token_hex(8)

    def write(self, iterator: Iterator[Any]) -> StoredPart:
        """One part; its rows stand in a temporary file meanwhile, a row group of them in memory."""
        from pyspark import TaskContext

        context = TaskContext.get()
        task = f"{context.partitionId():05}-{context.taskAttemptId()}" if context else secrets.token_hex(8)
        place = self._place
        name = NameRef(
            f"{place.dataset}{PARTS}/{self._job}/{task}.parquet",
            place.account or self._client.default_account,
            place.container or self._client.default_container,
        )
        with tempfile.TemporaryDirectory(prefix="ambry-spark-", dir=self._options.spool) as made:
            path = Path(made) / "part.parquet"
            rows, footer = part_file(path, to_arrow_schema(self._schema, timezone="UTC"), iterator)
            with copy(self._client) as client:
                info = client.put(path, name=name, ttl=PART_TTL, content_type=CONTENT_TYPE)
        return StoredPart(name, str(info.id), rows, pickle.dumps(footer))

    def commit(self, messages: list[Any]) -> None:
        """Raises what `snapshots.write` and `put_version` raise; nothing is visible then, and the parts are gone."""
        parts = [each for each in messages if each is not None]
        with copy(self._client) as client:
            try:
                if self._options.definitions:
                    self._as_snapshot(client, parts)
                else:
                    self._as_parts(client, parts)
            except AmbryError:
                _forget(client, parts)
                raise
            if self._options.definitions:
                _forget(client, parts)

    def abort(self, messages: list[Any]) -> None:
        """What was stored goes; of a job that was killed, by itself after PART_TTL."""
        with copy(self._client) as client:
            _forget(client, [each for each in messages if each is not None])

    def _as_snapshot(self, client: AmbryClient, parts: Sequence[StoredPart]) -> None:
        from ambry.ml.features.publishing import load
        from ambry.ml.places import version_of
        from ambry.ml.snapshots.schema import column_names
        from ambry.ml.snapshots.writing import write_snapshot

        options = self._options
        loaded = load(client, version_of(options.definitions))
        features = list(options.features)
        if not features:
            names = column_names(loaded.metadata.urns)
            features = [urn for urn, name in names.items() if name in self._schema.fieldNames()]
        write_snapshot(
            client,
            self._dataset,
            _rows_of(client, parts, to_arrow_schema(self._schema, timezone="UTC")),
            features,
            metadata=loaded,
            entity=options.entity,
            as_of=options.as_of or datetime.now(UTC),
            file_format=options.file_format,
            spool=options.spool,
        )

    def _as_parts(self, client: AmbryClient, parts: Sequence[StoredPart]) -> None:
        full = [each for each in parts if each.rows]
        _forget(client, [each for each in parts if not each.rows])
        schema = to_arrow_schema(self._schema, timezone="UTC")
        for each in full:
            client.update_ttl(each.name, None)
        dataset_for(client, self._dataset, "MONOTONIC", "parquet")
        client.put_version(
            self._dataset,
            footer_of(schema, full),
            self._options.version,
            content_type=CONTENT_TYPE,
            metadata={PARTS_KEY: str(len(full))},
            filename=f"{self._place.dataset}.parquet",
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


def part_file(path: Path, schema: Any, batches: Iterator[Any]) -> tuple[int, Any]:
    """Write batches as Parquet. Returns how many rows, and the FileMetaData."""
    from pyarrow import parquet

    told: list[Any] = []
    held: list[Any] = []
    rows = size = 0
    with parquet.ParquetWriter(str(path), schema, compression="zstd", metadata_collector=told) as writer:
        for batch in batches:
            held.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if size >= GROUP_SIZE:
                writer.write_table(pa.Table.from_batches(held, schema))
                held, size = [], 0
        if held:
            writer.write_table(pa.Table.from_batches(held, schema))
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
        with client.open(BlobId.parse(part.blob)) as source:
            for batch in parquet.ParquetFile(source, pre_buffer=True).iter_batches():
                yield pa.Table.from_batches([batch])


def _forget(client: AmbryClient, parts: Sequence[StoredPart]) -> None:
    """What cannot be deleted now goes by itself."""
    for part in parts:
        with suppress(AmbryError):
            client.delete(part.name)


def _time_of(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no point in time; write 2026-11-27T12:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
