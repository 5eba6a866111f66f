"""A process that writes to a metadata file and says what was acknowledged, to be killed at any moment.

    python -m tests.support.metadata_process groups PATH NAME
    python -m tests.support.metadata_process patience PATH NAME

It writes groups until it is killed: three registers and a local row each, of which nobody may ever see a part. For each it
prints a line when it begins, and one when the store has returned. It writes the WAL to the file often. Or it writes one thing
after the other and says how that went, and how long its event loop ever stood still meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from ambry.errors import InsufficientStorage, MetadataUnavailable
from frontend.metadata import sqlite
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.sqlite_file import BUSY_S
from frontend.metadata.store import LocalPut, MetadataStore, Put
from tests.support.metadata_stores import sqlite_store

SCOPE = 7
WRITERS = 4
"""Of one process, side by side: their groups share transactions."""
SHARED = b"shared"
"""A register that every group writes too: one history of all processes."""


def keys_of(group: str) -> tuple[bytes, bytes]:
    return f"{group}/a".encode(), f"{group}/b".encode()


async def write_group(store: MetadataStore, group: str) -> None:
    value = group.encode()
    first, second = keys_of(group)
    await store.write(
        [
            Put(Space.NAME, SCOPE, first, value),
            Put(Space.NAME, SCOPE, second, value),
            Put(Space.ALIAS, SCOPE, SHARED, value),
            LocalPut(LocalSpace.INTENT, value, value),
        ]
    )


async def write_groups(path: Path, name: str) -> None:
    sqlite.CHECKPOINT_TURNS = 5
    store = sqlite_store(path)
    await store.reach()

    async def write_some(writer: int) -> None:
        number = 0
        while True:
            group = f"{name}.{writer}.{number}"
            os.write(1, f"begun {group}\n".encode())
            await write_group(store, group)
            os.write(1, f"done {group}\n".encode())
            number += 1

    await asyncio.gather(*(write_some(writer) for writer in range(WRITERS)))


async def tell_outcomes(path: Path) -> None:
    """`done`, `away` or `full` for each of writes one after the other, and behind it the longest stop of the loop, in ms."""
    store = sqlite_store(path, timeout_s=BUSY_S + 0.5)
    await store.reach()
    loop = asyncio.get_running_loop()
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, loop.time() - before - 0.005)

    ticking = asyncio.create_task(tick())
    for number in count():
        try:
            await store.write([Put(Space.NAME, SCOPE, b"%d" % number, bytes(20_000))])
            outcome = "done"
        except MetadataUnavailable:
            outcome = "away"
        except InsufficientStorage:
            outcome = "full"
        try:
            await store.get(Space.NAME, SCOPE, b"0")
            await store.list(Space.NAME, SCOPE, limit=10)
            read = "read"
        except MetadataUnavailable:
            read = "unread"
        os.write(1, f"{outcome} {read} {longest_s * 1000:.0f}\n".encode())
        await asyncio.sleep(0.01)
    ticking.cancel()


# --- for whoever starts them ---


@dataclass(slots=True)
class Said:
    """What processes said of their groups."""

    begun: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)

    def hear(self, text: bytes) -> None:
        for line in text.decode().splitlines():
            # The last line of a killed process may be half a line.
            word, _, group = line.partition(" ")
            if word in ("begun", "done") and group.count(".") == 2:
                (self.begun if word == "begun" else self.done).add(group)


@contextlib.contextmanager
def writing(
    path: Path, name: str, *, wrapper: Sequence[str] = (), said: Path | None = None, what: str = "groups"
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes groups, killed in any case; what it says goes to `said`, or beside `path`."""
    command = [*wrapper, sys.executable, "-m", "tests.support.metadata_process", what, str(path), name]
    with (
        (said or said_file(path, name)).open("wb") as output,
        subprocess.Popen(command, stdout=output, start_new_session=True) as process,
    ):
        try:
            yield process
        finally:
            # What the wrapper wraps as well.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def said_file(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}-{name}.said")


async def faults_of(store: MetadataStore, said: Said) -> list[str]:
    """What is wrong with what a store holds, after processes wrote groups to it."""
    found = []
    cursor = None
    shared: set[str] = set()
    parts: dict[str, int] = {}
    seq = 0
    while (page := await store.log(cursor)).versions:
        cursor = page.cursor
        for version in page.versions:
            seq += 1
            if version.seq != seq:
                found.append(f"the log has a hole before {version.seq}")
                seq = version.seq
            group = (version.value or b"").decode()
            if version.space == Space.ALIAS:
                shared.add(group)
            else:
                parts[group] = parts.get(group, 0) + 1
    rows: set[str] = set()
    after = None
    while page_of_rows := await store.locals(LocalSpace.INTENT, after=after):
        after = page_of_rows[-1].key
        rows.update(row.value.decode() for row in page_of_rows)
    there = {group for group, times in parts.items() if times == 2}
    found += [f"{group} is half there" for group in (shared | set(parts) | rows) - (shared & there & rows)]
    found += [f"{group} was acknowledged and is lost" for group in said.done - there]
    found += [f"{group} was never written" for group in there - said.begun]
    return found


if __name__ == "__main__":
    job, where, who = sys.argv[1:]
    asyncio.run(write_groups(Path(where), who) if job == "groups" else tell_outcomes(Path(where)))
