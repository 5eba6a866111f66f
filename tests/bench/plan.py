"""What a run measures, in which order. Pure.

Rounds go over all points in turn, and each point is followed at once by the bare server under the same load, so that a
noisy minute of the machine falls on both alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.bench.figures import Operation, Point

SMALL = 4 << 10
MIDDLE = 1 << 20
LARGE = 4 << 20
HUGE = 64 << 20
SIZES = (SMALL, LARGE, HUGE)
# (operation, size, connections) of the rows that --compare watches, and that carry the bars. A large PUT is not among them:
# the disk bounds it, and the bare server has none.
GUARDED: frozenset[tuple[Operation, int, int]] = frozenset(
    {
        ("put disk", SMALL, 32),
        ("put memory", SMALL, 32),
        ("get", SMALL, 32),
        ("get", LARGE, 4),
    }
)
SMALL_OPERATIONS: tuple[Operation, ...] = ("put disk", "put memory", "get")
LARGE_OPERATIONS: tuple[Operation, ...] = ("put disk", "get")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`puts_max`, by size, bounds what a cluster writes in one measurement: every replica lies on the same disk."""

    small_connections: tuple[int, ...]
    large_connections: tuple[tuple[int, int], ...]
    small_rounds: int
    large_rounds: int
    warmup_s: float
    window_s: float
    large_window_s: float
    puts_max: dict[int, int]
    probe_s: float


FULL = Plan(
    small_connections=(1, 16, 32, 64),
    large_connections=((LARGE, 1), (LARGE, 4), (LARGE, 16), (HUGE, 1), (HUGE, 4)),
    small_rounds=3,
    large_rounds=3,
    warmup_s=0.4,
    window_s=1.6,
    large_window_s=1.0,
    puts_max={LARGE: 48, HUGE: 4},
    probe_s=0.4,
)
QUICK = Plan(
    small_connections=(32,),
    large_connections=((LARGE, 4), (HUGE, 1)),
    small_rounds=2,
    large_rounds=2,
    warmup_s=0.4,
    window_s=1.2,
    large_window_s=0.8,
    puts_max={LARGE: 48, HUGE: 4},
    probe_s=0.3,
)

# For two commits side by side, where every round is a pair.
AGAINST = Plan(
    small_connections=(1, 32),
    large_connections=((MIDDLE, 4), (LARGE, 4), (HUGE, 1)),
    small_rounds=5,
    large_rounds=5,
    warmup_s=0.4,
    window_s=1.6,
    large_window_s=1.0,
    puts_max={MIDDLE: 192, LARGE: 48, HUGE: 4},
    probe_s=0.3,
)
AGAINST_QUICK = replace(
    AGAINST, small_connections=(32,), large_connections=((LARGE, 4),), small_rounds=3, large_rounds=3
)


def small_points(plan: Plan, datacenters: int) -> list[Point]:
    """In the order of one round: a GET comes after the PUTs that give it blobs."""
    return [
        _point(operation, SMALL, connections, datacenters)
        for connections in plan.small_connections
        for operation in SMALL_OPERATIONS
    ]


def large_points(plan: Plan, datacenters: int) -> list[Point]:
    """In the order of one round."""
    return [
        _point(operation, size, connections, datacenters)
        for size, connections in plan.large_connections
        for operation in LARGE_OPERATIONS
    ]


def paired_points(plan: Plan) -> list[Point]:
    """In the order of one round of two commits side by side: large blobs in class memory too, where no disk bounds them."""
    return small_points(plan, 1) + [
        _point(operation, size, connections, 1)
        for size, connections in plan.large_connections
        for operation in SMALL_OPERATIONS
    ]


def replicating_points() -> list[Point]:
    """The row set with a second datacenter that pulls while the first one takes PUTs; for the eye, not guarded."""
    return [Point(operation="put disk", size=SMALL, connections=32, datacenters=2)]


def _point(operation: Operation, size: int, connections: int, datacenters: int) -> Point:
    guarded = (operation, size, connections) in GUARDED
    return Point(operation=operation, size=size, connections=connections, datacenters=datacenters, guarded=guarded)
