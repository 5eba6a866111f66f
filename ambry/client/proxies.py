"""The proxies between a client and its endpoints, by the variables of the environment that curl and others go by.

    http_proxy                      for http://; in small letters alone, as HTTP_PROXY may be a header of a CGI's caller
    https_proxy, HTTPS_PROXY        for https://, through a tunnel (CONNECT): the proxy sees none of it
    all_proxy, ALL_PROXY            for both, where the others say nothing
    no_proxy, NO_PROXY              not for these: hosts, domains with all below them, host:port, networks, or *

What is on this machine, by a loopback address or as localhost, is never asked through a proxy.
"""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ambry.errors import ConfigInvalid
from ambry.shown_urls import shown_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """URLs of proxies, empty for none. Name and password in them are for the proxy; no repr and no message has them."""

    http: str = ""
    https: str = ""
    direct: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Proxies(http={shown_place(self.http)!r}, https={shown_place(self.https)!r}, direct={self.direct!r})"

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Proxies:
        """What they say. Who is asked through none does not mind a proxy that this client cannot use."""

        def said(*names: str) -> str:
            return _with_scheme(next((env[name].strip() for name in names if env.get(name, "").strip()), ""))

        listed = env.get("no_proxy") or env.get("NO_PROXY") or ""
        return cls(
            http=said("http_proxy", "all_proxy", "ALL_PROXY"),
            https=said("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
            direct=tuple(each.strip().lower() for each in listed.split(",") if each.strip()),
        )

    def of(self, endpoint: str) -> Proxy | None:
        """Through whom an endpoint is asked; None for directly. Raises ConfigInvalid for a proxy that cannot be used."""
        url = urlsplit(endpoint)
        proxy = self.https if url.scheme == "https" else self.http
        host = (url.hostname or "").lower().rstrip(".")
        port = url.port or (443 if url.scheme == "https" else 80)
        if not proxy or _is_loopback(host) or any(_fits(host, port, rule) for rule in self.direct):
            return None
        if not _is_proxy(proxy):
            raise ConfigInvalid(
                f"{endpoint} would be asked through {shown_place(proxy)}, and a proxy is http://host:port; "
                "see http_proxy, https_proxy and no_proxy"
            )
        return Proxy(proxy)


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """One, by its URL."""

    url: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80

    @property
    def headers(self) -> dict[str, str]:
        """What shows it who asks."""
        url = urlsplit(self.url)
        if url.username is None:
            return {}
        both = f"{unquote(url.username)}:{unquote(url.password or '')}"
        return {"proxy-authorization": f"Basic {b64encode(both.encode()).decode()}"}

    def __str__(self) -> str:
        return shown_place(self.url)

    __repr__ = __str__


def _with_scheme(url: str) -> str:
    return url if not url or "://" in url else f"http://{url}"


def _is_proxy(url: str) -> bool:
    try:
        found = urlsplit(url)
        return found.scheme == "http" and bool(found.hostname) and found.port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fits(host: str, port: int, rule: str) -> bool:
    """Whether a rule of no_proxy is about a host."""
    if rule == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, number = rule.rpartition(":")
    if colon and number.isdecimal():
        if int(number) != port:
            return False
        rule = name
    rule = rule.removeprefix("*").strip("[]").lstrip(".").rstrip(".")
    return bool(rule) and (host == rule or host.endswith(f".{rule}"))
