"""Where something listens, as text."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def authority(host: str, port: int) -> str:
    """`host:port` as it stands in a URL and in a Host header: IPv6 addresses in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there. A name is taken for that only if it is `localhost`."""
    if host.lower().rstrip(".") in ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks as they are written: `10.0.0.0/8`, `fd00::/8`, or one address. Raises ValueError for what is none."""
    found = tuple(ip_network(text) for text in texts)
    for network in found:
        if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
            raise ValueError(f"{network} is a network of IPv4: write it as one")
    return found
