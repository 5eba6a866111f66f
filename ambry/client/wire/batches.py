"""Batches: many blobs in one request, as bytes there and back. The words and their rules are those of ambry.rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ambry.checksum import digest
from ambry.client.model import BatchResult, BlobInfo, ByteRange, Verify
from ambry.client.refs import NameRef, PinnedName, Place, VersionRef
from ambry.client.wire import blobs, refusals
from ambry.client.wire.json_answer import UNREADABLE
from ambry.client.wire.message import ApiRequest, Headers, request_id_of, violation
from ambry.errors import (
    AccessDenied,
    AmbryError,
    BlobNotFound,
    ChecksumMismatch,
    InvalidRequest,
    PeerConnectionLost,
    PreconditionFailed,
    ProtocolViolation,
    RangeNotSatisfiable,
    TooLarge,
)
from ambry.ids import BlobId
from ambry.rest import frames, names

ITEMS_MAX = 1_000
"""Of one request; longer lists become several."""
BYTES_MAX = 16 << 20
"""Of the blobs of one request."""
BLOB_BYTES_MAX = 1 << 20
BODY_MAX = (1 << 20) - 2
"""Of the list in one request; names may be long."""
WHOLE_BYTES_MAX = 64 << 20
"""Of one whole blob in an answer: it is held before anything is known of it."""
ANSWER_WHOLE_MAX = 1 << 30
"""Of all whole blobs of one answer, which are held together. Of ranges there are as many bytes as were asked for."""
_RANGE = "bytes="


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request with its body, and what each of its items is about."""

    request: ApiRequest
    body: bytes
    subjects: Sequence[Any]
    ranges: Sequence[Sequence[ByteRange]] | None = None
    """What is asked for of each; None is all."""
    with_bytes: bool = False
    """Whether the parts of the answer are bytes of the blobs."""


def item_of(place: Place) -> BlobId | NameRef:
    """What a batch may ask for. Raises InvalidRequest for a version of a dataset."""
    if isinstance(place, VersionRef):
        raise InvalidRequest(f"a batch is of ids and names; look {place} up with resolve, and give its id")
    return place


def left_in(results: Iterable[BatchResult], wrong: Mapping[int, BatchResult]) -> list[BatchResult]:
    """The results of all that was given: of what was asked for, and of what was `wrong`, by its place in the whole."""
    asked = iter(results)
    found: list[BatchResult] = []
    for result in asked:
        while (other := wrong.get(len(found))) is not None:
            found.append(other)
        found.append(result)
    while (other := wrong.get(len(found))) is not None:
        found.append(other)
    return found


def small_enough(blobs_of: Iterable[bytes], wrong: dict[int, BatchResult]) -> Iterator[bytes]:
    """Those that a batch may store; the others get their results in `wrong`."""
    for index, data in enumerate(blobs_of):
        if len(data) <= BLOB_BYTES_MAX:
            yield data
            continue
        told = f"blob {index} of the batch has {len(data)} bytes, and it may have {BLOB_BYTES_MAX}; use put"
        wrong[index] = BatchResult(id=None, error=InvalidRequest(told))


def is_moved(place: PinnedName, result: BatchResult) -> bool:
    """Whether a result is not of the blob that the name pointed to when it was looked up."""
    return isinstance(result.error, BlobNotFound | RangeNotSatisfiable) or (
        result.info is not None and result.info.id != place.blob
    )


def told_of(place: Place, by_name: BatchResult, by_id: BatchResult) -> BatchResult:
    """What a name gives that points elsewhere by now: one who may not read by the id is told what became of the name."""
    if not isinstance(by_id.error, AccessDenied):
        return by_id
    if by_name.error is None and by_name.info is not None:
        try:
            blobs.check_found(place, by_name.info)
        except PreconditionFailed as error:
            return BatchResult(id=by_id.id, error=error)
    return by_name


def list_requests(
    name: str, places: Sequence[BlobId | NameRef], ranges: Sequence[Sequence[ByteRange]] | None = None
) -> Iterator[BatchRequest]:
    """Requests about these blobs, of at most ITEMS_MAX and BODY_MAX bytes each; with `ranges` each has those of it."""
    some: list[BlobId | NameRef] = []
    items: list[bytes] = []
    held = first = 0
    for number, place in enumerate(places):
        item: dict[str, object] = {"id": str(place)}
        if isinstance(place, NameRef):
            item = {"name": f"{place.account}/{place.container}/{place.name}"}
            if name == "delete" and isinstance(place, PinnedName):
                item["id"] = str(place.blob)  # and no other that was put there since
        if ranges is not None:
            item["ranges"] = [each.header().removeprefix(_RANGE) for each in ranges[number]]
        raw = msgspec.json.encode(item if len(item) > 1 or "name" in item else item["id"])
        if some and (len(some) == ITEMS_MAX or held + len(raw) + 1 > BODY_MAX):
            yield _list_request(name, some, items, None if ranges is None else ranges[first:number])
            some, items, held, first = [], [], 0, number
        some.append(place)
        items.append(raw)
        held += len(raw) + 1
    if some:
        yield _list_request(name, some, items, None if ranges is None else ranges[first:])


