"""What an upload's headers say: of the blob that is to be, and of its body."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from ambry.blob import NEVER_MS, BlobProperties
from ambry.durability import Durability
from ambry.errors import InvalidRequest, MediaTypeUnsupported
from ambry.format.properties import encode_metadata
from ambry.rest import metadata, names, values
from ambry.rest import text as rules
from frontend.container import Container
from frontend.http.digests import DIGEST_HEADERS, ExpectedDigests
from frontend.rest.resource import EVERYWHERE
from frontend.router.context import RouterContext
from frontend.router.values import PutSpec

DEFAULT_CONTENT_TYPE = "application/octet-stream"

ON_UPLOAD = EVERYWHERE | DIGEST_HEADERS | {
    "content-encoding", names.OWNER_ID, names.CONTENT_TYPE, names.CONTENT_ENCODING, names.ACCOUNT_NAME, names.CONTAINER_NAME,
    names.TTL, names.PRIVATE, names.FILENAME, names.ENCODED_FILENAME, names.DIGEST, names.DURABILITY,
    names.IDEMPOTENCY_KEY,
}  # fmt: skip
PLAIN_ON_UPLOAD = ON_UPLOAD - DIGEST_HEADERS - {names.DIGEST, names.IDEMPOTENCY_KEY}
"""What a plain upload may say: a digest is verified on the ordinary way, and a key looked up."""
CHUNK_HEADERS = frozenset({names.CHUNK_UPLOAD, names.UPLOAD_SESSION, names.MAX_UPLOAD_SIZE})
"""Of a chunk that is stitched with others."""
METADATA_PREFIXES = (names.METADATA_PREFIX, names.ENCODED_METADATA_PREFIX)

_WITH_DIGESTS = DIGEST_HEADERS | {names.DIGEST}


def is_chunk(headers: Mapping[str, str]) -> bool:
    """Whether an upload is of a chunk. Raises InvalidRequest for one that is half of that."""
    text = headers.get(names.CHUNK_UPLOAD)
    if text is not None and values.flag(names.CHUNK_UPLOAD, text):
        return True
    for name in CHUNK_HEADERS - {names.CHUNK_UPLOAD}:
        if name in headers:
            raise InvalidRequest(f"{name} is said of a chunk, with {names.CHUNK_UPLOAD}: true")
    return False


def check_lifetime(expires_at_ms: int, container: Container) -> None:
    """Raises InvalidRequest for a blob that would live longer than its container lets blobs live."""
    if container.settings.ttl_required and expires_at_ms == NEVER_MS:
        raise InvalidRequest(
            f"the container {container} takes no blob that lives for ever: give its seconds to live in {names.TTL}"
        )


def check_durability(spec: PutSpec, router: RouterContext) -> None:
    """Raises InvalidRequest for what this cluster can never do."""
    nodes = router.map.nodes
    if spec.durability is Durability.GEO and len({node.datacenter_id for node in nodes.values()}) == 1:
        raise InvalidRequest(
            f"{names.DURABILITY}: geo needs a second datacenter, and this cluster has one; ask for disk or memory"
        )


def digests_of(headers: Mapping[str, str]) -> ExpectedDigests | None:
    """What was said of the body's bytes, if anything was. Raises InvalidRequest."""
    if _WITH_DIGESTS.isdisjoint(headers):
        return None
    xxh = headers.get(names.DIGEST)
    return ExpectedDigests(headers, xxh=None if xxh is None else values.digest(xxh))


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload's headers ask for, whenever it comes."""

    properties: BlobProperties
    """Without size and digest."""
    metadata: bytes
    ttl_s: int | None
    """None for ever."""
    durability: Durability | None
    """None where they do not say."""

    def spec(self, now_ms: int, durability: Durability) -> PutSpec:
        """That of an upload which comes now; `durability` is that of one which says nothing about it."""
        return PutSpec(
            properties=self.properties,
            metadata=self.metadata,
            created_at_ms=now_ms,
            expires_at_ms=_expiry(self.ttl_s, now_ms),
            durability=durability if self.durability is None else self.durability,
        )


def put_spec(
    headers: Mapping[str, str],
    *,
    filename: str,
    now_ms: int,
    has_metadata: bool = True,
    durability: Durability = Durability.DISK,
) -> PutSpec:
    """What the headers of an upload that comes now ask for; see `asked_for` and `Asked.spec`."""
    return asked_for(headers, filename=filename, has_metadata=has_metadata).spec(now_ms, durability)


