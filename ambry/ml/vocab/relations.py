"""Relations between titles: a list of typed edges as a version of a dataset, one Arrow file that anything reads.

    from      string      a title, or what people write for one
    to        string      a title of the vocabulary
    relation  string      alias, related, broader, or what you call it
    weight    float64     how sure, above 0

Sorted by from, relation and to, each of which together stands once: the same edges are the same file.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, BlobNotFound, DataCorrupt, InvalidRequest, UpdateConflict
from ambry.ml.datasets import check_schema, dataset_for
from ambry.ml.digests import check_digest, digest_key, located
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.publishing import load
from ambry.ml.features.urn import Reference
from ambry.ml.features.vocabulary import Vocabulary
from ambry.ml.from_cache import used_at_once
from ambry.ml.places import dataset_text, in_dataset, shown_version
from ambry.ml.vocab.proposals import the_dimension
from ambry.rest.versions import is_outrun

ALIAS = "alias"
"""What people write for a title of the vocabulary."""
CONTENT_TYPE = "application/vnd.apache.arrow.file"
DIGEST_KEY = digest_key("relations")
"""In the metadata of a version."""
EDGES_MAX = 10_000_000
FILE_SIZE_MAX = 1 << 30
"""Bytes."""
TEXT_CHARACTERS_MAX = 1_000
_SCHEMA = pa.schema(
    [
        pa.field("from", pa.string(), nullable=False),
        pa.field("to", pa.string(), nullable=False),
        pa.field("relation", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)
_TRIES_MAX = 20


@dataclass(frozen=True, slots=True)
class TitleRelation:
    """One edge."""

    source: str
    target: str
    relation: str = ALIAS
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        for text in (self.source, self.target, self.relation):
            if not text or text != text.strip() or not text.isprintable():
                raise InvalidRequest(
                    f"{text!r} is no title and no relation; take printable text without spaces around it"
                )
            if len(text) > TEXT_CHARACTERS_MAX:
                raise InvalidRequest(f"{text[:40]!r}... has {len(text)} characters, more than {TEXT_CHARACTERS_MAX}")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise InvalidRequest(
                f"the weight of {self.source!r} -> {self.target!r} is a number above 0, not {self.weight}"
            )


@dataclass(frozen=True, slots=True)
class TitleRelations:
    """A version of them."""

    place: VersionRef
    edges: tuple[TitleRelation, ...]

    def __str__(self) -> str:
        return shown_version(self.place)

    def pairs(self, relation: str = ALIAS) -> list[tuple[str, str]]:
        """From and to of one relation."""
        return [(edge.source, edge.target) for edge in self.edges if edge.relation == relation]


def relations_of(client: AmbryClient, place: VersionRef | str) -> TitleRelations:
    """The newest, or those of `NAME@3`, `NAME@alias` or `NAME@sha256:DIGEST`, of the file.

    Raises BlobNotFound, ChecksumMismatch, DataCorrupt for what are none.
    """
    said = located(client, place)
    info = client.head(said)
    exact = VersionRef(said.dataset, info.version, said.account, said.container)
    if info.size > FILE_SIZE_MAX:
        raise DataCorrupt(f"{shown_version(exact)} has {info.size} bytes; relations have at most {FILE_SIZE_MAX}")
    # Into memory, and validated: in a mapped file an offset that leads nowhere would end the process.
    data = used_at_once(client, exact, Path.read_bytes)
    check_digest(exact, hashlib.sha256(data).hexdigest(), place)
    try:
        with pa.ipc.open_file(data) as reader:
            if reader.schema != _SCHEMA:
                raise DataCorrupt(
                    f"{shown_version(exact)} has other columns than relations have: {reader.schema.names}"
                )
            table = reader.read_all()
        table.validate(full=True)
        columns: list[list[Any]] = [column.to_pylist() for column in table.columns]
        edges = tuple(TitleRelation(*edge) for edge in zip(*columns, strict=True))
    except DataCorrupt:
        raise
    except (pa.ArrowException, InvalidRequest, OSError, ValueError, TypeError) as error:
        raise DataCorrupt(f"{shown_version(exact)} are no relations: {error}") from error
    return TitleRelations(exact, edges)


def add_relations(
    client: AmbryClient,
    dataset: str,
    edges: Iterable[TitleRelation],
    *,
    definitions: str = "",
    dimension: Reference | str = "",
) -> TitleRelations:
    """Make the next version: the edges that there are and these, of which the later weight counts. Durable on return.

    The dataset is made if there is none. With `definitions` every target has to be in the vocabulary of `dimension`. On top of
    what others add meanwhile; where nothing is new, no version is made. Raises InvalidRequest, UpdateConflict.
    """
    added = list(edges)
    if definitions:
        _check_targets(added, vocabulary_of(load(client, definitions).metadata, dimension))
    place = in_dataset(dataset)
    for _ in range(_TRIES_MAX):
        before = _newest(client, dataset)
        kept = {(edge.source, edge.relation, edge.target): edge for edge in (*(before.edges if before else ()), *added)}
        merged = tuple(kept[key] for key in sorted(kept))
        if len(merged) > EDGES_MAX:
            raise InvalidRequest(f"{len(merged)} relations are more than {EDGES_MAX}")
        if before is not None and merged == before.edges:
            return before
        number = "1" if before is None else str(int(before.place.version) + 1)
        try:
            file = _encoded(merged)
            told = {DIGEST_KEY: hashlib.sha256(file).hexdigest()}
            client.put_version(
                dataset_text(place), file, number, content_type=CONTENT_TYPE, metadata=told, filename="relations.arrow"
            )
        except (AlreadyExists, UpdateConflict):
            continue
        return TitleRelations(VersionRef(place.dataset, number, place.account, place.container), merged)
    raise UpdateConflict(is_outrun(dataset))


def vocabulary_of(metadata: FeatureMetadata, dimension: Reference | str) -> Vocabulary:
    """That of a dimension whose name may be short. Raises InvalidRequest."""
    return metadata.vocabulary(the_dimension(metadata, dimension))


def _check_targets(edges: Iterable[TitleRelation], vocabulary: Vocabulary) -> None:
    if strange := sorted({edge.target for edge in edges if edge.target not in vocabulary.id_of}):
        raise InvalidRequest(f"the vocabulary does not have {', '.join(map(repr, strange[:3]))}; propose it first")


def _newest(client: AmbryClient, dataset: str) -> TitleRelations | None:
    """None where there is no version yet; the dataset is there then."""
    try:
        return relations_of(client, dataset)
    except BlobNotFound:
        pass
    check_schema(dataset_for(client, dataset, "MONOTONIC", "relations"), "MONOTONIC", "relations")
    return None


def _encoded(edges: tuple[TitleRelation, ...]) -> bytes:
    columns = [
        [edge.source for edge in edges],
        [edge.target for edge in edges],
        [edge.relation for edge in edges],
        [edge.weight for edge in edges],
    ]
    table = pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_table(table)
    return sink.getvalue()