def _list_request(
    name: str,
    some: Sequence[BlobId | NameRef],
    items: Sequence[bytes],
    ranges: Sequence[Sequence[ByteRange]] | None,
) -> BatchRequest:
    body = b"[" + b",".join(items) + b"]"
    return BatchRequest(_request(name, "application/json"), body, some, ranges, with_bytes=name == "get")


def put_requests(
    blobs_of: Iterable[bytes], headers: Mapping[str, str], own: Mapping[str, str]
) -> Iterator[BatchRequest]:
    """Requests that store these. `headers` are those of the requests, `own` those of each blob."""
    some: list[bytes] = []
    held = 0
    for data in blobs_of:
        if some and (len(some) == ITEMS_MAX or held + len(data) > BYTES_MAX):
            yield _put_request(some, headers, own)
            some, held = [], 0
        some.append(data)
        held += len(data)
    if some:
        yield _put_request(some, headers, own)


def _put_request(some: Sequence[bytes], headers: Mapping[str, str], own: Mapping[str, str]) -> BatchRequest:
    body = b"".join([frames.encode_frame({**own, names.DIGEST: digest(data).hex()}, data) for data in some])
    request = _request("put", frames.CONTENT_TYPE)
    request.headers.update(headers)
    return BatchRequest(request, body, list(some))


def _request(name: str, content_type: str) -> ApiRequest:
    headers = {"content-type": content_type, "accept": frames.CONTENT_TYPE}
    return ApiRequest("POST", f"/batch/{name}", headers, "the batch")


@dataclass(slots=True)
class PartReader:
    """Takes the parts of an answer out of its body."""

    endpoint: str
    batch: BatchRequest
    verify: Verify
    now_ms: int
    found: dict[tuple[int, int], BatchResult] = field(default_factory=dict[tuple[int, int], BatchResult])
    """By item, and range of it."""
    _held: int = 0
    """Bytes of whole blobs that were found."""
    _frames: frames.FrameReader = field(init=False)

    def __post_init__(self) -> None:
        self._frames = frames.FrameReader(body_size_max=_part_bytes_max(self.batch))

    def feed(self, data: bytes, headers: Headers) -> None:
        """Raises ProtocolViolation, TooLarge."""
        try:
            for frame in self._frames.feed(data):
                self._take(frame, headers)
        except TooLarge as cause:
            if not self.batch.with_bytes or self.batch.ranges is not None:
                raise violation(headers, f"a part of a batch is more than what was asked for: {cause}") from cause
            raise TooLarge(
                f"a blob of a batch has at most {WHOLE_BYTES_MAX} bytes, and those of one request {ANSWER_WHOLE_MAX}; get what "
                "is larger by itself, or ask for fewer at a time",
                request_id=request_id_of(headers),
            ) from cause
        except (InvalidRequest, ValueError, LookupError) as cause:
            raise violation(headers, f"a part of a batch cannot be read: {cause}") from cause

    def _take(self, frame: frames.ApiFrame, answer: Headers) -> None:
        headers = frame.headers
        index, status = int(headers[names.BATCH_INDEX]), int(headers[names.BATCH_STATUS])
        place = (index, int(headers.get(names.BATCH_RANGE, 0)))
        if place in self.found or min(place) < 0 or place[1] >= self._parts_of(index):
            raise ValueError(f"part {place[1]} of item {index} was not asked for, or comes again")
        blob = self.batch.subjects[index]
        if self.batch.ranges is None:
            self._held += len(frame.body)
            if self._held > ANSWER_WHOLE_MAX:
                raise TooLarge(f"{self._held} bytes")
        if status >= 300:
            error = refusals.error_of(
                self.endpoint, self.batch.request, status, headers, frame.body, now_ms=self.now_ms
            )
            refusals.note_request(error, answer)
            self.found[place] = BatchResult(id=blob if isinstance(blob, BlobId) else None, error=error)
            return
        info = blobs.parse_info(blob, headers)
        wrong = self._judged(place, status, info, frame) if self.batch.with_bytes else None
        refusals.note_request(wrong, answer)
        self.found[place] = (
            BatchResult(id=info.id, info=info, data=frame.body)
            if wrong is None
            else BatchResult(id=info.id, error=wrong)
        )

    def _parts_of(self, index: int) -> int:
        return 1 if self.batch.ranges is None else len(self.batch.ranges[index])

    def _judged(
        self, place: tuple[int, int], status: int, info: BlobInfo, frame: frames.ApiFrame
    ) -> ChecksumMismatch | None:
        """What a part is if it is not the bytes of its digest. Raises ProtocolViolation for one that was not asked for."""
        index, number = place
        ranges = self.batch.ranges
        wanted = blobs.span_of(None if ranges is None else ranges[index][number], info.size)
        subject = f"blob {info.id}"
        blobs.check_span(wanted, status, frame.headers, subject)
        if len(frame.body) != wanted.stop - wanted.start:
            raise ProtocolViolation(
                f"a part of a batch has {len(frame.body)} bytes, "
                f"and not bytes {wanted.start} to {wanted.stop} of {subject}"
            )
        if not wanted.is_whole or self.verify == "never":
            return None
        if self.verify == "always":
            blobs.check_digest(frame.headers, subject)
        if info.checksum and digest(frame.body).hex() != info.checksum:
            return ChecksumMismatch(f"the bytes of {subject} are not those of its digest; read it again")
        return None

    def ended(self, expected: Sequence[int]) -> None:
        """The body has no more; `expected` parts of each item must be there. Raises PeerConnectionLost."""
        whole = not self._frames.held and all(
            (index, 0) in self.found and (self.found[index, 0].error is not None or (index, count - 1) in self.found)
            for index, count in enumerate(expected)
        )
        if not whole:
            raise PeerConnectionLost("the answer to a batch broke off; what came of it is incomplete")


