"""Features out of Avro files of names, terms and values: the first version of LinkedIn's features, and Photon ML's.

    {"member": 42, "features": [{"name": "clicks", "term": "Share,7", "value": 3.0}, ...]}

A record is an entity. What stands for what is name_term_value.py. Such a file has no index, so each read goes through all of
it; `batches` turns it into typed columns, which a snapshot is written from.

Needs fastavro: pip install 'ambry[sources]'.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.avro_reading import NotAvro, avro_errors, read_avro
from ambry.ml.extras import needed
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.files import opened, written
from ambry.ml.place_errors import place_told
from ambry.ml.snapshots.columns import conform_keys
from ambry.ml.snapshots.rows import conformed
from ambry.ml.snapshots.schema import Layout, column_names
from ambry.ml.sources.answers import Keys, TypedColumns, Urns, answer, asked_keys
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.name_term_value import check_field_name, column_from, triple_schema, triples_of
from ambry.ml.sources.reader import StoredFeatures
from ambry.ml.stored_files import FilePlace
from ambry.shown_urls import shown_place

BAG = "features"
NAMES_KEY = "ambry.features"
"""In the metadata of a file: the URN of each name, as JSON."""
RECORDS_PER_BATCH = 4_096
TO_DO = "fetch or write it again"
INSTEAD = "name one, or write a snapshot of CSV, JSON or Parquet (`ambry snapshot write`)"


def write_avro(
    place: str | Path,
    rows: Any,
    features: Urns,
    *,
    metadata: FeatureMetadata,
    entity: str,
    columns: Mapping[str, str] | None = None,
    bag: str = BAG,
) -> int:
    """Write the features of entities to a file or URL, as names, terms and values. Returns how many records.

    Raises InvalidRequest for what does not fit, and for what names, terms and values do not hold exactly.
    """
    fastavro = needed("fastavro")
    typed = TypedColumns(metadata, entity, dict(columns or {}))
    kinds = typed.kinds(features)
    told = column_names([kind.urn for kind in kinds])
    names = [typed.columns.get(str(kind.urn), told[str(kind.urn)]) for kind in kinds]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(
            f"two features would be called {twice!r} in {shown_place(place)}; give one another name in `columns`"
        )
    count = 0

    def records(first: Any, rest: Iterator[Any]) -> Iterator[dict[str, Any]]:
        nonlocal count
        for batch in _and(first, rest):
            columns = [triples_of(*each) for each in zip(batch.columns[1:], kinds, names, strict=True)]
            for key, *triples in zip(batch.column(0).to_pylist(), *columns, strict=True):
                count += 1
                yield {
                    entity: key,
                    bag: [
                        {"name": name, "term": term, "value": value} for each in triples for name, term, value in each
                    ],
                }

    batches = conformed(rows, kinds, entity, lambda key: typed.schema(kinds, key), typed.columns, {})
    first = next(batches, None)
    key_type = "long" if first is None or first.schema.field(0).type == pa.int64() else "string"
    said = {NAMES_KEY: json.dumps({name: str(kind.urn) for name, kind in zip(names, kinds, strict=True)})}
    with written(place) as file:
        fastavro.writer(file, _schema(entity, key_type, bag), records(first, batches), codec="deflate", metadata=said)
    return count


class NamesMet:
    """What the records of files have, as they are read: which features, and which names that are none of the definitions."""

    REMEMBERED_MAX = 1_000
    """Of names that are no feature: a file of other names has as many as it has records."""

    def __init__(self) -> None:
        self.features: set[str] = set()
        """URNs."""
        self.strange: set[str] = set()

    def note(self, there: set[Any], names: Mapping[str, str]) -> None:
        """The names of some records; `names` are those of the features by URN."""
        self.features.update(urn for urn, name in names.items() if name in there)
        strange = {str(name) for name in there.difference(names.values())} - self.strange
        self.strange.update(sorted(strange)[: self.REMEMBERED_MAX - len(self.strange)])


class AvroSource(StoredFeatures):
    """`place` is a file or a URL; `bag` the field with the features. A name is that of the feature, or as `columns` says."""

    def __init__(
        self,
        place: FilePlace,
        metadata: FeatureMetadata,
        *,
        entity: str,
        columns: Mapping[str, str] | None = None,
        layouts: Mapping[str, Layout] | None = None,
        bag: str = BAG,
        availability: Availability = Availability.OFFLINE,
    ) -> None:
        """Raises InvalidRequest for what is no such file."""
        self.availability = availability
        self._place, self._shown, self._bag = place, shown_place(place), bag
        with (
            foreign(f"{self._shown} is no Avro file of features", TO_DO, *avro_errors()),
            place_told(place),
            opened(place) as file,
        ):
            try:
                read = read_avro(file)
            except NotAvro as error:
                raise InvalidRequest(f"{self._shown} is no Avro file of features: {error}; {INSTEAD}") from error
            said, schema = read.metadata, read.schema
            if not isinstance(schema, dict) or schema.get("type") != "record":
                raise TypeError("its values are no records")
            fields = {field["name"]: field["type"] for field in schema["fields"]}
            stored = {str(urn): str(name) for name, urn in json.loads(said.get(NAMES_KEY, b"{}")).items()}
        for name in (entity, bag):
            if name not in fields:
                raise InvalidRequest(
                    f"the records of {self._shown} have no field {name!r}; they have {', '.join(fields)}"
                )
        self._key_type = _key_type(fields[entity], entity)
        self._typed = TypedColumns(metadata, entity, {**stored, **(columns or {})}, dict(layouts or {}))
        self._says_names = bool(stored)
        told = column_names(metadata.urns)
        every = {str(urn): self._typed.columns.get(str(urn), told[str(urn)]) for urn in metadata.urns}
        self._names = {urn: name for urn, name in every.items() if not stored or urn in self._typed.columns}

    def __repr__(self) -> str:
        return f"AvroSource({self._shown!r})"

    def _found(self, urn: FeatureUrn | str) -> TensorType:
        """A file that others wrote does not say what is in it: there it has whatever is defined. Raises FeatureNotDefined."""
        kind = self._typed.metadata.tensor_type(urn)
        if str(kind.urn) not in self._names:
            raise FeatureNotDefined(f"{kind.urn} is not in {self._shown}; it has {', '.join(self._names)}")
        return kind

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Raises FeatureNotDefined, InvalidRequest."""
        kinds = [self.resolve(urn) for urn in urns]
        asked = asked_keys(keys, self._typed.entity, self._key_type)
        wanted = set(asked.to_pylist())
        found = list(islice((each for each in self._records() if each[self._typed.entity] in wanted), len(wanted) + 1))
        keys_found, *columns = self._columns(found, kinds, NamesMet())
        return answer(kinds, self._typed.schema(kinds, asked.type), asked, keys_found, columns)

    def batches(self, urns: Urns, met: NamesMet | None = None) -> Iterator[Any]:
        """All entities, as record batches of an answer; `met` notes what they have.

        A file of ours says which features it is of, also where no record has them. Raises FeatureNotDefined, InvalidRequest.
        """
        kinds = [self._found(urn) for urn in urns]
        met = NamesMet() if met is None else met
        if self._says_names:
            met.features.update(self._names)
        schema = self._typed.schema(kinds, self._key_type)
        records = self._records()
        while piece := list(islice(records, RECORDS_PER_BATCH)):
            yield pa.RecordBatch.from_arrays(self._columns(piece, kinds, met), schema=schema)

    def _records(self) -> Iterator[dict[str, Any]]:
        with (
            foreign(f"{self._shown} cannot be read to its end", TO_DO, *avro_errors()),
            place_told(self._place),
            opened(self._place) as file,
        ):
            yield from read_avro(file).records

    def _columns(self, records: list[dict[str, Any]], kinds: list[TensorType], met: NamesMet) -> list[Any]:
        """The keys, and a column for each kind."""
        bags: dict[str, list[list[tuple[str, Any]]]] = {
            self._names[str(kind.urn)]: [[] for _ in records] for kind in kinds
        }
        entity = self._typed.entity
        there = set[Any]()
        for row, record in enumerate(records):
            what = f"{self._shown}: the field {self._bag!r} of {record[entity]!r} is no list of names, terms and values"
            with foreign(what, "say `bag`, or write the file again"):
                for each in record[self._bag] or ():
                    there.add(each["name"])
                    if (bag := bags.get(each["name"])) is not None:
                        bag[row].append(_term_and_value(each))
        met.note(there, self._names)
        layouts = self._typed.layouts
        columns = [column_from(bags[self._names[str(kind.urn)]], kind, layouts.get(str(kind.urn))) for kind in kinds]
        with foreign(
            f"{self._shown}: the field {entity!r} is not {self._key_type} in each record", TO_DO, pa.ArrowException
        ):
            keys = conform_keys(pa.array([record[entity] for record in records], self._key_type), entity)
        return [keys, *columns]


