"""The rows that `ambry photon` is given: Avro files of Photon's, or a typed snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import ChosenCluster, as_pairs
from ambry.errors import InvalidRequest

if TYPE_CHECKING:
    from ambry.ml.photon.examples import Examples
    from ambry.ml.photon.models import PhotonModel
    from ambry.ml.photon.snapshots import SnapshotColumns
    from ambry.ml.snapshots.reading import Snapshot
    from ambry.ml.stored_files import FileOfStore

_BETWEEN_NAMES = re.compile(r",(?![^(]*\))")
"""A URN has commas of its own."""


RESPONSE = click.option(
    "--response", metavar="FIELD", help="The field, or feature, with the response.  [default: response, or label]"
)
BAGS = click.option(
    "--bag",
    "bags",
    metavar="SHARD=FIELD[,FIELD]",
    callback=as_pairs,
    multiple=True,
    help="The fields, or features of a snapshot, of a shard; may be repeated.  [default: features=features, or all the rest]",
)
WEIGHT = click.option(
    "--weight",
    metavar="FIELD",
    help="The field, or feature, that rows weigh; an empty name is none.  [default: weight, where it is in no --bag]",
)
OFFSET = click.option(
    "--offset",
    metavar="FIELD",
    help="The field, or feature, that is added to scores; an empty name is none.  [default: offset, where it is in no --bag]",
)


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
    beside: tuple[str, ...] = ()
    """Of rows that are to be scored: what is no feature, as far as it is there."""
    weight: str | None = None
    offset: str | None = None
    """None is what is called so; an empty name is none."""

    @classmethod
    def to_score(
        cls, model: PhotonModel, bags: Mapping[str, str], response: str | None, offset: str | None
    ) -> SaidRows:
        """Of a model, which may say what of its rows was no feature. What it has a coefficient for is one."""
        from ambry.ml.photon.reading import RESPONSES

        beside = {*(model.observed or RESPONSES)} - model.feature_names | ({response} if response else set())
        weight = "" if "weight" in model.feature_names else None
        if offset is None and "offset" in model.feature_names:
            offset = ""
        return cls(model.entity_kinds, bags, labelled=False, beside=tuple(sorted(beside)), weight=weight, offset=offset)

    def observed(self, model: PhotonModel) -> tuple[str, ...]:
        """What of these rows is no feature to a model that was trained on them."""
        from ambry.ml.photon.reading import RESPONSES

        responses = (self.response,) if self.response else RESPONSES
        numbers = (name for name in self.numbers.values() if name)
        return tuple(
            dict.fromkeys((*responses, *numbers, *(each for each in self.ids if each not in model.entity_kinds)))
        )

    @property
    def numbers(self) -> dict[str, str | None]:
        """What the weight and the offset are said to be."""
        return {"weight": self.weight, "offset": self.offset}

    @property
    def of_avro(self) -> dict[str, Any]:
        """As read_examples takes it."""
        numbers = {what: what if name is None else name for what, name in self.numbers.items()}
        return {
            "bags": self._shards, "ids": self.ids, "response": self.response, "labelled": self.labelled, **numbers
        }  # fmt: skip

    @contextmanager
    def opened(self, cluster: ChosenCluster, data: Sequence[str]) -> Iterator[OpenRows]:
        """What is to be read, settled before anything is: of a snapshot one version, also where an alias moves on meanwhile.

        Raises InvalidRequest for what the snapshot has not, BlobNotFound.
        """
        from ambry.ml.photon.named_columns import named_columns
        from ambry.ml.place_errors import file_or_version
        from ambry.ml.places import shown_version
        from ambry.ml.snapshots.reading import open_snapshot
        from ambry.ml.sources.settled import settled_files

        if (place := snapshot_among(data)) is None:
            yield OpenRows(settled_files(data, cluster.storage_options), self)
            return
        with ExitStack() as opened:
            client = opened.enter_context(cluster.connect())
            with file_or_version(place):
                snapshot = opened.enter_context(open_snapshot(client, place))
            columns = named_columns(
                snapshot,
                bags=self._shards,
                ids=self.ids,
                response=self.response,
                labelled=self.labelled,
                beside=self.beside,
                **self.numbers,
            )
            yield OpenRows((shown_version(snapshot.place),), self, snapshot, columns)

    @property
    def _shards(self) -> dict[str, list[str]] | None:
        return {shard: _BETWEEN_NAMES.split(text) for shard, text in self.bags.items()} or None


@dataclass(frozen=True, slots=True)
class OpenRows:
    """Rows that can be read. `data` are as they were said, files of the store as they are now, and a snapshot by its number."""

    data: tuple[str | FileOfStore, ...]
    said: SaidRows
    snapshot: Snapshot | None = None
    columns: SnapshotColumns | None = None
    """Of the snapshot, where there is one."""

    @property
    def taken(self) -> list[str]:
        """What of a snapshot is no feature because of its name alone, as sentences."""
        if self.columns is None:
            return []
        found = {"weight": self.columns.weight, "offset": self.columns.offset}
        does = {"weight": "is what rows weigh", "offset": "is added to scores"}
        return [
            f"the feature {self.columns.kinds[column].urn} {does[what]}, and no feature to the model; "
            f"--{what} says another one, and --{what} '' none"
            for what, column in found.items()
            if column is not None and self.said.numbers[what] is None
        ]

    def read(self) -> Examples:
        """All rows, in memory; those of a snapshot without a response are called by its entities.

        Raises InvalidRequest, BlobNotFound.
        """
        from ambry.ml.photon.examples import texts_of
        from ambry.ml.photon.reading import read_examples
        from ambry.ml.photon.snapshots import examples_in

        if self.snapshot is None or self.columns is None:
            return read_examples(list(self.data), **self.said.of_avro)
        rows, entity = examples_in(self.snapshot, self.columns), self.snapshot.about.entity
        if self.said.labelled:
            return rows
        keys = [key for batch in self.snapshot.batches([]) for key in batch.column(entity).to_pylist()]
        return replace(rows, uids=tuple(texts_of(keys)))
