"""Tokens that go on with a list, and the bounds of its pages.

A token holds the key behind which the next page begins, and a check over that and over what the list is of: the cluster, the
container, the prefix. So a page stays where it is whatever others write, and a token of another list, or of another cluster, is
refused, not taken for a place in this one. It is no secret, and none is kept.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from ambry.checksum import xxh64
from ambry.errors import InvalidRequest
from frontend.metadata.store import PAGE_MAX, TIME_MAX, Stamp, Version

_CHECK_SIZE = 8
_PLACE = struct.Struct(">QIQ")
"""In a history: time, datacenter, and what tells versions of one stamp apart."""
TIES = 8
_NO_TOKEN = (
    "page is the nextPageToken of an answer to the same request, unchanged; leave it out to begin at the first page"  # nosec B105 # what a refusal says
)
_encode = msgspec.msgpack.Encoder().encode


class HasVersion(Protocol):
    @property
    def version(self) -> Version: ...


Dated = TypeVar("Dated", bound=HasVersion)


class HistoryPage(NamedTuple, Generic[Dated]):
    shown: Sequence[Dated]
    next_token: str | None


class PagedList(msgspec.Struct, frozen=True):
    """What a list is of: two that differ in any of it have nothing to do with each other's tokens."""

    cluster: str
    kind: str
    scope: int
    of: tuple[bytes, ...] = ()
    """What else tells it from others: a prefix, a name."""

    def token(self, key: bytes) -> str:
        """What `page` says to go on behind this key."""
        return base64.urlsafe_b64encode(self._check(key) + key).decode().rstrip("=")

    def key(self, token: str) -> bytes:
        """The key behind which a page begins. Raises InvalidRequest."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        check, key = raw[:_CHECK_SIZE], raw[_CHECK_SIZE:]
        if not key or check != self._check(key):
            raise InvalidRequest(_NO_TOKEN)
        return key

    def text(self, token: str) -> str:
        """The same of a list whose keys are text."""
        try:
            return self.key(token).decode()
        except UnicodeDecodeError:
            raise InvalidRequest(_NO_TOKEN) from None

    async def history(
        self, token: str | None, limit: int, read: Callable[[Version | None, int], Awaitable[list[Dated]]]
    ) -> HistoryPage[Dated]:
        """A page of a history, the newest first. `read` has up to so many that are older than a version.

        Where a store was put back from a backup some versions may have one stamp; the token tells them apart. Raises
        InvalidRequest.
        """
        beyond = None if token is None else self._place(token)
        bound = None if beyond is None else Version(0, self.scope, b"", Stamp(beyond[0], beyond[1] + 1), None, 0)
        asked = min(PAGE_MAX, limit + TIES)
        found = await read(bound, asked)
        told = 0
        for index, each in enumerate(found):
            if beyond is None or each.version.stamp != Stamp(beyond[0], beyond[1]):
                break
            told = index + 1
            if _place_of(each.version) == beyond:
                break
        shown = found[told : told + limit]
        more = len(found) == asked or len(found) > told + limit
        next_token = self.token(_PLACE.pack(*_place_of(shown[-1].version))) if more and shown else None
        return HistoryPage(shown, next_token)

    def _place(self, token: str) -> tuple[int, int, int]:
        """As `_place_of`."""
        raw = self.key(token)
        if len(raw) != _PLACE.size:
            raise InvalidRequest(_NO_TOKEN)
        time, datacenter, twin = _PLACE.unpack(raw)
        if time > TIME_MAX:
            raise InvalidRequest(_NO_TOKEN)
        return time, datacenter, twin

    def _check(self, key: bytes) -> bytes:
        said = _encode((self.cluster, self.kind, self.scope, self.of, key))
        return xxh64(said).to_bytes(_CHECK_SIZE, "big")


def limit_of(query: Mapping[str, str]) -> int:
    """How many entries a page has at most, by `max-keys`. Raises InvalidRequest."""
    text = query.get("max-keys")
    if text is None:
        return PAGE_MAX
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= PAGE_MAX):
        raise InvalidRequest(f"max-keys is a number from 1 to {PAGE_MAX}, not {text[:20]!r}")
    return int(text)


def asks_history(query: Mapping[str, str]) -> bool:
    """Raises InvalidRequest as `asks`."""
    return asks("history", query)


def asks(what: str, query: Mapping[str, str]) -> bool:
    """Raises InvalidRequest for one that has a value: `history=false` asks for none, and would get one."""
    if query.get(what):
        raise InvalidRequest(f"{what} stands alone, without a value: not {query[what][:20]!r}")
    return what in query


def _place_of(version: Version) -> tuple[int, int, int]:
    return version.stamp.time, version.stamp.datacenter, xxh64(version.value or b"")
