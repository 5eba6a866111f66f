"""Who sent a request that a proxy sent on: by whom that is believed, and what nobody believes."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from ambry.clock import SystemClock
from frontend.access.verified import Access
from frontend.audit.file import AuditFile
from frontend.audit.trail import AuditTrail
from frontend.http import access_log
from frontend.http.fields import HARMLESS
from frontend.http.plain import PLAIN_FIELDS, PLAIN_ON_UPLOAD
from frontend.http.proxies import BY_PROXY, HOPS_MAX, Sender, TrustedProxies, sent_on
from frontend.limits.meters import Meters
from frontend.limits.rates import Rates
from tests.support.access import access_with, bearer, fresh_key
from tests.support.captured_log import capture_log
from tests.support.http_frontend import http_frontend
from tests.support.http_frontend import ways as ways

PROXY, OTHER, CLIENT = "10.1.0.1", "10.2.0.9", "203.0.113.5"
TRUSTED = TrustedProxies(("10.1.0.0/24", "10.2.0.9", "fd00:1::/32"))


def sender(*lines: str, peer: str = PROXY, proto: tuple[str, ...] = ()) -> Sender:
    fields = CIMultiDict(
        [("X-Forwarded-For", line) for line in lines] + [("x-forwarded-proto", each) for each in proto]
    )
    return TRUSTED.sender(peer, CIMultiDictProxy(fields))


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ((CLIENT,), CLIENT),
        (("2001:db8::1",), "2001:db8::1"),
        (("2001:DB8:0::1",), "2001:db8::1"),
        (("::ffff:203.0.113.5",), CLIENT),
        (("6.6.6.6, 203.0.113.5",), CLIENT),
        ((f"6.6.6.6,\t{CLIENT} , {OTHER}, 10.1.0.77",), CLIENT),
        # A proxy that adds a line in place of an element: they are one list (RFC 9110 section 5.3).
        (("6.6.6.6", CLIENT), CLIENT),
        (("6.6.6.6, 7.7.7.7", f"{CLIENT}, {OTHER}"), CLIENT),
        # What a client made up stands in front of what the proxy added, and is not looked at.
        ((f"garbage, [::1]:80, , {CLIENT}",), CLIENT),
        ((", ".join(["6.6.6.6"] * 500 + [CLIENT]),), CLIENT),
        (("x" * 60_000 + "," + CLIENT,), CLIENT),
        ((*["6.6.6.6"] * 500, CLIENT), CLIENT),
        # A machine of ours that asks by a proxy of ours.
        (("10.2.0.9",), "10.2.0.9"),
        (("10.1.0.50, 10.2.0.9",), "10.1.0.50"),
        (("fd00:1::7",), "fd00:1::7"),
    ],
)
def test_the_first_address_from_the_end_that_is_no_trusted_proxy_is_the_client(
    lines: tuple[str, ...], client: str
) -> None:
    assert sender(*lines) == Sender(client, PROXY)


@pytest.mark.parametrize(
    "line",
    [
        "", " ", ",", "unknown", "_hidden", "203.0.113.5:8080", "[2001:db8::1]", "[2001:db8::1]:443", '"203.0.113.5"',
        "203.0.113.5,", "203.0.113.5, unknown", "203.0.113.5;203.0.113.6", "203.0.113.5 203.0.113.6", "203.0.113", "0x7f.1",
        "010.0.0.1", "1.2.3.4/8", "fe80::1%eth0", "fe80::1%<script>", "::ffff:1.2.3.4.5", "localhost", "１.２.３.４",
        "1.2.3.4\x00", "for=203.0.113.5", f"garbage, {OTHER}", "9" * 5_000, "1.2.3.4" + " " * 50 + "x",
    ],
)  # fmt: skip
def test_what_is_no_address_where_it_would_be_the_client_leaves_the_proxy(line: str) -> None:
    assert sender(line) == Sender(PROXY)


def test_so_many_proxies_behind_each_other_are_looked_past_and_no_more() -> None:
    past = [OTHER] * (HOPS_MAX - 1)
    assert sender(", ".join([CLIENT, *past])) == Sender(CLIENT, PROXY)
    for line in (", ".join([CLIENT, OTHER, *past]), ", ".join([OTHER] * 500)):
        assert sender(line) == Sender(PROXY)


@pytest.mark.parametrize(
    "peer", [CLIENT, "10.1.1.1", "127.0.0.1", "::1", "fd00:2::1", "", "/run/socket", "::ffff:10.3.0.1"]
)
def test_nobody_else_is_believed(peer: str) -> None:
    assert sender("6.6.6.6", peer=peer, proto=("https",)) == Sender(peer)


def test_nobody_is_believed_where_nobody_is_named() -> None:
    assert TrustedProxies().sender(PROXY, CIMultiDict({"X-Forwarded-For": CLIENT})) == Sender(PROXY)


def test_a_proxy_is_known_however_its_socket_is_told() -> None:
    assert sender(CLIENT, peer="::ffff:10.1.0.1") == Sender(CLIENT, "10.1.0.1")
    assert sender(CLIENT, peer="fd00:1::2%eth0") == Sender(CLIENT, "fd00:1::2")


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [((), ""), (("https",), "https"), (("HTTP ",), "http"), (("https, http",), ""), (("https", "http"), ""), (("ftp",), ""),
     (("https://evil",), "")],
)  # fmt: skip
def test_the_scheme_is_one_of_two_and_told_once(proto: tuple[str, ...], scheme: str) -> None:
    assert sender(CLIENT, proto=proto) == Sender(CLIENT, PROXY, scheme)
    assert sender(proto=proto) == Sender(PROXY, "", scheme)


@given(st.lists(st.text(alphabet="0123456789abcf.:%[], \t", max_size=60), max_size=4))
def test_whoever_is_told_is_an_address_as_it_is_written(lines: list[str]) -> None:
    found = sender(*lines)
    assert str(ip_address(found.client)) == found.client
    assert sender(*lines, CLIENT) == Sender(CLIENT, PROXY), "what the proxy adds counts, whatever came"


def test_a_request_that_was_sent_on_says_so() -> None:
    assert sent_on({"host": "a", "accept": "b"}) is None
    assert [sent_on({"host": "a", each: ""}) for each in sorted(BY_PROXY)] == sorted(BY_PROXY)


# --- over HTTP ---


class Watch:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def access() -> tuple[Access, dict[str, str]]:
    key = fresh_key()
    return access_with(key, SystemClock()), bearer(key)


@pytest.mark.parametrize(
    ("proxies", "client", "proxy"),
    [
        (["127.0.0.0/8"], CLIENT, "127.0.0.1"),
        (["10.0.0.0/8"], "127.0.0.1", None),
        ([], "127.0.0.1", None),
    ],
)
@pytest.mark.usefixtures("ways")
async def test_audit_and_log_tell_the_client_that_a_trusted_proxy_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: list[str], client: str, proxy: str | None
) -> None:
    events = capture_log(monkeypatch, access_log)
    known, key = access()
    trail = AuditTrail(AuditFile(tmp_path / "audit", rotate_bytes=1 << 30, keep=1), clock=SystemClock())
    sent = {"X-Forwarded-For": f"6.6.6.6, {CLIENT}"}
    async with http_frontend(access=known, audit=trail, access_log=True, trusted_proxies=proxies) as frontend:
        blob = await frontend.put(b"hello", {**key, **sent})
        assert (await frontend.call("GET", f"/{blob}", {**key, **sent})).status == 200
        assert (await frontend.call("GET", f"/{blob}", sent)).status == 401
        assert (await frontend.call("GET", "/%2e%2e/x", sent)).status == 400
        # Without the header these go the short way, where there is one: it is the proxy itself that asks.
        assert (await frontend.call("DELETE", f"/{blob}", key)).status == 202
    await trail.close()
    lines: list[dict[str, Any]] = [json.loads(line) for line in (tmp_path / "audit").read_bytes().splitlines()]
    assert [(line["op"], line["client"], line.get("proxy")) for line in lines] == [
        ("put", client, proxy),
        ("get", client, proxy),
        ("delete", "127.0.0.1", None),
    ]
    told = [(event["client"], event.get("proxy")) for event in events if event["event"] == "request"]
    assert told == [(client, proxy)] * 4 + [("127.0.0.1", None)]


def test_what_goes_the_short_way_was_not_sent_on() -> None:
    assert BY_PROXY <= HARMLESS
    assert not {each.encode() for each in BY_PROXY} & (PLAIN_FIELDS | PLAIN_ON_UPLOAD)


@pytest.mark.parametrize("trusted", [True, False])
async def test_rates_of_addresses_are_those_of_the_clients_behind_a_trusted_proxy(trusted: bool) -> None:
    meters = Meters(now=Watch(), anonymous=Rates(requests_per_s=2.0))
    known, _ = access()

    async with http_frontend(access=known, meters=meters, trusted_proxies=["127.0.0.1"] if trusted else []) as frontend:

        async def asks(client: str) -> int:
            return (await frontend.call("GET", "/keys", {"X-Forwarded-For": client})).status

        first = [await asks(CLIENT) for _ in range(3)]
        others = [await asks(f"198.51.100.{each}") for each in range(3)]
        assert first == [401, 401, 429]
        assert others == ([401] * 3 if trusted else [429] * 3), "nobody gets more by making addresses up"


async def test_no_request_that_was_sent_on_counts_as_one_of_this_machine() -> None:
    async with http_frontend() as frontend:
        assert (await frontend.call("GET", "/accounts")).status == 200
        for header in sorted(BY_PROXY):
            for path in ("/accounts", f"/{await frontend.put(b'x')}"):
                answer = await frontend.call("GET", path, {header: "127.0.0.1"})
                assert (answer.status, answer.json()["code"]) == (403, "AccessDenied"), header
                assert header in answer.json()["detail"]
            assert (await frontend.call("GET", "/healthz", {header: "127.0.0.1"})).status == 200
