"""Whom a request may come from: browsers must not be made to speak to us by pages that are not ours.

A page of a stranger reaches a server on the user's own network in two ways. Its name can be made to resolve to our address
(DNS rebinding): then the Host header tells the stranger's name, so only names that are ours are served. An address literal
cannot be made to resolve to anything else, and is. Or the page sends requests across origins: those say so in Origin and
Sec-Fetch-Site, and may change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from ambry.errors import AccessDenied, InvalidRequest, MisdirectedRequest

FROM_BROWSERS = frozenset({"origin", "sec-fetch-site"})
"""Headers without which a request comes from no page, in lower case."""

LET_IN = "a container lets pages in by its accessControlAllowOrigin: ambry container set NAME --allow-origin ORIGIN"
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_KNOWN_MAX = 256
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Hosts:
    """The names that we answer to."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """`names` beside those of loopback and address literals; `*` among them takes every name."""
        given = [name.lower().rstrip(".") for name in names]
        self._any = "*" in given
        self._names = frozenset((*_LOOPBACK_NAMES, *given))
        self.known: set[str | None] = {None}
        """Authorities that were found good, as they were sent: what is in here needs no check."""

    def check(self, authority: str | None) -> None:
        """`authority` is a Host header's or an absolute target's, None where a request has none, as HTTP/1.0 allows.

        Raises MisdirectedRequest for a name that is not ours, InvalidRequest for what is no host.
        """
        if authority is None or authority in self.known:
            return
        name = host_of(authority)
        if not (self._any or name in self._names or _is_address(name)):
            raise MisdirectedRequest(
                f"this server does not answer to the name {name[:80]!r}; use its address, or add the name to `hosts` in its "
                "configuration"
            )
        if len(self.known) < _KNOWN_MAX:
            self.known.add(authority)


def host_of(authority: str) -> str:
    """The host in `host[:port]`, in lower case, without the brackets of IPv6. Raises InvalidRequest (RFC 9110 section 7.2)."""
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, ""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        plain = ":" in host and _is_address(host)
    else:
        plain = bool(host) and host.isascii() and all(c.isalnum() or c in "-._~" for c in host)
    if not plain or not (port.isascii() and (port.isdigit() or not port)) or len(port) > 5:
        raise InvalidRequest("Host is a name or an address, perhaps with a port (RFC 9110 section 7.2)")
    return host.lower().rstrip(".")


def refuse_cross_site(headers: Mapping[str, str], authority: str | None) -> None:
    """For a request that would change something; `headers` by name in lower case. Raises AccessDenied.

    A client that is no browser sends neither Origin nor Sec-Fetch-Site.
    """
    if headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin", "same-site"):
        raise AccessDenied(f"a page of another site must not change anything here (Sec-Fetch-Site); {LET_IN}")
    origin = headers.get("origin")
    if origin is not None:
        scheme, _, own = origin.lower().partition("://")
        default = _DEFAULT_PORTS.get(scheme, "")
        if not own or authority is None or own.removesuffix(default) != authority.lower().removesuffix(default):
            raise AccessDenied(f"a page of {origin[:80]!r} must not change anything here (Origin); {LET_IN}")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
