from __future__ import annotations

import pytest

from frontend.config import FrontendSection
from frontend.http.admission import Admission, connections_that_fit, limits_of
from frontend.http.proxies import TrustedProxies


@pytest.mark.parametrize(
    ("descriptors", "peers", "wanted", "fit"),
    [
        (65_536, 6, 4096, 4096),
        (1024, 6, 4096, 1024 - 12 - 120),
        (256, 6, 4096, 256 - 12 - 120),
        (64, 6, 4096, 8),
        (64, 6, 2, 2),
    ],
)
def test_descriptors_are_kept_for_data_nodes_the_admin_port_and_farewells(
    descriptors: int, peers: int, wanted: int, fit: int
) -> None:
    assert connections_that_fit(descriptors, peers=peers, wanted=wanted) == fit


def test_connections_are_counted_in_all_and_for_each_client() -> None:
    admission = Admission(limits_of(FrontendSection(connections_max=3, connections_per_client_max=2)))
    assert [admission.enter(client) for client in ("a", "a", "b")] == [None] * 3
    assert "3 connections" in (admission.enter("c") or "")
    admission.leave("b")
    assert "at most 2" in (admission.enter("a") or "")
    admission.leave("a")
    assert admission.enter("a") is None
    for client in ("a", "a"):
        admission.leave(client)
    assert admission.connections == 0


def test_a_trusted_proxy_stands_for_many_clients_and_may_have_all_connections() -> None:
    """It was one client, and kept to the number of one: the clients behind it waited for each other."""
    section = FrontendSection(connections_max=5, connections_per_client_max=2)
    admission = Admission(limits_of(section), TrustedProxies(("10.1.0.0/24",)).trusts)
    assert [admission.enter("10.1.0.7") for _ in range(3)] == [None] * 3
    assert [admission.enter("10.2.0.7") for _ in range(2)] == [None] * 2
    assert "5 connections" in (admission.enter("10.1.0.7") or "")
    admission.leave("10.1.0.7")
    assert "at most 2" in (admission.enter("10.2.0.7") or "")
    assert admission.enter("10.1.0.8") is None


def test_heads_hold_what_they_cost_and_no_more_than_all_may() -> None:
    admission = Admission(limits_of(FrontendSection(heads_bytes_max=300_000, head_bytes_max=60_000)))
    assert admission.hold_head(60_000)
    assert not admission.hold_head(60_000)
    assert admission.hold_head(40_000)
    admission.release_head(60_000)
    admission.release_head(40_000)
    assert admission.head_bytes == 0
