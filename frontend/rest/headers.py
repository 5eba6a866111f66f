"""Between HTTP headers and blobs: what an upload asks for, and what a read tells."""

from __future__ import annotations

from collections.abc import Mapping

from ambry.blob import NEVER_MS, BlobProperties, BlobState, Durability
from ambry.errors import InvalidRequest
from ambry.format.properties import encode_metadata
from ambry.rest import metadata, names, values
from ambry.rest import text as rules
from ambry.rest.text import header_text, is_plain, percent_decoded, percent_encoded, plain_text
from frontend.http.conditions import etag_of, http_date
from frontend.metadata.accounts import DEFAULT, Accounts
from frontend.request import ContainerId
from frontend.router.values import BlobHead, PutSpec

DEFAULT_CONTENT_TYPE = "application/octet-stream"

_ACTIVE_TYPES = ("text/html", "text/xml", "application/xml")


def target_container(headers: Mapping[str, str], accounts: Accounts) -> ContainerId:
    """The container that a new blob goes to. Raises InvalidRequest for a name that is none."""
    return accounts.resolve(headers.get(names.ACCOUNT_NAME, DEFAULT), headers.get(names.CONTAINER_NAME, DEFAULT))


def put_spec(headers: Mapping[str, str], *, filename: str, now_ms: int) -> PutSpec:
    """What an upload's headers ask for. Raises InvalidRequest naming the header, HeadersTooLarge."""
    private = headers.get(names.PRIVATE)
    durability = headers.get(names.DURABILITY)
    properties = BlobProperties(
        size=0,
        digest=b"",
        content_type=_content_type(headers),
        service_id=plain_text(names.SERVICE_ID, headers.get(names.SERVICE_ID, "")),
        owner_id=plain_text(names.OWNER_ID, headers.get(names.OWNER_ID, "")),
        content_encoding=_content_encoding(headers),
        filename=_filename(headers, filename),
        private=private is not None and values.flag(names.PRIVATE, private),
    )
    return PutSpec(
        properties=properties,
        metadata=encode_metadata(user_metadata(headers)),
        expires_at_ms=expiry(headers.get(names.TTL), now_ms),
        durability=Durability.DISK if durability is None else values.durability(durability),
    )


def _content_type(headers: Mapping[str, str]) -> str:
    for name in (names.CONTENT_TYPE, "Content-Type"):
        if (value := headers.get(name)) is not None:
            return rules.media_type(name, value)
    return DEFAULT_CONTENT_TYPE


def _content_encoding(headers: Mapping[str, str]) -> str:
    for name in (names.CONTENT_ENCODING, "Content-Encoding"):
        if (value := headers.get(name)) is not None:
            return rules.content_codings(name, value)
    return ""


def _filename(headers: Mapping[str, str], from_path: str) -> str:
    plain, encoded = headers.get(names.FILENAME), headers.get(names.ENCODED_FILENAME)
    if plain is not None and encoded is not None:
        raise InvalidRequest(f"give {names.FILENAME} or {names.ENCODED_FILENAME}, not both")
    if encoded is not None:
        return rules.filename(names.ENCODED_FILENAME, percent_decoded(names.ENCODED_FILENAME, encoded))
    if plain is not None:
        return rules.filename(names.FILENAME, header_text(names.FILENAME, plain))
    return rules.filename("the name in the path", from_path) if from_path else ""


def expiry(value: str | None, now_ms: int) -> int:
    """The expiry that an `x-ambry-ttl` of seconds means; none is never. Raises InvalidRequest."""
    seconds = None if value is None else values.ttl_seconds(value)
    return NEVER_MS if seconds is None else now_ms + seconds * 1000


def user_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """The metadata of an upload, within the bounds of ambry.rest.metadata. Raises HeadersTooLarge, InvalidRequest."""
    pairs = metadata.decode((name.lower(), value) for name, value in headers.items())
    if pairs:
        metadata.check(pairs)
    return pairs


def ttl_text(state: BlobState, created_at_ms: int) -> str:
    """`x-ambry-ttl`: seconds from creation to expiry, -1 for ever."""
    never = state.expires_at_ms == NEVER_MS
    return values.ttl_text(None if never else round((state.expires_at_ms - created_at_ms) / 1000))


def _active(content_type: str) -> bool:
    """Whether a browser may run it. Of several types in one header it takes one, so any of them counts."""
    types = [part.partition(";")[0].strip().lower() for part in content_type.split(",")]
    return any(each in _ACTIVE_TYPES or each.endswith("+xml") for each in types)


def blob_headers(head: BlobHead, accounts: Accounts) -> dict[str, str]:
    """The headers that tell about a blob, on every read of it; without those of its length."""
    properties = head.properties
    account, container = accounts.names(ContainerId(head.id.account, head.id.container))
    permanent = head.state.expires_at_ms == NEVER_MS
    cacheable = permanent and not properties.private
    headers = {
        "Content-Type": properties.content_type,
        "Accept-Ranges": "bytes",
        "ETag": etag_of(properties.digest),
        "Last-Modified": http_date(head.created_at_ms),
        "Cache-Control": "public, immutable, max-age=31536000" if cacheable else "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "x-ambry-blob-size": str(head.size),
        "x-ambry-digest": properties.digest.hex(),
        "x-ambry-creation-time": http_date(head.created_at_ms),
        "x-ambry-content-type": properties.content_type,
        "x-ambry-service-id": properties.service_id,
        "x-ambry-owner-id": properties.owner_id,
        "x-ambry-target-account-name": account,
        "x-ambry-target-container-name": container,
        "x-ambry-private": str(properties.private).lower(),
        "x-ambry-ttl": ttl_text(head.state, head.created_at_ms),
        "x-ambry-life-version": str(head.state.life_version),
        "x-ambry-encrypted-in-storage": "false",
    }
    if properties.content_encoding:
        headers["Content-Encoding"] = headers["x-ambry-content-encoding"] = properties.content_encoding
    if is_plain(properties.filename):
        if properties.filename:
            headers[names.FILENAME] = properties.filename
    else:
        headers[names.ENCODED_FILENAME] = percent_encoded(properties.filename)
    if _active(properties.content_type):
        # What a browser would run must not run under our name.
        headers["Content-Disposition"] = "attachment"
    if head.metadata:
        headers.update(metadata.encode(head.metadata))
    return headers
