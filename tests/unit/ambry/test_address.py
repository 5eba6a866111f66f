"""Addresses as text."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from ambry.address import authority


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1:80"),
        ("node-1.example", "node-1.example:80"),
        ("::1", "[::1]:80"),
        ("fe80::1", "[fe80::1]:80"),
    ],
)
def test_addresses_of_ipv6_stand_in_brackets(host: str, expected: str) -> None:
    assert authority(host, 80) == expected
    parts = urlsplit(f"http://{expected}/")
    assert (parts.hostname, parts.port) == (host, 80)
