"""What containers have, as real data nodes tell it."""

from __future__ import annotations

import os

import pytest

from tests.support.rest import call, put
from tests.support.waiting import eventually


def used(url: str) -> tuple[int, int, int, int]:
    """Of the container `other`, or what the only container of a cluster that has no other has."""
    report = call(url, "GET", "/statsReport").json()
    assert report["missing"] == []
    containers = [container["usage"] for account in report["accounts"] for container in account["containers"]]
    kinds = ("live_blobs", "live_bytes", "reclaimable_blobs", "reclaimable_bytes")
    return tuple(sum(each[kind] for each in containers) for kind in kinds)


@pytest.mark.slow
def test_a_report_follows_what_is_put_and_deleted(dc1: str, dc2: str) -> None:
    """As of the last checkpoints, half a minute ago at most."""
    before = used(dc1)
    body = os.urandom(5 << 20)
    ids = [put(dc1, b"123"), put(dc1, body), put(dc1, b"12345")]
    assert call(dc1, "DELETE", f"/{ids[2]}").status == 202

    def grown(url: str, *by: int) -> bool:
        now = used(url)
        return all(after - start >= growth for start, after, growth in zip(before, now, by, strict=True))

    for url in (dc1, dc2):
        eventually(lambda url=url: grown(url, 2, 3 + len(body), 1, 5), "checkpoints", timeout_s=90)  # type: ignore[misc]
