"""Uploads: `POST /`, `PUT /`, and `PUT /<filename>` as `curl -T` sends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from ambry.clock import Clock
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    InvalidBlobId,
    InvalidRequest,
    QuotaExceeded,
    RetentionLocked,
    UpdateConflict,
)
from ambry.rest import names, values
from ambry.rest import text as rules
from ambry.rest.access import Role
from frontend.config import FrontendSection
from frontend.container import Container
from frontend.containers.quota import Hold, Quotas
from frontend.http import wire
from frontend.http.digests import ExpectedDigests
from frontend.http.exchange import Exchange
from frontend.http.fields import http_date
from frontend.http.route import Handle, Route
from frontend.idempotency.keys import IdempotencyKeys, KeyedPut
from frontend.idempotency.rows import said_of
from frontend.metadata.store import Change
from frontend.rest.blob import parse_id
from frontend.rest.entry import Entry, container_of
from frontend.rest.keyed import keyed_put, made_before
from frontend.rest.stream import streamed
from frontend.rest.upload_headers import (
    CHUNK_HEADERS,
    METADATA_PREFIXES,
    ON_UPLOAD,
    check_durability,
    check_lifetime,
    digests_of,
    is_chunk,
    put_spec,
)
from frontend.router.budget import Need
from frontend.router.context import RouterContext
from frontend.router.put import PutOperation
from frontend.router.records import Announce, BegunPut
from frontend.router.values import PutResult, PutSpec
from frontend.who import in_container

RESERVED = frozenset({
    "named", "uploads", "stitch", "batch", "accounts", "changes", "signedurl", "docs", "console", "openapi.json",
    "updatettl", "undelete", "keys", "encryption", "usage",
})  # fmt: skip
"""First segments that are the API's own, now or later, in lower case; so is everything that begins with an underscore."""


