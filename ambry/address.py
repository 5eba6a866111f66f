"""Where something listens, as text."""

from __future__ import annotations

from ipaddress import ip_address


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
