"""Raw HTTP against a real frontend, refereed by h11 (tests/support/http_referee.py says what that means)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clusters import running_cluster, seed_of
from tests.support.http_fuzz import fuzz

PROCESSES = 2
SHARES = {"keys": 600_000, "tls": 300_000, "nobody is asked": 100_000}
"""A million in all: with keys in the clear and in TLS, and where none is asked for."""


@pytest.mark.slow
@pytest.mark.parametrize("how", SHARES)
def test_a_million_hostile_requests_find_nothing_unexplained(tmp_path: Path, how: str) -> None:
    """F21, F22. With keys something is hidden all the while: nobody reads it who may not, or learns that it is there."""
    requests = SHARES[how]
    with running_cluster(tmp_path, datacenters=1, auth=how != "nobody is asked", tls=how == "tls") as cluster:
        tally = fuzz(cluster, requests=requests, seed=seed_of(f"http fuzz, {how}"), processes=PROCESSES)
    print(tally.summary())
    assert not tally.findings and not tally.after, tally.report()
    assert tally.accepted > requests / 3, "hardly anything that was drawn is HTTP"
    assert tally.stored > requests / 100, "hardly anything that was drawn is an upload"
    assert how == "nobody is asked" or tally.haunted > requests / 10, "hardly anything was about what is hidden"