class Uploads:
    """The calls that make a blob."""

    def __init__(
        self,
        router: RouterContext,
        entry: Entry,
        quotas: Quotas | None,
        keys: IdempotencyKeys | None,
        *,
        config: FrontendSection,
        clock: Clock,
    ) -> None:
        self._router = router
        self._entry = entry
        self.quotas = quotas
        self._keys = keys
        self._config = config
        self._clock = clock
        self.chunk: Callable[[Exchange], Awaitable[web.Response]] | None = None
        """Takes an upload that is of a chunk, where there is a metadata store."""

    def routes(self) -> tuple[Route, ...]:
        def upload(methods: tuple[str, ...], target: str, handle: Handle, *more: str) -> Route:
            return Route(
                op="put",
                methods=methods,
                target=target,
                handle=handle,
                needs=in_container(Role.WRITE),
                enter=self._entry.to_upload,
                changes=True,
                takes_body=True,
                headers=ON_UPLOAD.union(more),
                header_prefixes=METADATA_PREFIXES,
                select=self.select_nothing,
                statuses=(201,),
                takes=("application/octet-stream",),
            )

        return upload(("POST", "PUT"), "/", self.upload, *CHUNK_HEADERS), upload(
            ("PUT",), "/{filename}", self.upload_named
        )

    async def upload(self, exchange: Exchange) -> web.Response:
        """Store the body as a new blob; Location names it."""
        if not CHUNK_HEADERS.isdisjoint(exchange.headers) and is_chunk(exchange.headers):
            if self.chunk is None:
                raise InvalidRequest(
                    f"this frontend has no metadata store for {names.CHUNK_UPLOAD}; send the blob as one"
                )
            return await self.chunk(exchange)
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
        keyed = await self.keyed(exchange)
        new = await self.make(exchange, filename, keyed=keyed)
        if keyed is not None and not new.again:
            try:
                await keyed.keep(new.along())
            except UpdateConflict:
                self._router.discards.forget(exchange.context.id, [new.result.id], new.spec.expires_at_ms)
                raise
        answer = told(new.result, new.spec)
        exchange.noted["blob"], exchange.noted["size"] = answer.id, new.result.size
        return web.Response(status=201, body=answer.body, headers=answer.headers)

    async def keyed(self, exchange: Exchange) -> KeyedPut | None:
        """What is known of its idempotency key, if it has one. Raises InvalidRequest, MetadataUnavailable."""
        if names.IDEMPOTENCY_KEY not in exchange.headers:
            return None
        return await keyed_put(exchange, self._keys)

    async def make(
        self,
        exchange: Exchange,
        filename: str,
        announce: Announce | None = None,
        *,
        keyed: KeyedPut | None = None,
        target: str = "",
    ) -> UploadedBlob:
        """Put the body as a blob, as the headers say; it is durable on return. `announce` as in frontend/router/records.py.

        What was acknowledged under its key before is not put again; the same key for another `target` is another upload.
        """
        headers = exchange.headers
        body = exchange.body
        size = exchange.size
        size_max = exchange.at_most(self._config.blob_size_max)
        if size is not None and size > size_max:
            raise exchange.too_large("the body", self._config.blob_size_max)
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
        said = b""
        if keyed is not None:
            said = said_of(target, spec, headers.get(names.TTL))
            if keyed.made is not None:
                key = headers[names.IDEMPOTENCY_KEY]
                before = await made_before(exchange, self._router, keyed.made, said, key)
                return UploadedBlob(before, spec, keyed, said)
            announce = keyed.announcing(announce)
        digests = digests_of(headers)
        async with Hold(self.quotas, container, size) as held:
            if body is None:
                result = await self._stream(exchange, spec, digests, announce, held)
            else:
                result = await self._at_once(exchange, spec, body, digests, announce)
            try:
                exchange.context.check_standing()
                await self._check_still(container, spec, held, result)
            except AmbryError:
                # Nobody was told of it.
                self._router.discards.forget(exchange.context.id, [result.id], spec.expires_at_ms)
                raise
        return UploadedBlob(result, spec, keyed, said)

    async def _check_still(self, container: Container, spec: PutSpec, held: Hold, result: PutResult) -> None:
        """What the container asks of an upload holds when that has ended, which may be hours after it began."""
        now = self._entry.now(container)
        if now is not container:
            now.check_active()
            check_lifetime(spec.expires_at_ms, now)
            await held.renew(now, result.size)

    async def _at_once(
        self,
        exchange: Exchange,
        spec: PutSpec,
        body: bytes,
        digests: ExpectedDigests | None,
        announce: Announce | None,
    ) -> PutResult:
        """Put a short body that is here already."""
        if digests is not None:
            await digests.update(body)
        router = self._router
        begun: BegunUpload | None = exchange.begun
        if begun is not None and (begun.sealed or not container_of(exchange).settings.encrypted):
            begun.taken = True
            return await begun.put.put_simple(body, begun.write)
        await router.budget.take(len(body), Need.READY, timeout_s=router.config.memory_wait_ms / 1000)
        try:
            verify = None if digests is None else digests.verify
            return await PutOperation(exchange.context, router, spec, verify, announce).put_simple(body)
        finally:
            router.budget.give_back(len(body))

    async def _stream(
        self,
        exchange: Exchange,
        spec: PutSpec,
        digests: ExpectedDigests | None,
        announce: Announce | None,
        held: Hold,
    ) -> PutResult:
        """Put a body as it comes."""
        async with streamed(exchange, self._router, digests) as body:
            verify = None if digests is None else digests.verify
            put = PutOperation(exchange.context, self._router, spec, verify, announce)
            return await put.run(
                held.over(body), size=exchange.body_size, size_max=exchange.at_most(self._config.blob_size_max)
            )


NOTHING_CHANGED = (AlreadyExists, UpdateConflict, RetentionLocked, AccessDenied, InvalidRequest, QuotaExceeded)
"""Raised where a blob that was put is surely not acknowledged, nor ever will be: it goes again."""


class UploadedBlob(NamedTuple):
    """A blob that was put, and what was asked for."""

    result: PutResult
    spec: PutSpec
    keyed: KeyedPut | None = None
    said: bytes = b""
    """What its headers say, as its idempotency key remembers it."""

    @property
    def again(self) -> bool:
        """Whether it had been acknowledged before, under its idempotency key."""
        return self.keyed is not None and self.keyed.made is not None

    @property
    def version(self) -> str:
        """Of one that had been acknowledged before: which version of a dataset it became; empty for none."""
        made = None if self.keyed is None or self.keyed.made is None else self.keyed.made.made
        return "" if made is None else made.version

    def along(self, version: str = "") -> Sequence[Change]:
        """What the metadata store must have done before it is acknowledged, as this version of a dataset if it is one."""
        return () if self.keyed is None else self.keyed.kept(self.result, self.said, version)


class BegunUpload(msgspec.Struct):
    """A short body whose put was begun before it came this way; who began it holds its memory."""

    put: PutOperation
    write: BegunPut
    taken: bool = False
    """Whether somebody goes on with it."""

    @property
    def sealed(self) -> bool:
        """Whether it is put encrypted."""
        return self.write.record.sealed is not None


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
