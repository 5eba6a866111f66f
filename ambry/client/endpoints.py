"""The frontends that a client is told to talk to."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from ambry.client.model import check_type
from ambry.errors import InvalidRequest
from ambry.shown_urls import shown_address

DEFAULT_ENDPOINT = "http://127.0.0.1:17100"


def normal_endpoints(endpoints: str | Sequence[str] | None) -> tuple[str, ...]:
    """Checked base URLs without a trailing slash. Raises InvalidRequest."""
    if endpoints is None:
        return (DEFAULT_ENDPOINT,)
    if not isinstance(endpoints, str):
        check_type("endpoints", endpoints, Sequence, "a URL, or a list of them")
        for each in endpoints:
            check_type("an endpoint", each, str, "a URL such as http://127.0.0.1:17100")
    listed = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
    urls: list[str] = []
    for text in (each.strip() for each in listed):
        if not text:
            continue
        if not text.isprintable() or " " in text:
            raise _malformed(text)
        url = _split(text if "//" in text else f"http://{text}")
        if url is None or url.scheme not in ("http", "https") or url.query or url.fragment or url.username:
            raise _malformed(text)
        urls.append(f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}")
    if not urls:
        raise InvalidRequest("at least one endpoint is needed, as http://host:port or https://host:port")
    return tuple(dict.fromkeys(urls))


def _malformed(text: str) -> InvalidRequest:
    shown = shown_address(text)
    more = "" if shown == text else ": it has no user, no password and no query"
    return InvalidRequest(f"endpoint {shown!r} is not of the form http://host:port or https://host:port{more}")


def _split(text: str) -> SplitResult | None:
    """None for what nobody can be connected to by: hosts and paths have only ASCII, parts of a host's name 1 to 63 of it."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
        if not text.isascii() or not host or port == 0:
            return None
        host.encode("idna")
    except ValueError:
        return None
    return url


def is_secure(endpoint: str) -> bool:
    """Whether it is spoken to over TLS."""
    return endpoint.startswith("https://")
