# Generated from ambry/client/aio/datasets.py by `make sync-client`; change that file, not this one.
"""Datasets and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Unpack

from ambry.client import wire
from ambry.client.model import BlobInfo, BlobSource, Progress, Timeout, TransferConfig
from ambry.client.refs import LATEST
from ambry.client.sync.blobs import SyncBlobs
from ambry.client.sync.pager import Pager
from ambry.durability import Durability
from ambry.errors import AlreadyExists, BlobNotFound

if TYPE_CHECKING:
    from ambry.client.datasets import DatasetChange, DatasetInfo, VersionEntry


class SyncDatasets(SyncBlobs):
    """The calls on datasets: those of the client's container, or of another by ambry://<account>/<container>/<dataset>."""

    def create_dataset(
        self,
        name: str,
        schema: str = "SEMANTIC",
        *,
        timeout: Timeout | None = None,
        **settings: Unpack[DatasetChange],
    ) -> DatasetInfo:
        """Make one, whose versions are of a `schema` for ever: TIMESTAMP, MONOTONIC, SEMANTIC (1.2.3) or SEMANTIC_LONG.

        Raises AlreadyExists.

        >>> dataset = client.create_dataset("fraud", retention_count=10)
        >>> dataset.schema
        'SEMANTIC'
        """
        from ambry.client.datasets import holds

        place = self._dataset(name)
        try:
            return self._ask(*wire.datasets.save_request(place, schema, settings), wire.datasets.parse_dataset, timeout)
        except AlreadyExists as error:
            # A repetition finds what its first try made.
            if error.repeated and holds(found := self.dataset(name, timeout=timeout), schema, settings):
                return found
            error.message = (
                f"there is a dataset {place.dataset!r} already; update_dataset (`ambry dataset retention`) changes it"
            )
            raise

    def dataset(self, name: str, *, timeout: Timeout | None = None) -> DatasetInfo:
        """What holds for one. Raises BlobNotFound.

        >>> made = client.create_dataset("shown", "MONOTONIC")
        >>> dataset = client.dataset("shown")
        >>> dataset.name, dataset.schema
        ('shown', 'MONOTONIC')
        """
        return self._ask(wire.datasets.show_request(self._dataset(name)), None, wire.datasets.parse_dataset, timeout)

    def datasets(self, *, newest: bool = False, timeout: Timeout | None = None) -> Pager[DatasetInfo]:
        """Those of the client's container, by name; with `newest`, each with its newest version, its id and size.

        >>> made = client.create_dataset("listed")
        >>> "listed" in [dataset.name for dataset in client.datasets()]
        True
        """
        return Pager(
            self, partial(wire.datasets.list_request, self._prefix(""), newest), wire.datasets.parse_datasets, timeout
        )

    def update_dataset(
        self, name: str, *, timeout: Timeout | None = None, **settings: Unpack[DatasetChange]
    ) -> DatasetInfo:
        """Change what is said; the rest stays. Raises BlobNotFound.

        >>> made = client.create_dataset("updated")
        >>> dataset = client.update_dataset("updated", retention_count=3)
        >>> dataset.retention_count
        3
        """
        request = wire.datasets.save_request(self._dataset(name), None, settings)
        return self._ask(*request, wire.datasets.parse_dataset, timeout)

    def delete_dataset(self, name: str, *, missing_ok: bool = True, timeout: Timeout | None = None) -> None:
        """Delete one that has no versions (UpdateConflict). Raises BlobNotFound unless `missing_ok`.

        >>> made = client.create_dataset("deleted")
        >>> client.delete_dataset("deleted")
        """
        try:
            self._simple(wire.datasets.delete_request(self._dataset(name)), timeout)
        except BlobNotFound as error:
            if not missing_ok and not error.repeated:
                raise

    def put_version(
        self,
        dataset: str,
        data: BlobSource,
        version: str = LATEST,
        *,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        size: int | None = None,
        checksum: str | None = None,
        filename: str | None = None,
        durability: Durability | str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
        transfer: TransferConfig | None = None,
        timeout: Timeout | None = None,
    ) -> BlobInfo:
        """Store a new version, as `put` does; the result says which it is.

        `version` is its number, or what it raises: LATEST (the last part), MAJOR, MINOR, PATCH or REVISION. Raises
        AlreadyExists for a number that was given, UpdateConflict for one that is too low. All tries of this call make one
        version, if the body can be had again.

        >>> made = client.create_dataset("versioned")
        >>> first = client.put_version("versioned", b"weights", "1.0.0")
        >>> second = client.put_version("versioned", b"more weights", "MINOR")
        >>> second.version
        '1.1.0'
        """
        return self._put(
            data,
            self._dataset(dataset, version),
            if_absent=False,
            if_match=None,
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            size=size,
            checksum=checksum,
            filename=filename,
            durability=durability,
            idempotency_key=idempotency_key,
            progress=progress,
            transfer=transfer,
            timeout=timeout,
        )

    def versions(self, dataset: str, *, page_size: int = 1_000, timeout: Timeout | None = None) -> Pager[VersionEntry]:
        """Those that are there, from the lowest number on.

        >>> made = client.create_dataset("counted", "MONOTONIC")
        >>> for data in (b"one", b"two"):
        ...     info = client.put_version("counted", data)
        >>> [entry.version for entry in client.versions("counted")]
        ['1', '2']
        """
        place = self._dataset(dataset)
        wire.datasets.versions_request(place, page_size, None)  # Raises now, and not at the first entry.
        request = partial(wire.datasets.versions_request, place, page_size)
        return Pager(self, request, partial(wire.datasets.parse_versions, place), timeout)
