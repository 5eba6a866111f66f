"""Blobs: what is asked of them, and what the answers say they are. The words and their rules are those of ambry.rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from numbers import Integral

from ambry.client.model import BlobInfo, ByteRange, Metadata, check_type
from ambry.client.refs import NameRef, PinnedName, Place, VersionRef, headers_of, path_of, subject_of
from ambry.client.wire.message import ApiRequest, Headers, answered_at, header_int, parse_time, violation
from ambry.durability import Durability
from ambry.errors import AmbryError, InvalidBlobId, InvalidRequest, PreconditionFailed, ProtocolViolation
from ambry.ids import BlobId
from ambry.rest import metadata as metadata_rules
from ambry.rest import names, text, values

DEFAULT_CONTENT_TYPE = "application/octet-stream"

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})")
_TTL = re.compile(r"-1|[0-9]{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSpan:
    """Bytes `start` up to but not including `stop`, of a blob of `size` bytes."""

    start: int
    stop: int
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether they are all of the blob."""
        return self.start == 0 and self.stop == self.size


def ttl_text(ttl: timedelta | int | None) -> str:
    """What `x-ambry-ttl` says of a life of `ttl` (seconds, None for ever). Raises InvalidRequest, TypeError."""
    if ttl is None:
        return values.ttl_text(None)
    if isinstance(ttl, float):
        raise InvalidRequest(f"a ttl is whole seconds, not {ttl}; round it, or give a timedelta")
    check_type("ttl", ttl, (Integral, timedelta), "whole seconds, a timedelta, or None for ever")
    seconds = int(ttl.total_seconds()) if isinstance(ttl, timedelta) else ttl
    if not 1 <= seconds <= values.TTL_SECONDS_MAX:
        raise InvalidRequest(
            f"a ttl of {ttl} cannot be had; give 1 to {values.TTL_SECONDS_MAX} seconds, or None for ever"
        )
    return values.ttl_text(seconds)


def upload_request(
    *,
    size: int | None,
    digest: str,
    ttl: timedelta | int | None,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    filename: str | None,
    durability: Durability | str | None,
) -> ApiRequest:
    """A put. `digest` is what the server must find, empty when it is only known at the end. Raises InvalidRequest."""
    headers = {"content-type": DEFAULT_CONTENT_TYPE, names.TTL: ttl_text(ttl)}
    if size is not None:
        headers["content-length"] = str(size)
    if digest:
        headers[names.DIGEST] = digest
    if content_type is not None:
        check_type("content_type", content_type, str, "a media type as text")
        headers[names.CONTENT_TYPE] = text.media_type("content_type", content_type)
    if filename:
        check_type("filename", filename, str, "the name of one file as text")
        headers.update(_filename_header(filename))
    if durability is not None:
        known = durability if isinstance(durability, Durability) else values.durability(str(durability))
        headers[names.DURABILITY] = values.durability_text(known)
    if metadata is not None:
        check_type("metadata", metadata, Mapping, "a mapping of text to text")
        headers.update(metadata_rules.check(metadata))
    return ApiRequest("POST", "/", headers, "the upload")


def put_request(place: Place, request: ApiRequest, *, if_absent: bool, if_match: str | None) -> ApiRequest:
    """The put of an `upload_request` to a name or a version."""
    headers = {**request.headers, **headers_of(place)}
    if if_match is not None:
        headers["if-match"] = text.plain_text("if_match", if_match)
    elif isinstance(place, NameRef) and not if_absent:
        headers[names.NAMED_UPSERT] = "true"
    return ApiRequest("PUT", path_of(place), headers, f"the upload to {subject_of(place)}")


def blob_request(method: str, place: Place, byte_range: ByteRange | None = None, *, etag: str = "") -> ApiRequest:
    """GET, HEAD or DELETE of one blob; a range only of a GET (RFC 9110 section 14.2). With `etag` only if it has that."""
    if isinstance(place, PinnedName):
        etag = etag or place.etag
    headers = headers_of(place)
    if byte_range is not None:
        headers["range"] = byte_range.header()
    if etag:
        headers["if-match"] = etag
    return ApiRequest(method, path_of(place), headers, subject_of(place))


