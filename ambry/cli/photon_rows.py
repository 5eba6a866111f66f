"""The rows that `ambry photon` is given: Avro files of Photon's, or a typed snapshot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ambry.cli.arguments import ChosenCluster
from ambry.errors import InvalidRequest

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.photon.examples import Examples
    from ambry.ml.photon.snapshots import SnapshotColumns
    from ambry.ml.snapshots.reading import Snapshot

_BETWEEN_NAMES = re.compile(r",(?![^(]*\))")
"""A URN has commas of its own."""


def snapshot_among(data: Sequence[str]) -> str | None:
    """The snapshot that is meant, DATASET or DATASET@VERSION; None where files are. Raises InvalidRequest for both."""
    from ambry.ml.photon.named_columns import names_snapshot

    found = [each for each in data if names_snapshot(each)]
    if found and len(data) > 1:
        raise InvalidRequest(
            f"{found[0]} is a snapshot, and rows are read of one at a time; name it alone, or write the rows as Avro"
        )
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class SaidRows:
    """How rows are read. `bags` has the names of each shard with commas between them."""

    ids: tuple[str, ...]
    bags: Mapping[str, str]
    response: str | None = None
    labelled: bool = True

    @property
    def of_avro(self) -> dict[str, Any]:
        """As read_examples takes it."""
        return {"bags": self._shards, "ids": self.ids, "response": self.response, "labelled": self.labelled}

    def columns(self, snapshot: Snapshot) -> SnapshotColumns:
        """Raises InvalidRequest for what the snapshot has not."""
        from ambry.ml.photon.named_columns import named_columns

        return named_columns(snapshot, bags=self._shards, ids=self.ids, response=self.response, labelled=self.labelled)

    def read(self, cluster: ChosenCluster, data: Sequence[str]) -> Examples:
        """All rows, in memory. Raises InvalidRequest, BlobNotFound."""
        from ambry.ml.photon.reading import read_examples

        if (place := snapshot_among(data)) is None:
            return read_examples(list(data), **self.of_avro)
        with cluster.connect() as client:
            return self._of_snapshot(client, place)

    def _of_snapshot(self, client: AmbryClient, place: str) -> Examples:
        from ambry.ml.photon.examples import texts_of
        from ambry.ml.photon.snapshots import examples_in
        from ambry.ml.snapshots.reading import open_snapshot

        with open_snapshot(client, place) as snapshot:
            rows = examples_in(snapshot, self.columns(snapshot))
            if self.labelled:
                return rows
            keys = [key for batch in snapshot.batches([]) for key in batch.column(snapshot.about.entity).to_pylist()]
            return replace(rows, uids=tuple(texts_of(keys)))

    @property
    def _shards(self) -> dict[str, list[str]] | None:
        return {shard: _BETWEEN_NAMES.split(text) for shard, text in self.bags.items()} or None
