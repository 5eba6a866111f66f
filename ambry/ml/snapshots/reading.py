"""Snapshots are read: whole out of the cache without a copy, or a few entities by the ranges that they lie in.

What a snapshot is never changes, so it is looked up once, when it is opened; everything after that is the same version, also
while LATEST or an alias moves on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ambry.client.model import BlobInfo
from ambry.client.refs import VersionRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ml.datasets import check_schema
from ambry.ml.digests import located
from ambry.ml.features.axes import TensorType
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.publishing import load
from ambry.ml.features.urn import FeatureUrn, parse_urn
from ambry.ml.places import dataset_text, shown_version
from ambry.ml.snapshots.arrays import RowReader, check_width, view_of
from ambry.ml.snapshots.asked import check_keys, urn_list
from ambry.ml.snapshots.columns import conform_keys
from ambry.ml.snapshots.contents import content_of
from ambry.ml.snapshots.defaults import filled
from ambry.ml.snapshots.described import type_of
from ambry.ml.snapshots.grown import brought, check_stored
from ambry.ml.snapshots.schema import SnapshotAbout, about_of, columns_of, feature_field, layout_there
from ambry.ml.snapshots.writing import FORMAT_KEY, INDEX_KEY, SCHEMA, version_at
from ambry.tensors.frameworks import framework_of, shared

Keys = Sequence[int] | Sequence[str] | Any
"""Entities: numbers or texts, as a list, a numpy array or an Arrow array."""


def open_snapshot(
    client: AmbryClient,
    place: VersionRef | str,
    *,
    as_of: datetime | None = None,
    metadata: FeatureMetadata | None = None,
) -> Snapshot:
    """A snapshot by its version (`NAME`, `NAME@1764280000000`, `NAME@alias`), or the newest one of `as_of` or before.

    `metadata` are the definitions where the snapshot does not say where its own were published. Raises BlobNotFound,
    InvalidRequest for a version that is no snapshot.
    """
    place = located(client, place)
    if as_of is not None:
        place = version_as_of(client, place, as_of)
    info = client.head(place)
    if FORMAT_KEY not in info.metadata and INDEX_KEY not in info.metadata:
        raise InvalidRequest(f"{place} is no snapshot of features")
    return Snapshot(client, replace(place, version=info.version), info, metadata)


class Snapshot:
    """One snapshot. Usable by threads. Close it, or use it in a `with`: what is mapped is let go then."""

    def __init__(
        self, client: AmbryClient, place: VersionRef, info: BlobInfo, metadata: FeatureMetadata | None = None
    ) -> None:
        self._client = client
        self._metadata = metadata
        self._content = content_of(client, place, info)
        self._kinds: dict[str, TensorType] = {}
        self._fields: dict[str, Any] = {}
        self.place = place
        self.info = info

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go what is mapped; arrays over it keep it alive."""
        self._content.close()

    def __repr__(self) -> str:
        return f"<Snapshot {shown_version(self.place)}>"

    @property
    def schema(self) -> Any:
        """The pyarrow Schema."""
        return self._content.schema

    @cached_property
    def about(self) -> SnapshotAbout:
        """Of which point in time it is, and of which definitions."""
        return about_of(self.schema)

    @cached_property
    def _columns(self) -> dict[str, str]:
        return columns_of(self.schema)

    @property
    def urns(self) -> list[FeatureUrn]:
        """Its features."""
        return list(self._urns)

    @cached_property
    def _urns(self) -> tuple[FeatureUrn, ...]:
        return tuple(FeatureUrn.parse(urn) for urn in self._columns)

    @property
    def rows(self) -> int:
        """How many entities there are."""
        return self._content.rows

    @property
    def batch_count(self) -> int:
        """How many record batches; of Parquet, row groups."""
        return self._content.batch_count

    @cached_property
    def metadata(self) -> FeatureMetadata:
        """The definitions that it was written by. Raises BlobNotFound where they are not there, ChecksumMismatch."""
        if self._metadata is not None:
            return self._metadata
        if not self.about.definitions:
            raise InvalidRequest(f"{self!r} does not say where its definitions are; say `metadata` when it is opened")
        return load(self._client, self.about.definitions, digest=self.about.digest).metadata

    def resolve(self, urn: FeatureUrn | str) -> TensorType:
        """What a feature of it is, by its definitions or later ones, whose vocabularies may have more names than its tensors.

        Raises FeatureNotDefined for one that it has not, InvalidRequest where the definitions have it of another type.
        """
        found = self._kinds.get(str(urn))
        if found is None:
            column = self.column(urn)
            found = self.metadata.tensor_type(urn)
            check_stored(found, self.schema.field(column))
            self._fields[str(urn)] = _field_of(found, self.schema.field(column))
            self._kinds[str(urn)] = found
        return found

    def column(self, urn: FeatureUrn | str) -> str:
        """What the column of a feature is called. Raises FeatureNotDefined."""
        urn = parse_urn(urn, self._urns) if isinstance(urn, str) else urn
        columns = self._columns
        if str(urn) not in columns:
            raise FeatureNotDefined(f"{urn} is not in {self!r}; it has {', '.join(columns)}")
        return columns[str(urn)]

    # --- whole ---

    def fetch(self) -> Self:
        """Bring the whole into the cache, if it is not there, and map it; `read` asks nobody any more then."""
        self._content.fetch()
        return self

    def table(self, urns: Iterable[FeatureUrn | str] | None = None) -> Any:
        """All entities, with all features or these, as a pyarrow Table. Of Arrow no byte is copied."""
        return pa.Table.from_batches(list(self.batches(urns)), self._selected(urns))

    def batches(self, urns: Iterable[FeatureUrn | str] | None = None) -> Iterator[Any]:
        """The record batches, over the mapped file; of Parquet, each row group when it is its turn."""
        return self._content.batches(self._selected(urns).names)

    # --- as arrays ---

    def arrays(self, urn: FeatureUrn | str, framework: str = "numpy") -> list[Any]:
        """A feature as arrays of (rows, *shape), one for each batch, over the mapped file.

        Of numpy they are not to be written. torch, jax and tensorflow have a mapping of their own for each call: what is
        written there changes those arrays alone. jax and tensorflow copy a batch that does not lie at a multiple of 64 bytes
        (aligned.py): the last one often, others where `rows_per_batch` is no multiple of 512.

        Rows without a value hold what `reader` gives for them: the default, or NaN, 0, False; a feature with such rows has a
        mapping of its own for numpy, too. Booleans that are scalars are copied, of which eight are one byte, and so is what has
        another width than the definitions say (grown.py).
        Raises InvalidRequest for a feature whose rows are not all of the same width, ModuleNotFoundError.
        """
        wanted = framework_of(framework)
        kind, name = self._of_one_width(urn)
        if wanted == "numpy":
            columns = [batch.column(name) for batch in self.batches([urn])]
            if not any(column.null_count for column in columns):
                return [view_of(brought(column, kind), kind) for column in columns]
        return [shared(wanted, own) for own in self._content.own_views(name, kind)]

    def reader(self, urns: Iterable[FeatureUrn | str]) -> RowReader:
        """What reads these features of fetched entities by key, as numpy arrays, a hundred times faster than `read`.

        Raises InvalidRequest for a feature whose rows are not all of the same width.
        """
        known = [self._of_one_width(urn) for urn in urn_list(urns)]
        kinds, names = [kind for kind, _ in known], [name for _, name in known]
        batches = self.batches([kind.urn for kind in kinds])
        return RowReader(kinds, names, self.about.entity, self.schema, batches)

    def _of_one_width(self, urn: FeatureUrn | str) -> tuple[TensorType, str]:
        name, kind = self.column(urn), self.resolve(urn)
        check_width(kind, self.schema.field(name).type)
        return kind, name

    # --- by key ---

    def read(self, urns: Iterable[FeatureUrn | str], keys: Keys) -> Any:
        """Features of some entities, as a pyarrow Table with the entity and a column for each feature, in the order of `keys`.

        An entity that is not there has each feature's default, or null. Where the snapshot was not fetched, the ranges of its
        batches are read, neighbours in one. Raises FeatureNotDefined, InvalidRequest for keys of another type.
        """
        urns = urn_list(urns)
        check_keys(keys)
        schema = self._selected(urns)
        asked = conform_keys(keys, self.about.entity)
        if not len(asked):
            # No keys are of any type.
            asked = asked.cast(schema.field(0).type)
        if asked.type != schema.field(0).type:
            raise InvalidRequest(f"the entities of {self!r} are {schema.field(0).type}, and the keys {asked.type}")
        wanted = asked.to_numpy(zero_copy_only=False)
        found = pa.Table.from_batches(self._content.batches_with(wanted, schema.names), schema)
        place = _places(found.column(0), wanted)
        columns, fields = [asked], [schema.field(0)]
        for urn, name in zip(urns, schema.names[1:], strict=True):
            kind = self.resolve(urn)
            columns.append(filled(brought(found.column(name).combine_chunks().take(place), kind), kind))
            fields.append(self._fields[str(urn)])
        return pa.Table.from_arrays(columns, schema=pa.schema(fields, schema.metadata))

    def _selected(self, urns: Iterable[FeatureUrn | str] | None) -> Any:
        """The schema of the entity and these features. Raises FeatureNotDefined."""
        if urns is None:
            return self.schema
        fields = [
            self.schema.field(self.about.entity),
            *(self.schema.field(self.column(urn)) for urn in urn_list(urns)),
        ]
        return pa.schema(fields, self.schema.metadata)


