"""`ambry` as a data source of Spark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import datasource
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from ambry.client.credentials import KeyFile
from ambry.client.refs import ID_SCHEME, SCHEME, written_place
from ambry.client.sync.client import AmbryClient
from ambry.errors import InvalidRequest
from ambry.shown_urls import shown_place
from ambry.spark.columns import check_fields, decimals_fit, spark_arrow_schema
from ambry.spark.contents import StoredFile, stored_file
from ambry.spark.plan import conditions_in
from ambry.spark.reading import AmbryReader
from ambry.spark.workers import settle
from ambry.spark.writing import AmbryWriter, WriteOptions, check_columns, write_options

NUMBER_DIGITS = 18
_SECRET = ("key", "auth")
_CLUSTER = ("profile", "endpoints", "account", "container", "key_file")
_OF_SPARK = {
    "paths": 'one place is loaded at a time: .load("a"), and union for several',
    "location": 'tables (CREATE TABLE) are not kept here; write .load("members"), and a view of it (createTempView)',
}
"""What to do instead of that for which Spark itself says an option."""
_READING = ("path", "columns", "prune", "split_size")


class AmbryDataSource(datasource.DataSource):  # type: ignore[misc]  # Of pyspark, which is not always there.
    """What is meant by a place is looked up once, where the frame is made: all its tasks, and each time that it is computed
    again, read that blob, also while an alias moves on. With a schema of the user's Spark asks for nothing there, and it is
    looked up where the frame is computed first."""

    def __init__(self, options: Mapping[str, str]) -> None:
        super().__init__(options)
        self._file: StoredFile | None = None
        # Sent to tasks: the endpoints and the key that are the driver's.
        self._client = client_of(options)

    @classmethod
    def name(cls) -> str:
        return "ambry"

    def schema(self) -> Any:
        """Raises BlobNotFound, InvalidRequest, DataCorrupt."""
        stored = self._stored().schema
        said = self.options.get("columns")
        names = stored.names if said is None else columns_in(said)
        found = spark_schema(spark_arrow_schema(stored, names))
        settle()
        return found

    def reader(self, schema: Any) -> AmbryReader:
        """Raises InvalidRequest for a schema with columns, or fields of them, that are not there."""
        file, said = self._stored(), to_arrow_schema(schema, timezone="UTC")
        for each in spark_arrow_schema(file.schema, schema.fieldNames()):
            check_fields(each.type, said.field(each.name).type, each.name)
        conditions = conditions_in(self.options.get("prune") or "")
        spark_arrow_schema(file.schema, list(dict.fromkeys(each.column for each in conditions)))
        certain = [each for each in conditions if is_read_as_stored(file.schema, schema, each.column)]
        return AmbryReader(self._client, file, schema, certain, number_of(self.options, "split_size"))

    def writer(self, schema: Any, overwrite: bool) -> AmbryWriter:
        """Raises InvalidRequest."""
        if overwrite:
            raise InvalidRequest('a version is never written over; write with mode("append"), which makes the next one')
        check_options(self.options, WriteOptions.NAMES)
        check_columns(schema)
        return AmbryWriter(self._client, place_in(self.options), write_options(self.options), schema)

    def _stored(self) -> StoredFile:
        check_options(self.options, _READING)
        if self._file is None:
            with copy(self._client) as client:
                self._file = stored_file(client, place_in(self.options))
        return self._file


def columns_in(text: str) -> list[str]:
    """`a, b`, or a list in JSON, `["a,b", " c"]`, in which a name is whatever it is. Raises InvalidRequest."""
    if not text.lstrip().startswith("["):
        written = [each.strip() for each in text.split(",")]
        if not all(written):
            raise InvalidRequest(
                f"the option columns is {text[:100]!r}, in which a name is empty; write a,b (a column without a name is "
                '[""])'
            )
        return written
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise InvalidRequest(f'the option columns is {text[:100]!r}; write a,b or a list in JSON, ["a", "b,c"]')
    return names


def is_read_as_stored(stored: Any, schema: Any, name: str) -> bool:
    """Whether a column has the type in Spark's StructType that it has without one. Of others, what the file says of its values
    says nothing of those that are compared.
    """
    if name not in schema.fieldNames():
        return True
    return bool(spark_schema(spark_arrow_schema(stored, [name]))[name].dataType == schema[name].dataType)


def spark_schema(schema: Any) -> Any:
    """Spark's StructType of a pyarrow Schema. Raises InvalidRequest for a column of a type that Spark has not."""
    for field in schema:
        words = f"the column {field.name!r} is {field.type}, which Spark has not; leave it out (option columns)"
        try:
            from_arrow_schema(pa.schema([field]))
        except (PySparkException, ValueError) as error:
            raise InvalidRequest(words) from error
        if not decimals_fit(field.type):
            raise InvalidRequest(words)
    return from_arrow_schema(schema, prefer_timestamp_ntz=True)


def place_in(options: Mapping[str, str]) -> str:
    """Raises InvalidRequest."""
    if not (place := options.get("path")):
        raise InvalidRequest(
            'say what is meant: .load("members@champion"), .save("members"); tables (saveAsTable, writeTo) are not kept here'
        )
    if "://" in place and not place.startswith((SCHEME, ID_SCHEME)) and written_place(place) is None:
        raise InvalidRequest(
            f"{shown_place(place)} is no place of ambry; write NAME, NAME@1.2.0 or {SCHEME}<account>/<container>/<name>, "
            "and read what lies elsewhere in the format that it has there"
        )
    return place


def check_options(options: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raises InvalidRequest for an option that is none: what was meant by it would not be done."""
    every = (*_CLUSTER, *known)
    for name in options:
        if (instead := _OF_SPARK.get(name.lower())) is not None:
            raise InvalidRequest(instead)
    if wrong := [name for name in options if name.lower() not in every]:
        raise InvalidRequest(f"ambry has no option {wrong[0]!r} here; there are {', '.join(sorted(every))}")


def number_of(options: Mapping[str, str], name: str) -> int | None:
    """None where nothing is said. Raises InvalidRequest."""
    said = options.get(name)
    if said is None:
        return None
    if not said.isdecimal() or len(said) > NUMBER_DIGITS or not int(said):
        raise InvalidRequest(f"the option {name} is a number of bytes, and not {said[:50]!r}")
    return int(said)


def client_of(options: Mapping[str, str]) -> AmbryClient:
    """As `ambry` on the driver would have it. Raises InvalidRequest, ConfigInvalid."""
    if secret := [name for name in _SECRET if options.get(name) is not None]:
        raise InvalidRequest(
            f"the option {secret[0]} would stand in plans; say key_file or profile, or set AMBRY_KEY_FILE on the driver"
        )
    said: dict[str, Any] = {name: options[name] for name in ("account", "container") if options.get(name)}
    if endpoints := options.get("endpoints"):
        said["endpoints"] = [each.strip() for each in endpoints.split(",")]
    if key_file := options.get("key_file"):
        # The key itself: who runs tasks elsewhere has no such file.
        said["key"] = KeyFile(key_file).key()
    return AmbryClient.from_env(options.get("profile") or None, **said)
