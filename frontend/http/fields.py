"""A request's header fields (RFC 9110 section 5): gathered once, each name in lower case, and held against the route.

A field that asks for something is honoured or refused with a sentence, never ignored. What may be ignored is what HTTP says
may be: preferences (Accept, Prefer, TE, Upgrade), descriptions (User-Agent, Referer) and fields that nobody defined for us.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from email.utils import formatdate
from functools import lru_cache

from ambry.errors import ExpectationFailed, InvalidRequest, NotSupported
from frontend.http.exchange import Exchange
from frontend.http.route import Dialect, Route

HARMLESS = frozenset({
    "accept", "accept-charset", "accept-encoding", "accept-language", "authorization", "cache-control", "connection",
    "content-length", "content-type", "cookie", "date", "dnt", "expect", "forwarded", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive", "max-forwards", "origin", "pragma",
    "prefer", "priority", "range", "referer", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "te",
    "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "upgrade-insecure-requests", "user-agent", "via",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
})  # fmt: skip
"""Understood or ignored on every route: one look-up for what clients commonly send."""

SINGLE = frozenset({
    "authorization", "content-length", "content-location", "content-md5", "content-range", "content-type", "date", "expect",
    "from", "host", "if-modified-since", "if-range", "if-unmodified-since", "max-forwards", "origin", "range", "referer",
    "sec-fetch-site", "transfer-encoding", "user-agent",
})  # fmt: skip
"""Fields that are no lists and may stand there once (RFC 9110 section 5.3); of two, nobody can tell which is meant."""

REFUSED = {
    "idempotency-key": "an upload has its key in a header of this API's own, which /docs names; send it there",
    "x-http-method": "the method stands in the request line and cannot be changed by a header",
    "x-http-method-override": "the method stands in the request line and cannot be changed by a header",
    "x-method-override": "the method stands in the request line and cannot be changed by a header",
    "digest": "RFC 9530 replaced it: send Content-Digest with sha-256 or sha-512",
    "want-digest": "digests on demand are not implemented",
    "want-content-digest": "digests on demand are not implemented",
    "want-repr-digest": "digests on demand are not implemented",
}
"""Standing fields that ask for what no API here does."""


def gather(fields: Iterable[tuple[str, str]], own_prefix: str) -> dict[str, str]:
    """The fields by name in lower case; the lines of a list are joined (RFC 9110 section 5.3).

    Raises InvalidRequest for a second line of a field that is no list: those of SINGLE and all that begin with `own_prefix`.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        if name in found:
            if name in SINGLE or name.startswith(own_prefix):
                raise InvalidRequest(f"the header {name} stands there twice; send it once")
            value = f"{found[name]}{'; ' if name == 'cookie' else ', '}{value}"
        found[name] = value
    return found


def check_fields(exchange: Exchange, route: Route, dialect: Dialect) -> None:
    """Refuse what a request asks for in vain. Raises InvalidRequest, NotSupported, ExpectationFailed."""
    fields = exchange.headers
    understood = route.headers
    for name in fields:
        if name not in HARMLESS and name not in understood:
            if name.startswith(route.header_prefixes):
                exchange.prefixed = True
            else:
                _check_unknown(name, route, dialect)
    for name in dialect.checked_headers.keys() & fields.keys():
        dialect.checked_headers[name](name, fields[name])
    if exchange.target.query:
        _check_query(exchange, route)
    if "expect" in fields and fields["expect"].lower() != "100-continue":
        raise ExpectationFailed(f"Expect: {fields['expect'][:40]!r} cannot be met; 100-continue can")
    if "trailer" in fields:
        _check_trailer(fields["trailer"], route, dialect)
    exchange.body_size = body_size(fields)
    if not route.takes_body or exchange.body_size is None:
        _check_body(exchange, route)


def _check_unknown(name: str, route: Route, dialect: Dialect) -> None:
    reason = dialect.refused_headers.get(name) or REFUSED.get(name)
    if reason is not None:
        raise InvalidRequest(f"{name} is refused: {reason}")
    if name.startswith((dialect.own_prefix, "content-", "repr-", "if-")) or name == "if":
        raise InvalidRequest(f"{name} is not understood by {route.methods[0]} {route.target}; leave it out")


def _check_query(exchange: Exchange, route: Route) -> None:
    for key in exchange.target.query_pairs():
        if key not in route.query:
            raise InvalidRequest(f"the query key {key[:40]!r} is not understood by {route.methods[0]} {route.target}")


def _check_trailer(value: str, route: Route, dialect: Dialect) -> None:
    """Trailers are dropped (RFC 9110 section 6.5.1), so none may be announced that asks for something."""
    for name in list_of(value.lower()):
        if name in route.headers or name.startswith((dialect.own_prefix, "content-", "repr-", "if-")):
            raise InvalidRequest(f"{name[:40]} is not taken from a trailer; send it as a header")


def _check_body(exchange: Exchange, route: Route) -> None:
    coding = exchange.headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise NotSupported(
                f"Transfer-Encoding {coding[:40]!r} is not supported; send the body as it is, or chunked"
            )
        if exchange.http.version < (1, 1):
            raise InvalidRequest("Transfer-Encoding needs HTTP/1.1")
    if exchange.body_size != 0 and not route.takes_body:
        raise InvalidRequest(f"{exchange.method} {route.target} takes no body")


def body_size(fields: Mapping[str, str]) -> int | None:
    """Content-Length in bytes, 0 without a body, None where the body says itself where it ends (chunked).

    Digits of any number: what is too long to be a size that anybody takes is the largest that fits (RFC 9110 section 8.6).
    """
    if "transfer-encoding" in fields:
        return None
    text = fields.get("content-length")
    if text is None:
        return 0
    if not text.isascii() or not text.isdigit():
        raise InvalidRequest("Content-Length is a number of bytes")
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) < 19 else (1 << 63) - 1


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> str:
    """An HTTP date (RFC 9110 section 5.6.7) of so many seconds since 1970.

    Kept, since popular blobs are told the same few dates, and formatting one takes longer than finding a blob's place.
    """
    return formatdate(seconds, usegmt=True)


def list_of(value: str) -> Iterator[str]:
    """The elements of a list field that holds no quoted strings; empty ones are passed over (RFC 9110 section 5.6.1.2)."""
    return filter(None, (element.strip(" \t") for element in value.split(",")))
