"""A blob as the HTTP API sees it: which one a request means, what its conditions are about, the headers that tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ambry.blob import NEVER_MS, BlobProperties, BlobState
from ambry.clock import Clock
from ambry.errors import BlobDeleted, BlobExpired, BlobGone, InvalidBlobId, InvalidRequest
from ambry.ids import ID_TEXT_SIZE, BlobId, IdKind
from ambry.rest import metadata, names, values
from ambry.rest.access import Role
from ambry.rest.text import is_plain, one_of, percent_encoded
from frontend.container import Container, unknown_container
from frontend.containers.resolver import Containers
from frontend.http import wire
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.http.fields import http_date
from frontend.http.inert import GUARDS, disposition
from frontend.rest.cross_origin import told_always
from frontend.router.context import RouterContext
from frontend.router.quorum_read import read_head
from frontend.router.values import BlobHead
from frontend.who import decide, in_container

FOR_EVER = "public, immutable, max-age=31536000"
"""Of bytes that stay readable: nobody need ask again."""
ASK_AGAIN = "public, no-cache"
"""Of bytes that anybody may keep, and has to ask for again whether they are still those that are meant."""
FOR_EVER_FOR_ONE = "private, immutable, max-age=31536000"
"""The same where only whoever has a key may read them: no cache that many share keeps them."""
ASK_FIRST = "private, no-cache"
NOT_AT_ALL = "no-store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """Which blobs a read may show beside those that live: `x-ambry-get-option`."""

    deleted: bool
    expired: bool
    any: bool = True
    """Whether it may show more than those that live."""

    def check(self, head: BlobHead, now_ms: int) -> None:
        """Raises BlobDeleted or BlobExpired for what was not asked for."""
        if head.state.deleted and not self.deleted:
            raise BlobDeleted(f"blob {head.id} was deleted")
        if head.state.expired(now_ms) and not self.expired:
            raise BlobExpired(f"blob {head.id} has expired")


ALIVE = Visible(deleted=False, expired=False, any=False)
ANY = Visible(deleted=True, expired=True)

_VISIBLE = {
    "none": ALIVE,
    "include_deleted_blobs": Visible(deleted=True, expired=False),
    "include_expired_blobs": Visible(deleted=False, expired=True),
    "include_all": ANY,
}


def visible(exchange: Exchange) -> Visible:
    """What the request asked to see. Raises InvalidRequest; AccessDenied for what only whoever may delete sees."""
    option = exchange.headers.get(names.GET_OPTION)
    if option is None:
        return ALIVE
    asked = _VISIBLE[one_of(names.GET_OPTION, option, tuple(_VISIBLE))]
    if asked.any:
        decide(exchange.context.who, in_container(Role.DELETE), exchange.context.container, exchange.name)
    return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedBlob(Selected):
    head: BlobHead


def selected_head(exchange: Exchange) -> BlobHead | None:
    """The head that the conditions' step read, if it did."""
    selected: SelectedBlob | None = exchange.selected
    return None if selected is None else selected.head


def parse_id(text: str) -> BlobId:
    """The id of a blob; a file extension behind it is ignored. Raises InvalidBlobId, InvalidRequest for the id of a chunk."""
    if len(text) > ID_TEXT_SIZE and text[ID_TEXT_SIZE] == ".":
        text = text[:ID_TEXT_SIZE]
    blob_id = BlobId.parse(text)
    if blob_id.kind is IdKind.CHUNK:
        raise InvalidRequest("this is the id of a data chunk inside a larger blob; use the blob's own id")
    return blob_id


def id_in_path(exchange: Exchange) -> BlobId:
    """The blob that the target's first segment names, or the one that its name points to. Raises InvalidBlobId."""
    if exchange.about is not None:
        found: BlobId = exchange.about
        return found
    text = exchange.target.segments[0]
    if len(text) < ID_TEXT_SIZE:
        raise InvalidBlobId(
            f"/{text[:40]} is neither a page of this port nor a blob id, which has {ID_TEXT_SIZE} characters; metrics and the "
            "pages for operators are on the admin port"
        )
    return _named(exchange, text)


