"""Clients of a metadata file that record what they asked for and what came of it, in a process of their own.

    python -m tests.support.metadata_history PATH RECORD NAME CLIENTS OPERATIONS

Each line of RECORD is an operation that has returned (tests/support/linear.py). A value says when its write began, so that one
whose process died is still known by its version.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from pathlib import Path

import msgspec

from ambry.errors import MetadataUnavailable
from frontend.metadata.spaces import Space
from frontend.metadata.store import Conflict, Expect, MetadataStore, Put, Stamp, Version
from tests.support.linear import Kind, Operation, Written
from tests.support.metadata_stores import sqlite_store

KEYS = ("a", "b", "c", "d", "e")
SCOPE = 3


def time_of(version: object) -> int:
    return version.stamp.time if isinstance(version, Version) else 0


class Client:
    """Does one thing after the other, on keys that all share."""

    def __init__(self, store: MetadataStore, record: int, name: str) -> None:
        self._store = store
        self._record = record
        self._name = name
        self._random = random.Random(name)
        self._seen: dict[str, int] = {}

    async def run(self, operations: int) -> None:
        for number in range(operations):
            key = self._random.choice(KEYS)
            begun_ns = time.monotonic_ns()
            try:
                kind, seen, expected = await self._do(key, number, begun_ns)
            except MetadataUnavailable:
                continue
            self._seen[key] = seen
            done = Operation(key, kind, begun_ns, time.monotonic_ns(), seen, expected)
            os.write(self._record, msgspec.json.encode(done) + b"\n")

    async def _do(self, key: str, number: int, begun_ns: int) -> tuple[Kind, int, int]:
        """What it was, the time of the version that it wrote or saw, and of the one that it was bound to."""
        place, draw = key.encode(), self._random.random()
        if draw < 0.4:
            return Kind.READ, time_of(await self._store.get(Space.NAME, SCOPE, place)), 0
        value = None if draw < 0.5 else f"{begun_ns} {self._name} {number}".encode()
        expected = 0
        condition: Expect | Stamp = Expect.ANY
        kind = Kind.WRITE
        if 0.65 < draw < 0.85 and self._seen.get(key):
            kind, expected = Kind.SWAP, self._seen[key]
            condition = Stamp(expected, self._store.datacenter)
        elif draw > 0.85:
            kind, condition = Kind.MAKE, Expect.ABSENT
        if value is None:
            # A tombstone has no value to say when it began; only those that returned are known.
            kind = Kind.WRITE
        try:
            (version,) = await self._store.write([Put(Space.NAME, SCOPE, place, value, condition)])
        except Conflict as refused:
            return Kind.READ, time_of(refused.current), expected
        return kind, time_of(version), expected


async def record(path: Path, where: Path, name: str, clients: int, operations: int) -> None:
    store = sqlite_store(path)
    await store.reach()
    output = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    await asyncio.gather(*(Client(store, output, f"{name}.{number}").run(operations) for number in range(clients)))
    await store.close()


# --- for whoever starts them ---


def operations_in(where: Path) -> list[Operation]:
    """What a process recorded; the last line of a killed one may be half a line."""
    *whole, _ = where.read_bytes().split(b"\n")
    decode = msgspec.json.Decoder(Operation).decode
    return [decode(line) for line in whole]


async def history_of(store: MetadataStore, key: str) -> list[Written]:
    """All versions of a key, the oldest first."""
    found: list[Written] = []
    last: Version | None = None
    while page := await store.history(Space.NAME, SCOPE, key.encode(), before=last):
        last = page[-1]
        for version in page:
            begun_ns = int((version.value or b"0").split()[0])
            found.append(Written(version.stamp.time, version.living, begun_ns))
    found.reverse()
    return found


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
