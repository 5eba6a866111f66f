# Generated from ambry/client/aio/batches.py by `make sync-client`; change that file, not this one.
"""Many small blobs in one request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from numbers import Integral

from ambry.client import wire
from ambry.client.model import BatchResult, ByteRange, Timeout, as_range, check_type
from ambry.client.refs import NameRef, PinnedName, Ref
from ambry.client.retry import Attempts
from ambry.client.sources import open_body
from ambry.client.sync.blobs import SyncBlobs
from ambry.client.sync.calls import READ_BYTES, whole_answer
from ambry.client.sync.transport import SyncResponse
from ambry.client.sync.waiting import ASYNCHRONOUS, at_once
from ambry.client.transfer import BlobDownload, BlobUpload
from ambry.client.wire import blobs as blob_wire
from ambry.durability import Durability
from ambry.errors import AmbryError, InvalidRequest
from ambry.ids import BlobId

LARGE_BYTES = 4 << 20
"""From here on a range has a request of its own, which goes on where it breaks."""


class SyncBatches(SyncBlobs):
    """The calls on many blobs. Each item has a result of its own; a call raises only when nothing is known of some."""

    def get_many(self, refs: Iterable[Ref], *, timeout: Timeout | None = None) -> list[BatchResult]:
        """Whole blobs, in the order of `refs`, all of them in memory at the end: for small ones.

        A result has `data` and `info`, or the `error` that a get of it would have raised.

        >>> found = client.get_many([blob, "no/such/name"])
        >>> [(each.ok, each.data) for each in found]
        [(True, b'hello world'), (False, b'')]
        """
        timeout = self._whole(timeout)
        places, wrong = self._understood(refs)
        found = self._read("get", places, None, timeout)
        return wire.batches.left_in([part for item in found for part in item], wrong)

    def get_ranges(
        self,
        ref: Ref,
        ranges: Sequence[ByteRange | tuple[int, int | None]],
        *,
        coalesce: int = 64 << 10,
        timeout: Timeout | None = None,
    ) -> list[bytes]:
        """Ranges of one blob, as in `get`, in their order. Raises what a get of the first that fails would have raised.

        Ranges with at most `coalesce` bytes between them are asked for as one, and cut out of it; 0 joins those that touch.
        All that is not large goes in one request, for up to 1,000 ranges; what is large (4 MiB), in requests of its own.

        >>> client.get_ranges(blob, [(0, 5), (6, 11)])
        [b'hello', b'world']
        """
        timeout = self._whole(timeout)
        from ambry.client.coalescing import coalesced, cut_out

        check_type("coalesce", coalesce, Integral, "a number of bytes")
        if coalesce < 0:
            raise InvalidRequest(f"coalesce must not be negative, not {coalesce}")
        asked = [_range_of(each) for each in ranges]
        found_by = self._find(ref, timeout)
        plan = coalesced(asked, coalesce)
        large = [place for place, span in enumerate(plan.spans) if _size_of(span) >= LARGE_BYTES]
        small = [place for place in range(len(plan.spans)) if place not in set(large)]
        spans = [[plan.spans[place]] for place in small]
        found = dict(zip(small, self._read("get", [found_by] * len(small), spans, timeout), strict=True))

        def one(place: int) -> None:
            with self._open(BlobDownload(found_by, plan.spans[place], verify=self._verify), timeout) as reader:
                found[place] = [BatchResult(id=reader.info.id, info=reader.info, data=reader.read())]

        if large:
            at_once(one, large, self._transfer.max_concurrency, _nothing)
        pieces: list[bytes] = []
        for cutting in plan.cuttings:
            (part,) = found[cutting.span]
            if part.error is not None:
                raise part.error
            pieces.append(cut_out(cutting, part.data, 0 if part.info is None else part.info.size))
        return pieces

    def head_many(self, refs: Iterable[Ref], *, timeout: Timeout | None = None) -> list[BatchResult]:
        """What many blobs are, without their bytes: each result has `info`, or an `error`.

        >>> found = client.head_many([blob])
        >>> found[0].info.size
        11
        """
        timeout = self._whole(timeout)
        places, wrong = self._understood(refs)
        found = self._read("head", places, None, timeout)
        return wire.batches.left_in([part for item in found for part in item], wrong)

    def delete_many(self, refs: Iterable[Ref], *, timeout: Timeout | None = None) -> list[BatchResult]:
        """Delete many, a name with the blob that was put under it; again is fine.

        Those that cannot be deleted have an `error`, and keep none of the others.

        >>> made = client.put_many([b"one", b"two"])
        >>> gone = client.delete_many([each.id for each in made])
        >>> [each.ok for each in gone]
        [True, True]
        """
        timeout = self._whole(timeout)
        places, wrong = self._understood(refs)
        found: list[BatchResult] = []
        for batch in wire.batches.list_requests("delete", places):
            found += self._change(batch, timeout)
        return wire.batches.left_in(found, wrong)

    def put_many(
        self,
        blobs: Iterable[bytes],
        *,
        ttl: timedelta | int | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        durability: Durability | str | None = None,
        timeout: Timeout | None = None,
    ) -> list[BatchResult]:
        """Store many blobs of at most 1 MiB, all with the same properties, in few requests that share syncs.

        Each result has `id` and `info`, or an `error`; what was stored is compared with what was sent. A request whose
        outcome is unknown is repeated as a whole: blobs of the first try, if there are any, are garbage that nobody knows.

        >>> made = client.put_many([b"one", b"two"], ttl=3600)
        >>> [client.get_bytes(each.id) for each in made]
        [b'one', b'two']
        """
        timeout = self._whole(timeout)
        alike = blob_wire.upload_request(
            size=None,
            digest="",
            ttl=ttl,
            content_type=content_type,
            metadata=metadata,
            filename=None,
            durability=durability,
        )
        headers, own = self._batch_headers(alike.headers)
        found: list[BatchResult] = []
        wrong: dict[int, BatchResult] = {}
        for batch in wire.batches.put_requests(wire.batches.small_enough(blobs, wrong), headers, own):
            found += self._change(batch, timeout)
        return wire.batches.left_in(found, wrong)

    def _understood(self, refs: Iterable[Ref]) -> tuple[list[BlobId | NameRef], dict[int, BatchResult]]:
        """What can be asked for, and the results of the others by their places. Raises TypeError for what is no Ref at all."""
        places: list[BlobId | NameRef] = []
        wrong: dict[int, BatchResult] = {}
        for index, ref in enumerate(refs):
            try:
                places.append(wire.batches.item_of(self._place(ref)))
            except AmbryError as error:
                wrong[index] = BatchResult(id=None, error=error)
        return places, wrong

    def _read(
        self,
        name: str,
        places: Sequence[BlobId | NameRef],
        ranges: Sequence[Sequence[ByteRange]] | None,
        timeout: Timeout | None,
    ) -> list[list[BatchResult]]:
        """The parts of each item, in order."""
        found: list[list[BatchResult]] = []
        for batch in wire.batches.list_requests(name, places, ranges):
            expected = [1] * len(batch.subjects)
            reader = self._parts(batch, expected, timeout)
            found += [[reader.found[index, 0]] for index in range(len(expected))]
        moved = {
            index: place.blob
            for index, place in enumerate(places)
            if isinstance(place, PinnedName) and wire.batches.is_moved(place, found[index][0])
        }
        if moved:
            again = None if ranges is None else [ranges[index] for index in moved]
            by_id = self._read(name, list(moved.values()), again, timeout)
            for index, result in zip(moved, by_id, strict=True):
                found[index] = [wire.batches.told_of(places[index], found[index][0], result[0])]
        return found

    def _parts(
        self, batch: wire.batches.BatchRequest, expected: Sequence[int], timeout: Timeout | None
    ) -> wire.batches.PartReader:
        """One request, again until it is answered whole: a read does no harm."""
        attempts = self._attempts(timeout)
        while True:
            response = None
            try:
                response = self._begin_batch(batch, attempts, timeout)
                reader = wire.batches.PartReader(attempts.endpoint, batch, self._verify, self._clock.wall_ms())
                while data := response.read(READ_BYTES):
                    reader.feed(data, response.headers)
                reader.ended(expected)
            except BaseException as error:
                if response is not None:
                    response.abort(error)
                if not isinstance(error, AmbryError):
                    raise
                self._sleep(attempts.failed(error))
            else:
                response.finish()
                attempts.succeeded()
                return reader

    def _change(self, batch: wire.batches.BatchRequest, timeout: Timeout | None) -> list[BatchResult]:
        """One request that changes something, again until it is answered whole."""
        attempts = self._attempts(timeout)
        while True:
            response = None
            try:
                response = self._begin_batch(batch, attempts, timeout)
                body = whole_answer(response)
                found = wire.batches.parse_items(
                    attempts.endpoint, batch, response.headers, body, now_ms=self._clock.wall_ms()
                )
            except BaseException as error:
                if response is not None:
                    response.abort(error)
                if not isinstance(error, AmbryError):
                    raise
                self._sleep(attempts.failed(error))
            else:
                response.finish()
                attempts.succeeded()
                return found

    def _begin_batch(
        self, batch: wire.batches.BatchRequest, attempts: Attempts, timeout: Timeout | None
    ) -> SyncResponse:
        endpoint = attempts.begin()
        body = open_body(batch.body, size=None, chunk_size=self._chunk_size(None), asynchronous=ASYNCHRONOUS)
        batch.request.headers["content-length"] = str(len(batch.body))
        upload = BlobUpload(batch.request, body, checksum="", verify="never", progress=None)
        return self._exchange(endpoint, batch.request, timeout, attempts, upload)


def _range_of(given: ByteRange | tuple[int, int | None]) -> ByteRange:
    """Raises TypeError for None, which is no range: (0, None) is all."""
    found = as_range(given)
    if found is None:
        raise TypeError("each of the ranges is (start, stop), or (0, None) for all, and not None")
    return found


def _size_of(span: ByteRange) -> int:
    """How much a range is of a blob that is large enough; what goes on to the end may be as much as there is."""
    if span.stop is not None:
        return span.stop - span.start
    return -span.start if span.start < 0 else LARGE_BYTES


def _nothing() -> None:
    """What has come of the others stays what it is."""