def ttl_request(place: BlobId | NameRef, ttl: timedelta | int | None) -> ApiRequest:
    said = path_of(place) if isinstance(place, NameRef) else str(place)
    headers = {names.BLOB_ID: said, names.TTL: ttl_text(ttl), "content-length": "0"}
    return ApiRequest("PUT", "/updateTtl", headers, subject_of(place))


def undelete_request(blob: BlobId) -> ApiRequest:
    return ApiRequest("PUT", "/undelete", {names.BLOB_ID: str(blob), "content-length": "0"}, f"blob {blob}")


def checksum_text(checksum: str) -> str:
    """A digest given by a caller, as it travels. Raises InvalidRequest, TypeError."""
    check_type("checksum", checksum, str, "an xxh3-128 in 32 hexadecimal digits")
    try:
        return values.digest(checksum).hex()
    except InvalidRequest as cause:
        raise InvalidRequest(f"checksum {checksum!r} is not an xxh3-128 in 32 hexadecimal digits") from cause


def parse_info(place: Place, headers: Headers) -> BlobInfo:
    """What the headers of a GET or HEAD say of a blob. Raises ProtocolViolation."""
    blob = place if isinstance(place, BlobId) else _told_id(place, headers)
    info = _parse_info(blob, headers)
    if isinstance(place, BlobId):
        return info
    return placed(info, place, headers)


def check_found(place: Place, info: BlobInfo) -> None:
    """Raises PreconditionFailed where a name that was looked up points to another blob by now."""
    if isinstance(place, PinnedName) and info.id != place.blob:
        raise reword_moved(PreconditionFailed(), place)


def reword_moved(error: AmbryError, place: PinnedName) -> AmbryError:
    """Say of a condition that does not hold what it was about."""
    if isinstance(error, PreconditionFailed):
        error.message = f"the name {place} points to another blob since it was looked up; look it up again"
    return error


def placed(info: BlobInfo, place: NameRef | VersionRef, headers: Headers) -> BlobInfo:
    """What is known of a blob, with what it is called."""
    told = replace(info, account=place.account, container=place.container)
    if isinstance(place, NameRef):
        return replace(told, name=place.name)
    return replace(told, dataset=place.dataset, version=headers.get(names.DATASET_VERSION, place.version))


def _told_id(place: Place, headers: Headers) -> BlobId:
    told = headers.get("content-location", "")
    try:
        return BlobId.parse(told.removeprefix("/"))
    except InvalidBlobId as cause:
        what = subject_of(place)
        raise violation(headers, f"the answer on {what} has no valid id in Content-Location ({told!r})") from cause


BLOB_BYTES_MAX = 1 << 44
"""More than any frontend takes: 8.9 TiB with its largest chunks."""


def _size_of(headers: Headers) -> int:
    size = header_int(headers, names.BLOB_SIZE)
    if size > BLOB_BYTES_MAX:
        raise violation(
            headers, f"the answer has {names.BLOB_SIZE} {size}, and no blob has more than {BLOB_BYTES_MAX} bytes"
        )
    return size


def _parse_info(blob: BlobId, headers: Headers) -> BlobInfo:
    created = parse_time(headers.get(names.CREATION_TIME, "")) or created_at(blob)
    try:
        metadata = Metadata(metadata_rules.decode(headers.items()))
        encoded = headers.get(names.ENCODED_FILENAME)
        filename = headers.get(names.FILENAME, "")
        if encoded is not None:
            filename = text.percent_decoded(names.ENCODED_FILENAME, encoded)
    except InvalidRequest as cause:
        raise violation(headers, f"the answer's headers on blob {blob}: {cause.message}") from cause
    return BlobInfo(
        id=blob,
        size=_size_of(headers),
        created=created,
        expires=_expires(created, headers),
        content_type=headers.get(names.CONTENT_TYPE) or headers.get("content-type") or DEFAULT_CONTENT_TYPE,
        metadata=metadata,
        checksum=digest_of(headers),
        filename=filename,
        account=headers.get(names.ACCOUNT_NAME, ""),
        container=headers.get(names.CONTAINER_NAME, ""),
        service_id=headers.get(names.SERVICE_ID, ""),
        etag=headers.get("etag", ""),
        datacenter=headers.get(names.DATACENTER, ""),
        answered=answered_at(headers),
    )