def _part_bytes_max(batch: BatchRequest) -> int:
    """How much one part of an answer may have that fits the request."""
    if not batch.with_bytes:
        return refusals.ERROR_BODY_MAX
    if batch.ranges is None:
        return WHOLE_BYTES_MAX
    sizes = [
        WHOLE_BYTES_MAX if each.start >= 0 and each.stop is None else (each.stop or 0) - each.start
        for ranges in batch.ranges
        for each in ranges
    ]
    return max(refusals.ERROR_BODY_MAX, *sizes)


def parse_items(endpoint: str, batch: BatchRequest, headers: Headers, body: bytes, *, now_ms: int) -> list[BatchResult]:
    """What became of each item of a put or a delete. Raises PeerConnectionLost for an answer that is not whole."""
    try:
        items = msgspec.json.decode(body)["items"]
        if len(items) != len(batch.subjects):
            raise ValueError("it has other items than the request")
        if [item["index"] for item in items] != list(range(len(items))):
            raise ValueError("its items are not in the order of the request")
        durability = headers.get(names.DURABILITY, "").lower()
        found = [_parse_item(endpoint, batch, item, durability, now_ms) for item in items]
    except UNREADABLE as cause:
        raise PeerConnectionLost(f"the answer to a batch cannot be read: {cause}") from cause
    for each in found:
        if each.error is not None:
            refusals.note_request(each.error, headers)
    return found


def _parse_item(
    endpoint: str, batch: BatchRequest, item: Mapping[str, Any], durability: str, now_ms: int
) -> BatchResult:
    subject = batch.subjects[item["index"]]
    known = subject if isinstance(subject, BlobId) else None
    if item["status"] >= 300:
        headers = {"content-type": "application/json", names.ERROR_CODE: str(item.get("code", ""))}
        error: AmbryError = refusals.error_of(
            endpoint, batch.request, item["status"], headers, msgspec.json.encode(item), now_ms=now_ms
        )
        if isinstance(subject, PinnedName):
            blobs.reword_moved(error, subject)
        return BatchResult(id=known, error=error)
    if isinstance(subject, NameRef):
        return BatchResult(id=None)
    if isinstance(subject, BlobId):
        return BatchResult(id=subject)
    blob = BlobId.parse(item["id"])
    checksum = digest(subject).hex()
    if item["size"] != len(subject) or item["digest"] != checksum:
        return BatchResult(id=blob, error=ChecksumMismatch(f"blob {blob} was acknowledged with other bytes; delete it"))
    told = {names.BLOB_SIZE: str(item["size"]), names.DIGEST: checksum}
    return BatchResult(id=blob, info=replace(blobs.parse_info(blob, told), durability=durability))
