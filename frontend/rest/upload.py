"""Uploads: `POST /`, `PUT /`, and `PUT /<filename>` as `curl -T` sends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import NamedTuple

import msgspec
from aiohttp import web

from ambry.blob import NEVER_MS, BlobProperties, Durability
from ambry.clock import Clock
from ambry.errors import InvalidBlobId, InvalidRequest, MediaTypeUnsupported, TooLarge
from ambry.format.properties import encode_metadata
from ambry.rest import metadata, names, values
from ambry.rest import text as rules
from frontend.config import FrontendSection
from frontend.container import Container
from frontend.http import wire
from frontend.http.body import body_of
from frontend.http.digests import DIGEST_HEADERS, ExpectedDigests
from frontend.http.exchange import Exchange
from frontend.http.fields import http_date
from frontend.http.route import Handle, Route
from frontend.rest.blob import parse_id
from frontend.rest.entry import Entry, container_of
from frontend.rest.resource import EVERYWHERE
from frontend.router.budget import Need
from frontend.router.context import RouterContext
from frontend.router.put import PutOperation
from frontend.router.records import BegunPut
from frontend.router.values import PutResult, PutSpec

DEFAULT_CONTENT_TYPE = "application/octet-stream"

ON_UPLOAD = EVERYWHERE | DIGEST_HEADERS | {
    "content-encoding", names.OWNER_ID, names.CONTENT_TYPE, names.CONTENT_ENCODING, names.ACCOUNT_NAME, names.CONTAINER_NAME,
    names.TTL, names.PRIVATE, names.FILENAME, names.ENCODED_FILENAME, names.DIGEST, names.DURABILITY,
}  # fmt: skip
PLAIN_ON_UPLOAD = ON_UPLOAD - DIGEST_HEADERS - {names.DIGEST}
"""What a plain upload may say: a digest is verified on the ordinary way."""
METADATA_PREFIXES = (names.METADATA_PREFIX, names.ENCODED_METADATA_PREFIX)

_WITH_DIGESTS = DIGEST_HEADERS | {names.DIGEST}

RESERVED = frozenset({
    "named", "uploads", "stitch", "batch", "accounts", "changes", "signedurl", "docs", "console", "openapi.json",
    "updatettl", "undelete",
})  # fmt: skip
"""First segments that are the API's own, now or later, in lower case; so is everything that begins with an underscore."""


class Uploads:
    """The calls that make a blob."""

    def __init__(self, router: RouterContext, entry: Entry, *, config: FrontendSection, clock: Clock) -> None:
        self._router = router
        self._entry = entry
        self._config = config
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        def upload(methods: tuple[str, ...], target: str, handle: Handle) -> Route:
            return Route(
                op="put",
                methods=methods,
                target=target,
                handle=handle,
                enter=self._entry.to_upload,
                changes=True,
                takes_body=True,
                headers=ON_UPLOAD,
                header_prefixes=METADATA_PREFIXES,
                select=self.select_nothing,
                statuses=(201,),
                takes=("application/octet-stream",),
            )

        return upload(("POST", "PUT"), "/", self.upload), upload(("PUT",), "/{filename}", self.upload_named)

    async def upload(self, exchange: Exchange) -> web.Response:
        """Store the body as a new blob; Location names it."""
        return await self._upload(exchange, "")

    async def upload_named(self, exchange: Exchange) -> web.Response:
        """Store the body as a new blob, which remembers the path as its file name."""
        name = rules.percent_decoded("the name in the path", exchange.target.segments[0])
        check_reserved(name)
        if _is_id(name):
            raise InvalidRequest(
                f"{name} is a blob's id, and a blob never changes: upload to / for a new blob with an id of its own, and give "
                f"{names.FILENAME} if this is to be its file's name"
            )
        return await self._upload(exchange, rules.filename("the name in the path", name))

    @staticmethod
    async def select_nothing(exchange: Exchange) -> None:
        """What the conditions of an upload are about: a new blob, so nothing stands there yet."""

    async def _upload(self, exchange: Exchange, filename: str) -> web.Response:
        headers = exchange.headers
        body = exchange.body
        size = exchange.body_size if body is None else len(body)
        if size is not None and size > self._config.blob_size_max:
            raise TooLarge(f"the body exceeds the largest allowed blob of {self._config.blob_size_max} bytes")
        container = container_of(exchange)
        spec = put_spec(
            headers,
            filename=filename,
            now_ms=self._clock.wall_ms(),
            has_metadata=exchange.prefixed,
            durability=container.durability,
        )
        check_lifetime(spec.expires_at_ms, container)
        check_durability(spec, self._router)
        digests = digests_of(headers)
        if body is None:
            result = await self._stream(exchange, spec, digests)
        else:
            result = await self._at_once(exchange, spec, body, digests)
        answer = told(result, spec)
        exchange.noted["blob"], exchange.noted["size"] = answer.id, result.size
        return web.Response(status=201, body=answer.body, headers=answer.headers)

    async def _at_once(
        self, exchange: Exchange, spec: PutSpec, body: bytes, digests: ExpectedDigests | None
    ) -> PutResult:
        """Put a short body that is here already."""
        if digests is not None:
            await digests.update(body)
        router = self._router
        if exchange.begun is not None:
            begun: BegunUpload = exchange.begun
            begun.taken = True
            return await begun.put.put_simple(body, begun.write)
        await router.budget.take(len(body), Need.READY, timeout_s=router.config.memory_wait_ms / 1000)
        try:
            return await PutOperation(
                exchange.context, router, spec, None if digests is None else digests.verify
            ).put_simple(body)
        finally:
            router.budget.give_back(len(body))

    async def _stream(self, exchange: Exchange, spec: PutSpec, digests: ExpectedDigests | None) -> PutResult:
        """Put a body as it comes."""
        async with streamed(exchange, self._router, digests) as body:
            put = PutOperation(exchange.context, self._router, spec, None if digests is None else digests.verify)
            return await put.run(body, size=exchange.body_size, size_max=self._config.blob_size_max)