def _field_of(kind: TensorType, stored: Any) -> Any:
    """The field of an answer: as it was written, unless a vocabulary has another size by the definitions."""
    field = feature_field(kind, stored.name, layout_there(stored.type))
    one, other = type_of(field), type_of(stored)
    return stored if one and other and one.sized == other.sized else field


def _places(entities: Any, wanted: Any) -> Any:
    """Where each of `wanted` stands among the sorted `entities`; null where it does not."""
    keys = entities.to_numpy()
    if not len(keys):
        return pa.nulls(len(wanted), pa.int64())
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return pa.array(places, pa.int64(), mask=np.asarray(keys[places] != wanted, dtype=bool))


def version_as_of(client: AmbryClient, place: VersionRef, time: datetime) -> VersionRef:
    """The newest snapshot of `time` or before, of the dataset of `place`.

    Raises BlobNotFound, InvalidRequest for a dataset whose versions are no points in time.
    """
    limit = int(version_at(time))
    dataset = dataset_text(place)
    check_schema(client.dataset(dataset), SCHEMA, "snapshots")
    numbers = [number for entry in client.versions(dataset) if (number := int(entry.version)) <= limit]
    if not numbers:
        raise BlobNotFound(f"there is no version of {dataset!r} of {time.isoformat()} or before")
    return replace(place, version=str(max(numbers)))
