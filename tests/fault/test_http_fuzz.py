"""Raw HTTP against a real frontend, refereed by h11 (tests/support/http_referee.py says what that means)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clusters import running_cluster, seed_of
from tests.support.http_fuzz import fuzz

REQUESTS = 100_000


@pytest.mark.fault
def test_a_hundred_thousand_raw_requests_find_nothing_unexplained(tmp_path: Path) -> None:
    """F21, F22."""
    with running_cluster(tmp_path, datacenters=1) as cluster:
        tally = fuzz(cluster, requests=REQUESTS, seed=seed_of("http fuzz"))
    assert tally.accepted > REQUESTS / 3, "hardly anything that was drawn is HTTP"
    assert tally.stored > REQUESTS / 50, "hardly anything that was drawn is an upload"
    assert not tally.findings and not tally.after, tally.report()
