"""Tables by what a user calls them: a file, by its suffix, a version of a snapshot, or what a service scored. In batches,
whatever their size.

.csv .tsv           the types are guessed by the first 16 MiB, but for keys (csv_keys.py); an empty field is null
.jsonl .ndjson      an object in each line
.parquet
.arrow .feather     Arrow's IPC file, or its stream
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ambry.client.sync.client import AmbryClient
from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.arrow_errors import arrow_told, each_told
from ambry.ml.csv_errors import csv_words
from ambry.ml.csv_keys import keys_are_texts
from ambry.ml.digests import located
from ambry.ml.extras import needed
from ambry.ml.from_cache import used_at_once
from ambry.ml.place_errors import file_or_version
from ambry.ml.places import shown_version
from ambry.ml.scored import read_scored, scored_place
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.writing import FORMAT_KEY, INDEX_KEY

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
TYPES_SIZE = 16 << 20
_ARROW_FILE = b"ARROW1"


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table, to be read once. `name` says which it is, a version with its number."""

    name: str
    schema: Any
    batches: Iterator[Any]


def table_of(rows: Any, name: str = "") -> NamedTable:
    """A frame of pandas, polars or pyarrow, or columns by name. Raises InvalidRequest for a column of mixed kinds."""
    try:
        if hasattr(rows, "iloc"):
            rows = pa.Table.from_pandas(rows, preserve_index=False)
        elif not hasattr(rows, "__arrow_c_stream__"):
            rows = pa.table(rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidRequest(f"the table {name!r} has a column that is no column of Arrow: {error}") from error
    reader = pa.RecordBatchReader.from_stream(rows)
    return NamedTable(name, reader.schema, iter(reader))


def open_table(client: AmbryClient, said: str | Path) -> NamedTable:
    """A file where there is one, or else a snapshot as `NAME`, `NAME@1764280000000` or `NAME@alias`, or what was scored by
    models, `NAME.scored` and the other places of scored.py.

    Raises InvalidRequest for a file of another kind, FileNotFoundError, BlobNotFound, DataCorrupt.
    """
    path = Path(said)
    scored = None if isinstance(said, Path) or path.is_file() else scored_place(said)
    if scored is not None:
        return NamedTable(str(scored), *read_scored(client, scored))
    if isinstance(said, Path) or path.suffix.lower() in SUFFIXES or path.is_file():
        return read_file(path)
    with file_or_version(str(said)):
        place = located(client, str(said))
        info = client.head(place)
    place = replace(place, version=info.version)
    if INDEX_KEY in info.metadata:
        snapshot = open_snapshot(client, place)
        return NamedTable(shown_version(place), snapshot.schema, snapshot.batches())
    if FORMAT_KEY in info.metadata:
        return used_at_once(client, place, lambda path: _parquet(path, shown_version(place)))
    raise InvalidRequest(f"{shown_version(place)} is no snapshot of features, and there is no file {said!r}")


def read_file(path: Path, keys: str = "") -> NamedTable:
    """`keys` is a column with keys, if one is.

    Raises InvalidRequest for a suffix that says nothing, FileNotFoundError, DataCorrupt for what is no such file.

    What is wrong further on in it is told by its batches, which raise DataCorrupt.
    """
    suffix = path.suffix.lower()
    with arrow_told(lambda error: DataCorrupt(f"{path} cannot be read as {suffix}: {_words(path, error)}")):
        match suffix:
            case ".csv" | ".tsv":
                options = _csv_options(suffix)
                read = {name: options[name] for name in ("read_options", "parse_options")}
                if keys and keys_are_texts(path, keys, **read):
                    options["convert_options"].column_types = {keys: pa.string()}
                reader = needed("pyarrow.csv").open_csv(path, **options)
                return NamedTable(path.name, reader.schema, _told(path, reader))
            case ".jsonl" | ".ndjson":
                table = needed("pyarrow.json").read_json(path)
                return NamedTable(path.name, table.schema, iter(table.to_batches()))
            case ".parquet":
                return _parquet(path, path.name)
            case ".arrow" | ".feather":
                return _arrow(path)
    raise InvalidRequest(f"{path} is no table that is read here; those end in {', '.join(SUFFIXES)}")


def _csv_options(suffix: str) -> dict[str, Any]:
    csv = needed("pyarrow.csv")
    return {
        "read_options": csv.ReadOptions(block_size=TYPES_SIZE),
        "parse_options": csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ","),
        "convert_options": csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    }


def _words(path: Path, error: Exception) -> str:
    suffix = path.suffix.lower()
    return csv_words(path, error, **_csv_options(suffix)) if suffix in (".csv", ".tsv") else str(error)


def _arrow(path: Path) -> NamedTable:
    """As a file has it, with a footer, or as a stream. Raises ArrowInvalid."""
    source = pa.memory_map(str(path))
    if source.read(len(_ARROW_FILE)) == _ARROW_FILE:
        file = pa.ipc.open_file(source)
        return NamedTable(
            path.name, file.schema, _told(path, map(_valid, map(file.get_batch, range(file.num_record_batches))))
        )
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return NamedTable(path.name, stream.schema, _told(path, map(_valid, stream)))


def _told(path: Path, batches: Iterable[Any]) -> Iterator[Any]:
    """Raises DataCorrupt."""
    return each_told(batches, lambda error: DataCorrupt(f"{path} cannot be read to its end: {_words(path, error)}"))


def _valid(batch: Any) -> Any:
    """A file of a stranger may point outside of itself. Raises ArrowInvalid."""
    batch.validate(full=True)
    return batch


def _parquet(path: Path, name: str) -> NamedTable:
    with arrow_told(lambda error: DataCorrupt(f"{name} cannot be read as .parquet: {error}")):
        file = needed("pyarrow.parquet").ParquetFile(path, memory_map=True)
        return NamedTable(name, file.schema_arrow, _told(path, file.iter_batches()))
