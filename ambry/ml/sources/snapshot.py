"""Features out of a snapshot of the store: ranges of its blob, or the mapped file once it was fetched."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import Availability
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.places import shown_version
from ambry.ml.snapshots.asked import urn_list
from ambry.ml.snapshots.reading import Snapshot
from ambry.ml.snapshots.schema import ENTITY_KEY, column_names
from ambry.ml.sources.answers import Keys, Urns, asked_keys
from ambry.ml.sources.reader import StoredFeatures


class SnapshotSource(StoredFeatures):
    """A tensor lies as its snapshot has it, dense or sparse. The snapshot stays the caller's, who closes it.

    It serves both sides, from the cache or by ranges, unless `availability` says which.
    """

    def __init__(self, snapshot: Snapshot, *, availability: Availability = Availability.BOTH) -> None:
        self.snapshot = snapshot
        self.availability = availability

    def __repr__(self) -> str:
        return f"SnapshotSource({shown_version(self.snapshot.place)})"

    def _found(self, urn: FeatureUrn | str) -> TensorType:
        """Raises FeatureNotDefined."""
        return self.snapshot.resolve(urn)

    def read(self, urns: Urns, keys: Keys) -> Any:
        """Raises FeatureNotDefined, InvalidRequest."""
        known = [self.resolve(urn).urn for urn in urn_list(urns)]
        entity = self.snapshot.schema.field(0)
        table = self.snapshot.read(known, asked_keys(keys, entity.name, entity.type))
        names = column_names(known)
        fields = [table.schema.field(0)]
        for urn, each in zip(known, list(table.schema)[1:], strict=True):
            fields.append(each.with_name(names[str(urn)]))
        schema = pa.schema(fields, {ENTITY_KEY: entity.name.encode()})
        return pa.Table.from_arrays(table.columns, schema=schema)
