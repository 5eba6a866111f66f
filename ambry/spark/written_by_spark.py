"""What Spark alone says of the files that it wrote, in the key-value metadata of their footers.

org.apache.spark.version                       below 3.0 times were written in the calendar of Julius Caesar
org.apache.spark.legacyDateTime, legacyINT96   they were here, too: LEGACY of spark.sql.parquet.*RebaseModeInWrite
org.apache.spark.sql.parquet.row.metadata      the schema in JSON, with types that lie as numbers or structs
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest

TYPE_KEY = b"spark-type"
"""In the metadata of a field: what Spark calls its type, where the field's own says less."""
_PREFIX = b"org.apache.spark."
_DAY = -141_427
"""1582-10-15, in days after 1970: from there on both calendars agree."""
_SECOND = -2_208_988_800
"""1900-01-01: from there on the times of day of all zones do, too."""
_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def with_spark_types(schema: Any, metadata: Mapping[bytes, bytes] | None) -> Any:
    """The pyarrow Schema of a file, with TYPE_KEY at the columns in which there is a type that Spark alone knows of."""
    try:
        told = json.loads((metadata or {}).get(_PREFIX + b"sql.parquet.row.metadata", b"{}"))
        found = {each["name"]: name for each in told.get("fields", ()) if (name := _own_type(each["type"]))}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return schema  # Nothing that Spark wrote.
    for place, field in enumerate(schema):
        if field.name in found:
            schema = schema.set(
                place, field.with_metadata({**(field.metadata or {}), TYPE_KEY: found[field.name].encode()})
            )
    return schema


def has_old_calendar(metadata: Mapping[bytes, bytes] | None) -> bool:
    """Whether dates and times of a file may be days off where they are old."""
    said = metadata or {}
    first = re.match(rb"\d{1,9}", said.get(_PREFIX + b"version", b""))
    marked = any(_PREFIX + name in said for name in (b"legacyDateTime", b"legacyINT96"))
    return marked or (first is not None and int(first.group()) < 3)


def check_calendar(batch: Any, shown: str) -> None:
    """Of a file that has the old calendar. Raises InvalidRequest for dates and times that it has otherwise than this one."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if _is_old(column):
            raise InvalidRequest(
                f"{shown}: the column {name!r} has dates before 1582, or times before 1900, and Spark wrote them in another "
                "calendar (LEGACY); write the file again with spark.sql.parquet.datetimeRebaseModeInWrite and "
                "int96RebaseModeInWrite CORRECTED, or leave the column out (option columns)"
            )


def _own_type(kind: Any) -> str:
    """The first type in one of Spark's JSON that Parquet and Arrow tell as another one; empty where there is none."""
    if isinstance(kind, str):
        return kind if kind == "variant" or kind.startswith("interval") else ""
    inner = [each["type"] for each in kind.get("fields", ())]
    inner += [kind[name] for name in ("elementType", "keyType", "valueType", "sqlType") if name in kind]
    return next((found for each in inner if (found := _own_type(each))), "")


def _is_old(values: Any) -> bool:
    kind = values.type
    if pa.types.is_date32(kind):
        least = pc.min(values.cast(pa.int32())).as_py()
        return least is not None and least < _DAY
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        least = pc.min(values.cast(pa.int64())).as_py()
        return least is not None and least < _SECOND * _UNITS[kind.unit]
    if pa.types.is_dictionary(kind):
        return _is_old(values.dictionary)
    if pa.types.is_map(kind):
        return _is_old(values.keys) or _is_old(values.items)
    if pa.types.is_struct(kind):
        return any(_is_old(values.field(place)) for place in range(kind.num_fields))
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists) and _is_old(values.flatten())
