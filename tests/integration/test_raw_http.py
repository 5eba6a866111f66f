"""Some raw HTTP, refereed by h11; tests/fault/test_http_fuzz.py sends a hundred thousand."""

from __future__ import annotations

from deploy.local_cluster import LocalCluster
from tests.support.clusters import seed_of
from tests.support.http_fuzz import fuzz

REQUESTS = 1_500


def test_raw_requests_find_nothing_unexplained(cluster: LocalCluster) -> None:
    tally = fuzz(cluster, requests=REQUESTS, seed=seed_of("raw http"))
    assert not tally.findings and not tally.after, tally.report()
