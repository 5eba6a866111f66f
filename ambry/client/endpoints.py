"""The frontends that a client is told to talk to."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from ambry.client.model import check_type
from ambry.errors import InvalidRequest

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
            raise InvalidRequest(f"endpoint {text!r} is not of the form http://host:port or https://host:port")
        url = urlsplit(text if "//" in text else f"http://{text}")
        try:
            named = bool(url.hostname) and url.port != 0
        except ValueError:
            named = False
        if url.scheme not in ("http", "https") or not named or url.query or url.fragment or url.username:
            shown = text if "@" not in text else "..."
            raise InvalidRequest(f"endpoint {shown!r} is not of the form http://host:port or https://host:port")
        urls.append(f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}")
    if not urls:
        raise InvalidRequest("at least one endpoint is needed, as http://host:port or https://host:port")
    return tuple(dict.fromkeys(urls))


def is_secure(endpoint: str) -> bool:
    """Whether it is spoken to over TLS."""
    return endpoint.startswith("https://")