def asked_for(headers: Mapping[str, str], *, filename: str, has_metadata: bool) -> Asked:
    """What an upload's headers ask for, by name in lower case; what they do not mention costs nothing.

    `has_metadata` False says that no header of user metadata is among them. Raises InvalidRequest naming the header,
    HeadersTooLarge.
    """
    private = headers.get(names.PRIVATE)
    asked = headers.get(names.DURABILITY)
    properties = BlobProperties(
        size=0,
        digest=b"",
        content_type=_content_type(headers),
        service_id=rules.plain_text(names.SERVICE_ID, headers[names.SERVICE_ID]) if names.SERVICE_ID in headers else "",
        owner_id=rules.plain_text(names.OWNER_ID, headers[names.OWNER_ID]) if names.OWNER_ID in headers else "",
        content_encoding=_content_encoding(headers),
        filename=_filename(headers, filename),
        private=private is not None and values.flag(names.PRIVATE, private),
    )
    return Asked(
        properties=properties,
        metadata=_metadata(headers) if has_metadata else b"",
        ttl_s=_ttl_s(headers.get(names.TTL)),
        durability=None if asked is None else values.durability(asked),
    )


def asked_by_header(headers: Mapping[str, str], has_metadata: bool) -> Asked:
    """Of an upload whose target says nothing; see `asked_for`."""
    return asked_for(headers, filename="", has_metadata=has_metadata)


def _metadata(headers: Mapping[str, str]) -> bytes:
    pairs = metadata.decode(headers.items())
    if pairs:
        metadata.check(pairs)
    return encode_metadata(pairs)


def expiry(value: str | None, now_ms: int) -> int:
    """The expiry that an `x-ambry-ttl` of seconds means; none is never. Raises InvalidRequest."""
    return _expiry(_ttl_s(value), now_ms)


def _ttl_s(value: str | None) -> int | None:
    return None if value is None else values.ttl_seconds(value)


def _expiry(ttl_s: int | None, now_ms: int) -> int:
    return NEVER_MS if ttl_s is None else now_ms + ttl_s * 1000


def _content_type(headers: Mapping[str, str]) -> str:
    if (value := headers.get(names.CONTENT_TYPE)) is not None:
        return rules.media_type(names.CONTENT_TYPE, value)
    if (value := headers.get("content-type")) is not None:
        return _type_of_body(value)
    return DEFAULT_CONTENT_TYPE


@lru_cache(maxsize=256)
def _type_of_body(value: str) -> str:
    """The media type to store of a body that came with the Content-Type `value`.

    A form is no blob: what `curl --data-binary` calls one unasked says nothing of the bytes, and around a file in a
    multipart/form-data stands what nobody means to store. Who means either says so in x-ambry-content-type. Raises
    InvalidRequest, MediaTypeUnsupported.
    """
    media_type = rules.media_type("content-type", value)
    kind = media_type.partition(";")[0].rstrip(" \t").lower()
    if kind == "multipart/form-data":
        raise MediaTypeUnsupported(
            "a form is not taken apart: send the file itself as the body (curl -T FILE, or --data-binary @FILE, in place of "
            f"-F); to store the form as it is, say so in {names.CONTENT_TYPE}"
        )
    return DEFAULT_CONTENT_TYPE if kind == "application/x-www-form-urlencoded" else media_type


def _content_encoding(headers: Mapping[str, str]) -> str:
    for name in (names.CONTENT_ENCODING, "content-encoding"):
        if (value := headers.get(name)) is not None:
            return rules.content_codings(name, value)
    return ""


def _filename(headers: Mapping[str, str], from_path: str) -> str:
    plain, encoded = headers.get(names.FILENAME), headers.get(names.ENCODED_FILENAME)
    if plain is not None and encoded is not None:
        raise InvalidRequest(f"give {names.FILENAME} or {names.ENCODED_FILENAME}, not both")
    if encoded is not None:
        return rules.filename(names.ENCODED_FILENAME, rules.percent_decoded(names.ENCODED_FILENAME, encoded))
    if plain is not None:
        return rules.filename(names.FILENAME, rules.header_text(names.FILENAME, plain))
    return from_path
