"""Files that features come from and go to, piece by piece: Parquet, Arrow, CSV, and a line of JSON for each entity.

In CSV and JSON a tensor is as json_cells.py says, and a row without a value has nothing there. In CSV a number without a value
may be a word of that, too, such as NA or null; a text is what it is, NA for Namibia, and so is a key (csv_keys.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa

from ambry.errors import MALFORMED, InvalidRequest
from ambry.ml.arrow_errors import each_told
from ambry.ml.csv_errors import csv_words
from ambry.ml.csv_keys import keys_are_texts
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.files import written_path
from ambry.ml.snapshots.frames import PIECE_ROWS
from ambry.ml.snapshots.json_cells import plain_values, value_of
from ambry.ml.snapshots.schema import arrow_type

SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc", ".csv", ".jsonl", ".ndjson")


def kind_of_file(path: Path) -> str:
    """parquet, arrow, csv or jsonl, by the suffix. Raises InvalidRequest."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidRequest(f"{path}: what it is, its suffix says, which is one of {', '.join(SUFFIXES)}")
    return {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(suffix, "arrow")


def columns_of_file(path: Path) -> list[str]:
    """What its columns are called; of lines of JSON, those of any of them. Raises InvalidRequest, OSError."""
    names: dict[str, None] = {}
    for piece in rows_of_file(path, {}):
        if not isinstance(piece, Mapping):
            return list(piece.schema.names)
        names.update(dict.fromkeys(piece))
    return list(names)


def rows_of_file(path: Path, kinds: Mapping[str, TensorType], entity: str | None = None) -> Iterator[Any]:
    """Record batches or mappings, as `write_snapshot` takes them. `kinds` by column; `entity` is the one with the keys.

    Raises InvalidRequest, OSError.
    """
    kind = kind_of_file(path)
    texts = entity if kind == "csv" and entity is not None and keys_are_texts(path, entity) else None
    pieces = _READERS[kind](path, kinds) if texts is None else _read_csv(path, kinds, texts)
    yield from each_told(
        pieces, lambda error: InvalidRequest(f"{path} cannot be read: {_words(path, kinds, error, texts)}")
    )


def write_file(path: Path, schema: Any, batches: Iterable[Any]) -> int:
    """Write record batches to a file that is there whole or not at all. Returns how many rows."""
    kind = kind_of_file(path)
    with written_path(path) as part:
        return _WRITERS[kind](part, schema, batches)


def plain_rows(schema: Any, batches: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """One mapping for each row, of what JSON can hold."""
    for batch in batches:
        columns = [plain_values(column, field) for column, field in zip(batch.columns, schema, strict=True)]
        for row in zip(*columns, strict=True):
            yield dict(zip(schema.names, row, strict=True))


# --- reading ---


def _words(path: Path, kinds: Mapping[str, TensorType], error: Exception, keys: str | None) -> str:
    if kind_of_file(path) != "csv":
        return str(error)
    names = {name: kind.value_type.value for name, kind in kinds.items()}
    return csv_words(path, error, names, convert_options=_csv_options(kinds, keys))


def _read_parquet(path: Path, kinds: Mapping[str, TensorType]) -> Iterator[Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        yield file.schema_arrow.empty_table()
        yield from file.iter_batches(batch_size=PIECE_ROWS)


def _read_arrow(path: Path, kinds: Mapping[str, TensorType]) -> Iterator[Any]:
    """Both forms of Arrow's IPC: files and streams."""
    with path.open("rb") as file:
        if file.read(6) == b"ARROW1":
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            yield reader.schema.empty_table()
            for place in range(reader.num_record_batches):
                yield _valid(reader.get_batch(place))
            return
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        yield stream.schema.empty_table()
        yield from map(_valid, stream)


def _valid(batch: Any) -> Any:
    """A batch whose values lie within it: lengths and offsets that lie would lead anywhere. Raises ArrowInvalid."""
    batch.validate(full=True)
    return batch


def _texts(kinds: Mapping[str, TensorType]) -> set[str]:
    return {name for name, kind in kinds.items() if kind.axes or kind.value_type is ValueType.BYTES}


def _csv_options(kinds: Mapping[str, TensorType], keys: str | None) -> Any:
    from pyarrow import csv as arrow_csv

    texts = _texts(kinds)
    told = {name: pa.string() if name in texts else arrow_type(kind.value_type) for name, kind in kinds.items()}
    # pandas writes whole numbers as 3.0 where one is missing: an INT is read as a float of 64 bits, which holds each of them.
    told |= {name: pa.float64() for name, kind in kinds.items() if told[name] == pa.int32()}
    if keys is not None:
        told[keys] = pa.string()
    return arrow_csv.ConvertOptions(column_types=told, strings_can_be_null=True, quoted_strings_can_be_null=False)


def _read_csv(path: Path, kinds: Mapping[str, TensorType], keys: str | None = None) -> Iterator[Any]:
    """`keys` is the column with the keys where they are texts."""
    from pyarrow import csv as arrow_csv

    texts = _texts(kinds)
    strings = {name for name, kind in kinds.items() if not kind.axes and kind.value_type is ValueType.STRING}
    strings |= set() if keys is None else {keys}
    with ExitStack() as opened:
        reader = opened.enter_context(arrow_csv.open_csv(path, convert_options=_csv_options(kinds, keys)))
        names = reader.schema.names
        words = [place for place, name in enumerate(names) if name in strings and names.count(name) == 1]
        batches: Iterable[Any] = reader
        if words:
            # What is no value is said of all columns of a reader at once.
            options = arrow_csv.ConvertOptions(
                column_types={names[place]: pa.string() for place in words},
                include_columns=[names[place] for place in words],
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            )
            beside = opened.enter_context(arrow_csv.open_csv(path, convert_options=options))
            batches = (_replaced(batch, words, told) for batch, told in zip(reader, beside, strict=True))
        is_empty = True
        for batch in batches:
            is_empty = is_empty and not batch.num_rows
            if not texts & set(batch.schema.names):
                yield batch
                continue
            for row in batch.to_pylist():
                yield {name: value_of(each, kinds[name]) if name in texts else each for name, each in row.items()}
        if is_empty:
            yield reader.schema.empty_table()


def _replaced(batch: Any, places: Sequence[int], told: Any) -> Any:
    """A batch whose columns at these places are those of another one, of the same rows."""
    columns = list(batch.columns)
    for place, column in zip(places, told.columns, strict=True):
        columns[place] = column
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _read_lines(path: Path, kinds: Mapping[str, TensorType]) -> Iterator[Any]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except MALFORMED as error:
                raise InvalidRequest(f"{path}:{number}: this is no JSON: {error}") from None
            if not isinstance(row, dict):
                raise InvalidRequest(f"{path}:{number}: a line is an object, and not {line.strip()[:40]}")
            yield {name: value_of(value, kinds[name]) if name in kinds else value for name, value in row.items()}


# --- writing ---


def _write_parquet(path: Path, schema: Any, batches: Iterable[Any]) -> int:
    from pyarrow import parquet

    count = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _write_arrow(path: Path, schema: Any, batches: Iterable[Any]) -> int:
    count = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _write_csv(path: Path, schema: Any, batches: Iterable[Any]) -> int:
    """Texts are in quotes, so that one without a character is none that is not there."""
    from pyarrow import csv

    names = [field.name for field in schema if _is_text(field)]
    fields = [pa.field(field.name, pa.string() if _is_text(field) else field.type) for field in schema]
    count = 0
    with csv.CSVWriter(str(path), pa.schema(fields)) as writer:
        for batch in batches:
            columns = dict(zip(schema.names, batch.columns, strict=True))
            for name in names:
                values = plain_values(columns[name], schema.field(name))
                texts = [json.dumps(value) if isinstance(value, list) else value for value in values]
                columns[name] = pa.array(texts, pa.string())
            writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=pa.schema(fields)))
            count += batch.num_rows
    return count


def _is_text(field: Any) -> bool:
    return (
        isinstance(field.type, pa.FixedShapeTensorType)
        or pa.types.is_list(field.type)
        or pa.types.is_binary(field.type)
    )


def _write_lines(path: Path, schema: Any, batches: Iterable[Any]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in plain_rows(schema, batches):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


_READERS = {"parquet": _read_parquet, "arrow": _read_arrow, "csv": _read_csv, "jsonl": _read_lines}
_WRITERS = {"parquet": _write_parquet, "arrow": _write_arrow, "csv": _write_csv, "jsonl": _write_lines}
