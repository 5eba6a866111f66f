"""Some raw HTTP, refereed by h11; tests/fault/test_http_fuzz.py sends a million."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster, seed_of
from tests.support.http_fuzz import fuzz

REQUESTS = 1_500


def test_raw_requests_find_nothing_unexplained(cluster: LocalCluster) -> None:
    tally = fuzz(cluster, requests=REQUESTS, seed=seed_of("raw http"))
    assert not tally.findings and not tally.after, tally.report()


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_strangers_find_nothing_of_what_is_hidden_from_them(tmp_path: Path, tls: bool) -> None:
    with running_cluster(tmp_path, datacenters=1, partitions=1, auth=True, tls=tls) as cluster:
        tally = fuzz(cluster, requests=2 * REQUESTS, seed=seed_of("strangers"))
    assert not tally.findings and not tally.after, tally.report()
    assert tally.haunted > REQUESTS / 10, "hardly anything was about what is hidden"
