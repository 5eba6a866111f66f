"""Who sent a request, where a proxy stands in front of us: the one place that decides it. Pure.

A proxy adds the address that it was asked from to the end of `X-Forwarded-For`; what stands before came with the request, and
anybody may have made it up. So that header is read from a trusted proxy alone, from its end, past addresses of further trusted
ones: the first that is none of them is the client, and nothing in front of it is looked at. Where all are trusted, it is the
first of all. What is no address there (a port, brackets, a zone, `unknown`, nothing), or stands behind more than HOPS_MAX of
them, leaves the proxy itself as the client.

`X-Forwarded-Proto` tells from a trusted proxy in which scheme it was asked. `Forwarded` (RFC 7239) is read from nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, Protocol

from ambry.address import Address, networks_of

HOPS_MAX = 16
"""Proxies behind each other that are looked past."""
ADDRESS_SIZE_MAX = 45
"""Characters of the longest address: one of IPv6 with one of IPv4 at its end."""
KNOWN_MAX = 1_024
BY_PROXY = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"})
"""Headers of requests that somebody sent on, in lower case."""
_SCHEMES = ("http", "https")


class Sender(NamedTuple):
    """Who sent a request."""

    client: str
    """The address that it comes from."""
    proxy: str = ""
    """That of who told so; empty where nobody stands between."""
    scheme: str = ""
    """In which the client asked, as that one told: http or https; empty where it told nothing."""


class Repeated(Protocol):
    """A request's headers, by any case; one may stand there several times."""

    def getall(self, key: str, default: list[str], /) -> list[str]: ...


class TrustedProxies:
    """Those that are believed."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Raises ValueError for what is none."""
        self._networks = networks_of(networks)
        self._known: dict[str, str | None] = {}
        """By what a socket says of its other end: its address where it is trusted."""

    def trusts(self, peer: str) -> bool:
        """Whether a connection from `peer` is one of theirs, on which many clients come."""
        return bool(self._networks) and self._trusted_peer(peer) is not None

    def sender(self, peer: str, fields: Repeated) -> Sender:
        """Who sent the request with these headers that came on a connection from `peer`."""
        proxy = self._trusted_peer(peer) if self._networks else None
        if proxy is None:
            return Sender(peer)
        told = fields.getall("X-Forwarded-Proto", [])
        scheme = told[0].strip(" \t").lower() if len(told) == 1 else ""
        client = self._client(fields.getall("X-Forwarded-For", []))
        return Sender(client or peer, proxy if client else "", scheme if scheme in _SCHEMES else "")

    def _trusted_peer(self, peer: str) -> str | None:
        try:
            return self._known[peer]
        except KeyError:
            address = _address(peer.partition("%")[0])
            found = str(address) if address is not None and self._trusts(address) else None
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[peer] = found
            return found

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _client(self, lines: list[str]) -> str | None:
        """Whom the lines of X-Forwarded-For name; None where that is nobody."""
        entries = ",".join(lines).rsplit(",", HOPS_MAX)
        cut = len(entries) > HOPS_MAX
        first: Address | None = None
        for entry in reversed(entries[1:] if cut else entries):
            first = _address(entry.strip(" \t"))
            if first is None:
                return None
            if not self._trusts(first):
                return str(first)
        return None if cut or first is None else str(first)


def sent_on(headers: Mapping[str, str]) -> str | None:
    """A header by which a request says that a proxy sent it on, if it does; `headers` by name in lower case."""
    return next(iter(sorted(BY_PROXY.intersection(headers))), None)


def _address(text: str) -> Address | None:
    """One of IPv4 within IPv6 is that of IPv4. None for what is no address, or has a zone: that is of another machine."""
    if not 0 < len(text) <= ADDRESS_SIZE_MAX or "%" in text:
        return None
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
