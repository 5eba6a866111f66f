"""How processes of tests introduce themselves to peers."""

from __future__ import annotations

from ambry.clock import Clock
from ambry.network.introduction import INSTANCE_SIZE, Introduction
from tests.support.fake_clock import SettableClock
from tests.support.samples import CLUSTER


def introduction(name: str = "me", *, cluster: str = CLUSTER, clock: Clock | None = None) -> Introduction:
    """Of a process `name`, in a layout of version 1."""
    own = clock or SettableClock()
    return Introduction(
        cluster=cluster,
        name=name,
        layout_version=1,
        instance=name.encode().ljust(INSTANCE_SIZE, b"."),
        clock=own,
        told_ms=own.wall_ms,
    )