@asynccontextmanager
async def streamed(
    exchange: Exchange, router: RouterContext, digests: ExpectedDigests | None
) -> AsyncIterator[AsyncIterator[bytes | None]]:
    """The body as it comes, through its digests; the client is told to send it now."""
    if exchange.body is not None:
        yield _at_once(exchange.body, digests)
        return
    body = body_of(exchange, budget=router.budget, wait_s=router.config.memory_wait_ms / 1000, digests=digests)
    if "expect" in exchange.headers:
        await exchange.continue_if_expected()
    try:
        yield body
    finally:
        body.close()


async def _at_once(body: bytes, digests: ExpectedDigests | None) -> AsyncIterator[bytes | None]:
    if digests is not None:
        await digests.update(body)
    if body:
        yield body


class BegunUpload(msgspec.Struct):
    """A short body whose put was begun before it came this way; who began it holds its memory."""

    put: PutOperation
    write: BegunPut
    taken: bool = False
    """Whether somebody goes on with it."""


_NEW = wire.Fields(
    "Content-Type", "Location", "ETag", names.BLOB_SIZE, names.DIGEST, names.DURABILITY, names.CREATION_TIME
)


class ToldOfNew(NamedTuple):
    """How a new blob is told of: its id as text, the values of the headers, and the body of the answer."""

    id: str
    values: tuple[str, ...]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return _NEW.headers(self.values)

    @property
    def lines(self) -> str:
        """The headers as they stand in an answer."""
        return _NEW.lines(self.values)


def told(result: PutResult, spec: PutSpec) -> ToldOfNew:
    """How this one is."""
    text, digest, size = str(result.id), values.digest_text(result.digest, result.parts), str(result.size)
    created = http_date(result.created_at_ms // 1000)
    told = ("application/json", f"/{text}", f'"{digest}"', size, digest, spec.durability.name.lower(), created)
    # Nothing in it needs to be escaped.
    return ToldOfNew(text, told, f'{{"id":"{text}","size":{size},"digest":"{digest}"}}\n'.encode())


def check_reserved(name: str) -> None:
    """Raises InvalidRequest for the name of a file that is the API's own, now or later."""
    if name.lower() in RESERVED or name.startswith("_"):
        raise InvalidRequest(f"{name[:40]!r} is a name of the API's own; upload to / and give {names.FILENAME}")


def _is_id(name: str) -> bool:
    """Whether a read of the same path would mean a blob."""
    try:
        parse_id(name)
    except InvalidBlobId:
        return False
    except InvalidRequest:
        pass  # of a chunk, as a read would say
    return True


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


def put_spec(
    headers: Mapping[str, str],
    *,
    filename: str,
    now_ms: int,
    has_metadata: bool = True,
    durability: Durability = Durability.DISK,
) -> PutSpec:
    """What an upload's headers ask for, by name in lower case; what they do not mention costs nothing.

    `has_metadata` False says that no header of user metadata is among them. `durability` is that of an upload which says
    nothing about it. Raises InvalidRequest naming the header, HeadersTooLarge.
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
    return PutSpec(
        properties=properties,
        metadata=_metadata(headers) if has_metadata else b"",
        created_at_ms=now_ms,
        expires_at_ms=expiry(headers.get(names.TTL), now_ms),
        durability=durability if asked is None else values.durability(asked),
    )


def _metadata(headers: Mapping[str, str]) -> bytes:
    pairs = metadata.decode(headers.items())
    if pairs:
        metadata.check(pairs)
    return encode_metadata(pairs)


def expiry(value: str | None, now_ms: int) -> int:
    """The expiry that an `x-ambry-ttl` of seconds means; none is never. Raises InvalidRequest."""
    seconds = None if value is None else values.ttl_seconds(value)
    return NEVER_MS if seconds is None else now_ms + seconds * 1000


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