def id_in_header(exchange: Exchange) -> BlobId:
    """The blob that `x-ambry-blob-id` names, also as it stands in a Location, or by its name. Raises InvalidBlobId."""
    if exchange.about is not None:
        found: BlobId = exchange.about
        return found
    text = exchange.headers.get(names.BLOB_ID)
    if text is None:
        raise InvalidBlobId(f"the header {names.BLOB_ID} must name the blob")
    return _named(exchange, text.removeprefix("/"))


def _named(exchange: Exchange, text: str) -> BlobId:
    blob_id = parse_id(text)
    exchange.noted["blob"] = text[:ID_TEXT_SIZE]
    return blob_id


def digest_of(properties: BlobProperties) -> str:
    """`x-ambry-digest` of a blob."""
    return values.digest_text(properties.digest, properties.parts)


def etag_of(properties: BlobProperties) -> str:
    """The strong entity tag, quotes included: a blob's bytes never change, so it is the digest of them."""
    return f'"{digest_of(properties)}"'


def ttl_of(state: BlobState, created_at_ms: int) -> str:
    """`x-ambry-ttl`: seconds from creation to expiry, -1 for ever."""
    if state.expires_at_ms == NEVER_MS:
        return values.FOREVER
    return str(round((state.expires_at_ms - created_at_ms) / 1000))


class BlobFinder:
    """Finds what calls about a blob are about, and tells of it."""

    def __init__(self, router: RouterContext, containers: Containers, clock: Clock) -> None:
        self._router = router
        self.containers = containers
        self._clock = clock

    async def head(self, exchange: Exchange, blob_id: BlobId, allowed: Visible = ALIVE) -> BlobHead:
        """A blob's head, from the conditions' step if it read it. Raises BlobNotFound, BlobGone, Unavailable."""
        known = selected_head(exchange)
        if known is not None:
            return known
        head = await read_head(exchange.context, self._router, blob_id, any_state=allowed.any)
        if allowed.any:
            allowed.check(head, self._clock.wall_ms())
        return head

    def check(self, head: BlobHead, allowed: Visible) -> None:
        """Raises BlobDeleted or BlobExpired for a blob, found in any state, that was not asked for."""
        allowed.check(head, self._clock.wall_ms())

    # --- what conditions are about ---

    async def select_shown(self, exchange: Exchange) -> SelectedBlob:
        """For reads."""
        allowed = visible(exchange)
        head = await self.head(exchange, id_in_path(exchange), allowed)
        return self._selected(head, allowed, named=exchange.about is not None)

    async def select_about(self, exchange: Exchange) -> SelectedBlob:
        """For what is told about a blob, which may change and has neither tag nor date."""
        head = await self.head(exchange, id_in_path(exchange), visible(exchange))
        return SelectedBlob(etag=None, modified_ms=None, headers={}, head=head)

    async def select_deletable(self, exchange: Exchange) -> SelectedBlob | None:
        """For a delete, which a deleted or expired blob does not refuse: nothing stands there any more."""
        try:
            return self._selected(await self.head(exchange, id_in_path(exchange)), ALIVE)
        except BlobGone:
            return None

    async def select_living(self, exchange: Exchange) -> SelectedBlob:
        """For an update of a blob that is named in a header."""
        return self._selected(await self.head(exchange, id_in_header(exchange)), ALIVE)

    async def select_kept(self, exchange: Exchange) -> SelectedBlob:
        """For an undelete: the deleted blob whose bytes are still there."""
        return self._selected(await self.head(exchange, id_in_header(exchange), ANY), ANY)

    def _selected(self, head: BlobHead, allowed: Visible, *, named: bool = False) -> SelectedBlob:
        headers = self.headers(head, cache=self.cache(head, allowed, named=named))
        return SelectedBlob(
            etag=headers["ETag"],
            modified_ms=head.created_at_ms,
            headers={name: headers[name] for name in ("ETag", "Cache-Control", "Last-Modified")},
            head=head,
        )

    # --- what is told ---

    def container(self, blob_id: BlobId) -> Container:
        """The container of a blob, as far as it is known."""
        known = self.containers.known_id(blob_id.account, blob_id.container)
        return known or unknown_container(blob_id.account, blob_id.container)

    def cache(self, head: BlobHead, allowed: Visible, *, named: bool = False) -> str:
        """The Cache-Control of a blob's own bytes; `named` where it was read by a name, which may point to others soon."""
        return _cache(head, allowed, self.container(head.id), named=named)

    def headers(self, head: BlobHead, *, cache: str) -> dict[str, str]:
        """What every read of a blob tells of it; without the length of the body."""
        headers = {**_alike_of(head, self.container(head.id), cache).headers, **_OWN.headers(_own(head))}
        if head.metadata:
            headers.update(metadata.encode(head.metadata))
        return headers


