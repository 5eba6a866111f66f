"""Whether recorded histories of registers are linearizable (Herlihy and Wing 1990), where every version has a place of its own.

The store gives each version a stamp, and in the end its whole history. So the order of the writes to a key is known, and what
is left to ask is whether the rest fits: every operation stands at the place of the version that it wrote or saw, and none that
had returned before another began may stand behind that. One pass in the order of time decides it, for any number of
operations.
"""

from __future__ import annotations

import bisect
import enum
import heapq
from collections.abc import Iterable, Sequence

import msgspec

NEVER_NS = 1 << 62
ANY_TOMBSTONE = -1


class Kind(enum.StrEnum):
    READ = "read"
    """Saw a version: a get, or a refusal that tells what stands there."""
    WRITE = "write"
    SWAP = "swap"
    """A write that was bound to the version before."""
    MAKE = "make"
    """A write that was bound to there being none, or a tombstone."""
    GONE = "gone"
    """Deleted it, or found it deleted: it saw some tombstone, and nobody knows which."""


class Operation(msgspec.Struct, frozen=True):
    """One operation on one key. Times are of one clock; `returned_ns` NEVER_NS: nobody knows whether and when it was done."""

    key: str
    kind: Kind
    begun_ns: int
    returned_ns: int
    time: int
    """Of the version that it wrote or saw; 0: there was none."""
    expected: int = 0
    """Of the version that a SWAP was bound to, or that a refused one was, which is a READ."""


class Written(msgspec.Struct, frozen=True):
    """A version of the history in the end."""

    time: int
    living: bool
    begun_ns: int
    """When its write began; its value says so."""


def faults_of(key: str, operations: Iterable[Operation], history: Sequence[Written]) -> list[str]:
    """What cannot be explained. `history` is all of the key's, the oldest first."""
    places = {0: 0} | {version.time: number for number, version in enumerate(history, 1)}
    tombstones = [number for number, version in enumerate(history, 1) if not version.living]
    known = set()
    found = []
    done: list[tuple[int, int, int, bool, Operation | None]] = []
    for operation in operations:
        if operation.kind is Kind.GONE:
            done.append((operation.begun_ns, operation.returned_ns, ANY_TOMBSTONE, False, operation))
            continue
        place = places.get(operation.time)
        if place is None:
            found.append(f"{key}: {operation} was acknowledged and is not in the history")
            continue
        writes = operation.kind is not Kind.READ
        if writes:
            known.add(operation.time)
        before = history[place - 2] if place > 1 else None
        if operation.kind is Kind.SWAP and (before.time if before else 0) != operation.expected:
            found.append(f"{key}: {operation} is bound to another version than the one before it")
        if operation.kind is Kind.MAKE and before is not None and before.living:
            found.append(f"{key}: {operation} is bound to none, and before it stands one that lives")
        if operation.kind is Kind.READ and operation.expected and operation.expected == operation.time:
            found.append(f"{key}: {operation} was refused, though what it was bound to stood there")
        done.append((operation.begun_ns, operation.returned_ns, place, writes, operation))
    # What nobody heard of any more was begun, and done at some time.
    done += [(v.begun_ns, NEVER_NS, places[v.time], True, None) for v in history if v.time not in known]
    done.sort(key=lambda item: item[:3])
    returned: list[tuple[int, int]] = []
    latest = 0
    for begun_ns, returned_ns, place, writes, told in done:
        while returned and returned[0][0] < begun_ns:
            latest = max(latest, heapq.heappop(returned)[1])
        if place == ANY_TOMBSTONE:
            # The first that can be: whatever fits behind a later one fits behind this one.
            first = bisect.bisect_left(tombstones, latest)
            if first == len(tombstones):
                found.append(f"{key}: deleted, and behind place {latest} nothing is: {told}")
                continue
            place = tombstones[first]
        if place < latest or (writes and place == latest):
            found.append(f"{key}: place {place} after place {latest} had been written or seen: {told}")
        heapq.heappush(returned, (returned_ns, place))
    return found