def _schema(entity: str, key_type: str, bag: str) -> dict[str, Any]:
    """Photon ML's, with one key. Raises InvalidRequest for a name that Avro does not have."""
    for name in (entity, bag):
        check_field_name(name)
    if entity == bag:
        raise InvalidRequest(f"the entities and the features would both be the field {bag!r}; say another `bag`")
    triple = triple_schema("NameTermValue")
    fields = [{"name": entity, "type": key_type}, {"name": bag, "type": {"type": "array", "items": triple}}]
    return {"type": "record", "name": "Entity", "namespace": "ambry", "fields": fields}


def _key_type(there: Any, entity: str) -> Any:
    """Raises InvalidRequest."""
    kind = there["type"] if isinstance(there, dict) else there
    if kind in ("long", "int"):
        return pa.int64()
    if kind == "string":
        return pa.string()
    raise InvalidRequest(f"the field {entity!r} is {there}; a key is a long, an int or a string")


def _term_and_value(triple: Mapping[str, Any]) -> tuple[str, Any]:
    """Raises TypeError, LookupError for what is not of their types."""
    term, value = triple.get("term"), triple["value"]
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"the value {value!r} of {triple['name']} is no number")
    if term is not None and not isinstance(term, str):
        raise TypeError(f"the term {term!r} of {triple['name']} is no text")
    return term or "", value


def _and(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
    yield from rest