def parse_put(request: ApiRequest, headers: Headers) -> BlobInfo:
    """What a put made: the answer's headers, completed by what was asked for. Raises ProtocolViolation."""
    try:
        blob = BlobId.parse(headers.get("location", "").rpartition("/")[2])
    except InvalidBlobId as cause:
        location = headers.get("location", "")
        raise violation(
            headers, f"the upload was acknowledged without a valid id in Location ({location!r})"
        ) from cause
    sent = {name: value for name, value in request.headers.items() if name.startswith("x-ambry-")}
    sent.pop(names.DIGEST, None)
    target = {names.ACCOUNT_NAME: values.DEFAULT_NAME, names.CONTAINER_NAME: values.DEFAULT_NAME}
    merged = {names.CONTENT_TYPE: DEFAULT_CONTENT_TYPE, **target, **sent, **headers}
    return replace(_parse_info(blob, merged), durability=headers.get(names.DURABILITY, "").lower())


def is_of_parts(headers: Headers) -> bool:
    """Whether the answer's digest is one of the parts that an upload came in, which says nothing of the bytes as a whole."""
    written = headers.get(names.DIGEST, "")
    return bool(written) and values.is_of_parts(written)


def digest_of(headers: Headers) -> str:
    """The answer's digest; empty when it has none, or one that is not of the bytes. Raises ProtocolViolation."""
    written = headers.get(names.DIGEST, "")
    try:
        return "" if not written or values.is_of_parts(written) else written.lower()
    except InvalidRequest as cause:
        raise violation(headers, f"{names.DIGEST} {written!r} is not 32 hexadecimal digits") from cause


def span_of(asked: ByteRange | None, size: int) -> BlobSpan:
    """What a range, or None for all, means in a blob of `size` bytes."""
    if asked is None:
        return BlobSpan(start=0, stop=size, size=size)
    if asked.start < 0:
        return BlobSpan(start=max(0, size + asked.start), stop=size, size=size)
    return BlobSpan(start=asked.start, stop=size if asked.stop is None else min(asked.stop, size), size=size)


def content_range(headers: Headers) -> BlobSpan:
    """What a 206 carries. Raises ProtocolViolation."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        raise violation(headers, f"206 with the Content-Range {headers.get('content-range', '')!r}")
    return BlobSpan(start=int(found[1]), stop=int(found[2]) + 1, size=int(found[3]))


def check_span(wanted: BlobSpan, status: int, headers: Headers, subject: str) -> None:
    """Raises ProtocolViolation for an answer, or a part of one, that carries other bytes than were asked for."""
    if status == 206:
        got = content_range(headers)
        if got != wanted:
            raise ProtocolViolation(
                f"asked for bytes {wanted.start} to {wanted.stop} of {wanted.size}, "
                f"got {got.start} to {got.stop} of {got.size}"
            )
    elif not wanted.is_whole:
        raise ProtocolViolation(f"asked for a range of {subject}, got status {status}; check the endpoint")


def check_digest(headers: Headers, subject: str) -> None:
    """Raises ProtocolViolation where the bytes of a whole blob come without one."""
    if not headers.get(names.DIGEST):
        raise ProtocolViolation(
            f"{subject} came without x-ambry-digest; check the endpoint, or pass verify='if-present'"
        )


def created_at(blob: BlobId) -> datetime:
    """The time in the id's uuid, version 7."""
    return datetime.fromtimestamp(int.from_bytes(blob.key[:6], "big") / 1000, UTC)


def _expires(created: datetime, headers: Headers) -> datetime | None:
    """When the life that is told is over; None for ever, and beyond the year 9999."""
    ttl = headers.get(names.TTL, values.FOREVER)
    if not _TTL.fullmatch(ttl):
        raise violation(headers, f"the answer has {names.TTL} {ttl!r} where seconds or -1 belong")
    try:
        return None if ttl == values.FOREVER else created + timedelta(seconds=int(ttl))
    except OverflowError:
        return None


def _filename_header(filename: str) -> dict[str, str]:
    """Raises InvalidRequest for a name that is not the name of one file."""
    try:
        text.filename("filename", filename)
    except InvalidRequest as cause:
        raise InvalidRequest(f"{cause.message}, not {filename!r}; name it otherwise (filename=, --filename)") from cause
    if text.is_plain(filename):
        return {names.FILENAME: filename}
    return {names.ENCODED_FILENAME: text.percent_encoded("filename", filename)}
