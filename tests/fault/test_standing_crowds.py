"""2,000 who idle, drip, read nothing or stop in the middle of a handshake, with keys and TLS in the path (F20, F21).

An honest client goes on, and the frontend holds no more than it may, and gives it back. How fast the honest client is,
tests/bench/crowds.py measures (docs/benchmarks.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.conftest import MakeCluster
from tests.support.content import content
from tests.support.crowd import MIB, anonymous_mib, memory_of
from tests.support.honest import Honest, frontend_of
from tests.support.standing_crowd import CROWDS, HALF_OPEN, READ_SIZE, Kind, standing
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault

COUNT = 2_000
CALLS = 40
BAR_MIB = 300_000_000 / MIB
TLS_MIB = 160 + COUNT * 40 / 1024
"""What TLS may cost more: a second copy, encrypted, of what the memory of downloads holds, and 40 KiB for each connection."""
KEPT_MIB = 96
"""What may stay when a crowd has gone."""


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_an_honest_client_is_served_among_thousands_that_stand_there(make_cluster: MakeCluster, tls: bool) -> None:
    cluster = make_cluster(datacenters=1, auth=True, tls=tls)
    front = frontend_of(cluster)
    honest = Honest(cluster)
    blob_id = honest.put(content(7, READ_SIZE))
    authority = str(cluster.directory / "certs" / "authority.crt") if tls else ""
    bar_mib = BAR_MIB + (TLS_MIB if tls else 0)
    crowds = [*CROWDS, HALF_OPEN] if tls else CROWDS
    first_mib = anonymous_mib(front.pid)
    for how, key in crowds:
        kind = Kind(
            how=how,
            count=COUNT,
            address=front.address,
            key=honest.key if key else "",
            blob_id=blob_id,
            authority=authority,
        )
        with memory_of(front.pid) as peak, standing(kind):
            assert honest.calls(CALLS) == []
            held = len(list(Path(f"/proc/{front.pid}/fd").iterdir()))
        eventually(
            lambda: anonymous_mib(front.pid) < first_mib + KEPT_MIB,
            f"its memory is given back, but for {KEPT_MIB} MiB of what came after {first_mib:.0f}",
            timeout_s=60,
        )
        print(f"\n{kind.name}: {peak.before_mib:.0f} -> {peak.most_mib:.0f} MiB, {held} descriptors")
        assert held < 4096 + 200
        assert peak.most_mib < bar_mib
