"""Names within a datacenter are linearizable, whatever processes write them and die: recorded histories, checked whole."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clusters import seed_of
from tests.support.linear import Kind, Operation, faults_of
from tests.support.metadata_history import KEYS, history_of, operations_in
from tests.support.metadata_stores import opened, sqlite_store

PROCESSES = 4
CLIENTS = 2
"""Of one process."""
KILLED = 2
"""Processes that are killed now and then, and started again for what is left."""


async def run_clients(path: Path, slot: int, operations: int, pause: random.Random | None) -> None:
    """So many operations of each client of a slot; with `pause` their process is killed three times amid them."""
    done, life = 0, 0
    while done < operations:
        record = path.with_name(f"record-{slot}-{life}")
        command = [sys.executable, "-m", "tests.support.metadata_history", str(path), str(record), f"{slot}.{life}"]
        process = await asyncio.create_subprocess_exec(
            *command, str(CLIENTS), str(operations - done), stdout=subprocess.DEVNULL
        )
        try:
            if pause is not None and life < 3:
                goal = pause.uniform(0.1, 0.3) * operations * CLIENTS
                while process.returncode is None and lines(record) < goal:  # noqa: ASYNC110  a process tells nobody
                    await asyncio.sleep(0.01)
            else:
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        done += lines(record) // CLIENTS
        life += 1
        assert life < 9, "it ends without having done anything"


def lines(record: Path) -> int:
    return record.read_bytes().count(b"\n") if record.exists() else 0


async def check(tmp_path: Path, operations: int) -> None:
    seed = seed_of("linear")
    path = tmp_path / "m.sqlite"
    slots = [
        run_clients(path, slot, operations, random.Random(seed + slot) if slot < KILLED else None)
        for slot in range(PROCESSES)
    ]
    await asyncio.gather(*slots)
    recorded: list[Operation] = []
    for record in tmp_path.glob("record-*"):
        recorded += operations_in(record)
    found, versions = [], 0
    async with opened(sqlite_store(path)) as store:
        for key in KEYS:
            history = await history_of(store, key)
            versions += len(history)
            found += faults_of(key, [operation for operation in recorded if operation.key == key], history)
    acknowledged = sum(operation.kind is not Kind.READ for operation in recorded)
    print(f"{len(recorded)} operations, {acknowledged} writes acknowledged, {versions} in the histories")
    assert found == []


@pytest.mark.fault
async def test_histories_of_processes_that_die_are_linearizable(tmp_path: Path) -> None:
    await check(tmp_path, 400)


@pytest.mark.slow
async def test_long_histories_are_linearizable(tmp_path: Path) -> None:
    await check(tmp_path, 20_000)