def _cache(head: BlobHead, allowed: Visible, container: Container, *, named: bool) -> str:
    settings = container.settings
    if allowed.any or not settings.cacheable:
        return NOT_AT_ALL
    private = settings.is_private or head.properties.private
    if head.state.expires_at_ms != NEVER_MS or private:
        return ASK_FIRST
    if container.public:
        return ASK_AGAIN if named else FOR_EVER
    return ASK_FIRST if named else FOR_EVER_FOR_ONE


def lines_of(head: BlobHead, container: Container, *, named: bool = False) -> str:
    """What a read of a living blob in this container tells of it, as it stands in an answer; see BlobFinder.headers.

    `named`: it was read by a name. Raises InvariantBroken for a field that would end its line.
    """
    text = _alike_of(head, container, _cache(head, ALIVE, container, named=named)).lines + _OWN.lines(_own(head))
    if head.metadata:
        text += wire.lines(metadata.encode(head.metadata))
    return f"{text}Content-Location: /{head.id}\r\n" if named else text


def _alike_of(head: BlobHead, container: Container, cache: str) -> _Alike:
    properties = head.properties
    return _alike(
        properties.content_type,
        properties.content_encoding,
        properties.filename,
        properties.service_id,
        properties.owner_id,
        properties.private,
        container.account_name,
        container.container_name,
        container.origins,
        cache,
        head.encrypted,
    )


_OWN = wire.Fields(
    "ETag", "Last-Modified", names.BLOB_SIZE, names.DIGEST, names.CREATION_TIME, names.TTL, names.LIFE_VERSION
)
"""The headers in which every blob differs from others."""


def _own(head: BlobHead) -> tuple[str, ...]:
    """Their values."""
    digest = digest_of(head.properties)
    created = http_date(head.created_at_ms // 1000)
    state = head.state
    return (
        f'"{digest}"',
        created,
        str(head.properties.size),
        digest,
        created,
        ttl_of(state, head.created_at_ms),
        str(state.life_version),
    )


class _Alike(NamedTuple):
    """The headers in which many blobs are alike, and their lines; not to be changed."""

    headers: dict[str, str]
    lines: str


@lru_cache(maxsize=512)
def _alike(
    content_type: str,
    content_encoding: str,
    filename: str,
    service_id: str,
    owner_id: str,
    private: bool,
    account: str,
    container: str,
    origins: frozenset[str],
    cache: str,
    encrypted: bool,
) -> _Alike:
    headers = {
        "Content-Type": content_type,
        "Accept-Ranges": "bytes",
        "Cache-Control": cache,
        **GUARDS,
        **told_always(origins),
        names.CONTENT_TYPE: content_type,
        names.ACCOUNT_NAME: account,
        names.CONTAINER_NAME: container,
        names.PRIVATE: "true" if private else "false",
        names.ENCRYPTED_IN_STORAGE: "true" if encrypted else "false",
    }
    if service_id:
        headers[names.SERVICE_ID] = service_id
    if owner_id:
        headers[names.OWNER_ID] = owner_id
    if content_encoding:
        headers["Content-Encoding"] = headers[names.CONTENT_ENCODING] = content_encoding
    if filename:
        if is_plain(filename):
            headers[names.FILENAME] = filename
        else:
            headers[names.ENCODED_FILENAME] = percent_encoded("the file name", filename)
    shown_as = disposition(content_type, filename)
    if shown_as is not None:
        headers["Content-Disposition"] = shown_as
    return _Alike(headers, wire.lines(headers))
