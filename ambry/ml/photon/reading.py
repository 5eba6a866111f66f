"""Training data of Photon's: Avro records with bags of (name, term, value), into sparse rows.

    {"uid": "17", "response": 1.0, "offset": 0.0, "weight": 1.0, "metadataMap": {"memberId": "42"},
     "features": [{"name": "age", "term": "", "value": 31.0}, ...]}

The response is called `response` or `label`. An id is a field of the record, or of its metadataMap. A term that is missing or
null is empty. What is null of offset and weight is 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.avro_reading import avro_errors
from ambry.ml.files import written
from ambry.ml.listed import listed
from ambry.ml.photon.avro_files import TO_DO, avro_records, container, encoder
from ambry.ml.photon.examples import SHARD, Examples, FeatureIndex, Shard, ShardBuilder, feature_of, texts_of
from ambry.ml.sources.first_version import files_at
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.name_term_value import check_field_name, triple_schema
from ambry.ml.stored_files import FilePlace
from ambry.shown_urls import shown_place

RESPONSES = ("response", "label")
METADATA = "metadataMap"
NO_ROWS = (
    "rows are Avro files or a snapshot, which `ambry snapshot write` makes of CSV and Parquet: number the rows in a "
    "column, which is its --entity, and define whom they are of as a STRING feature"
)


def read_examples(
    places: FilePlace | Sequence[FilePlace],
    *,
    bags: Mapping[str, Sequence[str]] | None = None,
    ids: Iterable[str] = (),
    response: str | None = None,
    weight: str = "weight",
    offset: str = "offset",
    uid: str = "uid",
    indexes: Mapping[str, FeatureIndex] | None = None,
    labelled: bool = True,
    unnamed: Callable[[int], str] = str,
) -> Examples:
    """Rows of Avro files, by path or URL; a directory stands for the files in it that end in .avro.

    `bags` are the fields with the features of each shard, by its name; without it the field `features` is the shard `features`.
    `indexes` fix the columns, as of a model that is to score: other features are left out. Without `labelled` a response may be
    missing. An empty name of the weight, or of the offset, is none. `unnamed` is the uid of a row without one, by its place.
    Raises InvalidRequest with the record for what is not as Photon writes it.
    """
    shards = {SHARD: [SHARD]} if bags is None else {name: list(fields) for name, fields in bags.items()}
    builders = {name: ShardBuilder((indexes or {}).get(name)) for name in shards}
    wanted = list(ids)
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    numbers: list[tuple[float, float, float]] = []
    uids: list[str] = []
    for place in files_at(places):
        with avro_records(place, NO_ROWS) as (schema, records):
            fields = [each["name"] for each in schema["fields"]]
            shown = shown_place(place)
            names = _Names(fields, shown, response, weight, offset, labelled)
            names.check([bag for bags in shards.values() for bag in bags])
            for number, record in enumerate(records):
                with foreign(f"{shown}, record {number}", TO_DO, *avro_errors()):
                    numbers.append(names.numbers(record))
                    for name, builder in builders.items():
                        builder.add(chain.from_iterable(_triples(record[bag], bag) for bag in shards[name]))
                    for name in wanted:
                        columns[name].append(names.id(record, name, number))
                    told = record.get(uid)
                    uids.append(unnamed(len(uids)) if told is None else _id(told, f"uid {uid!r}"))
    found = np.array(numbers, dtype=np.float64).reshape(-1, 3)
    return Examples(
        shards={name: builder.build() for name, builder in builders.items()},
        response=found[:, 0],
        weight=found[:, 1],
        offset=found[:, 2],
        ids={name: texts_of(values) for name, values in columns.items()},
        uids=tuple(uids),
    )


def write_examples(place: Path, examples: Examples) -> None:
    """Rows as a file of Photon's, each shard a field; whole or not there. Raises InvalidRequest for names that Avro lacks."""
    for name in (*examples.shards, *examples.ids):
        check_field_name(name)
    triple = triple_schema("FeatureAvro", namespace="com.linkedin.photon.avro.generated")
    bags: list[dict[str, Any]] = []
    for place_of, name in enumerate(examples.shards):
        bags.append({"name": name, "type": {"type": "array", "items": "FeatureAvro" if place_of else triple}})
    optional = [
        {"name": "weight", "type": ["null", "double"], "default": None},
        {"name": "offset", "type": ["null", "double"], "default": None},
        {"name": METADATA, "type": ["null", {"type": "map", "values": "string"}], "default": None},
    ]
    schema = {
        "type": "record",
        "name": "TrainingExampleAvro",
        "namespace": "com.linkedin.photon.avro.generated",
        "fields": [
            {"name": "uid", "type": ["null", "string"], "default": None},
            {"name": "response", "type": "double"},
            *bags,
            *optional,
        ],
    }
    encode = encoder(schema)
    rows = zip(*(_bags(shard) for shard in examples.shards.values()), strict=True) if examples.shards else iter(())
    records = (
        encode(
            {
                "uid": examples.uids[row] if examples.uids else str(row),
                "response": float(examples.response[row]),
                **dict(zip(examples.shards, told, strict=True)),
                "weight": float(examples.weight[row]),
                "offset": float(examples.offset[row]),
                METADATA: {name: found[row] for name, found in examples.ids.items()},
            }
        )
        for row, told in enumerate(rows)
    )
    data, _ = container(schema, records)
    with written(place) as file:
        file.write(data)


