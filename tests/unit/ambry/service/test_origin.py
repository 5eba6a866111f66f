"""Whom a request may come from."""

from __future__ import annotations

import pytest

from ambry.errors import AccessDenied, InvalidRequest, MisdirectedRequest
from ambry.service.origin import Hosts, host_of, refuse_cross_site


@pytest.mark.parametrize(
    "authority",
    [None, "localhost", "LocalHost:17100", "localhost.", "127.0.0.1", "127.0.0.1:17100", "10.1.2.3", "[::1]", "[::1]:80",
     "[fe80::1]:17100", "blobs.example", "Blobs.Example.:443", "blobs.example:"],
)  # fmt: skip
def test_names_of_ours_and_addresses_are_served(authority: str | None) -> None:
    hosts = Hosts(["Blobs.Example"])
    for _ in range(2):
        hosts.check(authority)


@pytest.mark.parametrize(
    "authority",
    ["evil.example", "evil.example:17100", "localhost.evil.example", "127.0.0.1.evil.example", "blobs.example.evil",
     "2130706433",
     "0x7f.1", "127.1", "x"],
)  # fmt: skip
def test_a_name_that_is_not_ours_is_refused_whoever_made_it_resolve_to_us(authority: str) -> None:
    """DNS rebinding: the page of a stranger is served under the stranger's name and then finds us behind it."""
    hosts = Hosts(["blobs.example"])
    for _ in range(2):
        with pytest.raises(MisdirectedRequest):
            hosts.check(authority)
    Hosts(["*"]).check(authority)


@pytest.mark.parametrize(
    "authority",
    ["", ":80", "a b", "a/b", "a@b", "é", "localhost:80:90", "localhost:x", "localhost:999999", "[::1", "::1", "[::1]x", "[a]",
     "[127.0.0.1]", "localhost,evil", "localhost:٣"],
)  # fmt: skip
def test_what_is_no_host_is_refused(authority: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Hosts(["*"]).check(authority)
    assert type(refused.value) is InvalidRequest


def test_what_is_remembered_of_hosts_is_bounded() -> None:
    hosts = Hosts()
    for number in range(2000):
        hosts.check(f"127.0.0.1:{number}")
    assert len(hosts.known) <= 256
    assert host_of("A.B:1") == "a.b"


@pytest.mark.parametrize(
    ("headers", "authority"),
    [
        ({}, "h:1"),
        ({}, None),
        ({"sec-fetch-site": "same-origin", "origin": "http://h:1"}, "h:1"),
        ({"sec-fetch-site": "none"}, "h:1"),
        ({"origin": "http://H:1"}, "h:1"),
        ({"origin": "http://h"}, "h"),
        ({"origin": "https://h"}, "h:443"),
        ({"origin": "http://[::1]:17100"}, "[::1]:17100"),
    ],
)
def test_our_own_pages_and_clients_that_are_no_browsers_may_change_things(
    headers: dict[str, str], authority: str | None
) -> None:
    refuse_cross_site(headers, authority)


@pytest.mark.parametrize(
    ("headers", "authority"),
    [
        ({"sec-fetch-site": "cross-site"}, "h:1"),
        ({"sec-fetch-site": "Cross-Site", "origin": "http://h:1"}, "h:1"),
        ({"sec-fetch-site": "something-new"}, "h:1"),
        ({"origin": "http://evil.example"}, "h:1"),
        ({"origin": "http://h:2"}, "h:1"),
        ({"origin": "null"}, "h:1"),
        ({"origin": ""}, "h:1"),
        ({"origin": "http://"}, "h:1"),
        ({"origin": "http://h:1"}, None),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:3000"}, "localhost:17100"),
    ],
)
def test_pages_of_others_may_change_nothing(headers: dict[str, str], authority: str | None) -> None:
    with pytest.raises(AccessDenied, match="accessControlAllowOrigin: ambry container set NAME --allow-origin ORIGIN"):
        refuse_cross_site(headers, authority)