def _bags(shard: Shard) -> Iterator[list[dict[str, Any]]]:
    matrix, features = shard.matrix, shard.index.features
    for start, end in zip(matrix.indptr[:-1].tolist(), matrix.indptr[1:].tolist(), strict=True):
        yield [
            {"name": features[column][0], "term": features[column][1], "value": value}
            for column, value in zip(matrix.indices[start:end].tolist(), matrix.data[start:end].tolist(), strict=True)
        ]


class _Names:
    """Which fields of a record are what."""

    def __init__(
        self, fields: list[str], place: str, response: str | None, weight: str, offset: str, labelled: bool
    ) -> None:
        self._fields, self._place, self._labelled = fields, place, labelled
        self._weight, self._offset = weight, offset
        self._response = response or next((name for name in RESPONSES if name in fields), None)

    def check(self, bags: list[str]) -> None:
        """Raises InvalidRequest for a field that is not there."""
        if self._response is None and self._labelled:
            raise InvalidRequest(
                f"the records of {self._place} have neither response nor label; say which field it is with "
                f"--response, in Python `response`: one of {listed(self._fields)}"
            )
        asked = [*bags, *([self._response] if self._labelled and self._response else [])]
        # What they are called by themselves may be away.
        asked += [name for name in (self._weight, self._offset) if name not in ("", "weight", "offset")]
        missing = next((name for name in asked if name not in self._fields), None)
        if missing is not None:
            raise InvalidRequest(
                f"the records of {self._place} have no field {missing!r}; they have {listed(self._fields)}"
            )

    def numbers(self, record: dict[str, Any]) -> tuple[float, float, float]:
        """Response, weight and offset."""
        told = record.get(self._response) if self._response else None
        if told is None and self._labelled:
            raise ValueError("it has no response")
        weight, offset = record.get(self._weight), record.get(self._offset)
        return (
            np.nan if told is None else _number(told, "response"),
            1.0 if weight is None else _number(weight, "weight"),
            0.0 if offset is None else _number(offset, "offset"),
        )

    def id(self, record: dict[str, Any], name: str, number: int) -> str:
        """Raises InvalidRequest where it has none, TypeError for what is none."""
        told, more = record.get(name), record.get(METADATA) or {}
        if told is None:
            told = more.get(name)
        if told is None:
            there = listed([*more, *(field for field in self._fields if isinstance(record.get(field), str | int))])
            raise InvalidRequest(
                f"{self._place}, record {number}: it has no id {name!r}, neither as a field nor in {METADATA}; what could "
                f"be one there is {there or 'nothing'}"
            )
        return _id(told, f"id {name!r}")


def _triples(bag: Any, name: str) -> Iterator[tuple[tuple[str, str], float]]:
    for each in bag or ():
        value = each["value"]
        yield feature_of(each), _number(value, f"value of {each['name']!r} in {name!r}")


def _id(value: Any, what: str) -> str:
    """Raises TypeError for what is neither a text nor a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"the {what} is {value!r}, and neither a text nor a whole number")
    return str(value)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) and what == "response":
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"the {what} is {value!r}, and no number")
    return float(value)
