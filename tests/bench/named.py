"""What a name costs beside an id: puts and gets of 4 KiB by both, and pages of names, all over HTTP.

    python -m tests.bench.named [--seconds 2] [--rounds 5] [--names N]

A cluster of real processes on loopback (three data nodes, one frontend, its metadata in SQLite); in each round requests by id
and requests by name in turn at 32 connections, so that a noisy minute falls on all. What is compared is processor time of all
servers. A put by name makes a name of its own each time. The bars are 1.3 times a put by id and 1.15 times a get.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from deploy.local_cluster import LocalCluster
from tests.bench.batches import Act, Client, connect, measure
from tests.support.clusters import running_cluster

SIZE = 4 << 10
BLOBS = 2_000
CONNECTIONS = 32
PUT_RATIO_MAX = 1.3
GET_RATIO_MAX = 1.15
NAMED = "/named/default/default"


async def run(cluster: LocalCluster, *, seconds: float, rounds: int) -> bool:
    port = urlsplit(cluster.frontends()[0].url).port or 0
    pids = [pid for member in cluster.members if (pid := cluster.pid(member.name)) is not None]
    body = os.urandom(SIZE)
    numbers = count()
    ids: list[str] = []

    async def put(client: Client, _: int) -> int:
        status, _body = await client.send("POST /", "", body)
        assert status == 201
        return 1

    async def put_named(client: Client, _: int) -> int:
        status, told = await client.send(f"PUT {NAMED}/bench/part-{next(numbers):06}", "", body)
        assert status == 201, told
        return 1

    async def get(client: Client, number: int) -> int:
        status, got = await client.send(f"GET /{ids[number % BLOBS]}")
        assert status == 200 and len(got) == SIZE
        return 1

    async def get_named(client: Client, number: int) -> int:
        status, got = await client.send(f"GET {NAMED}/read/part-{number % BLOBS:06}")
        assert status == 200 and len(got) == SIZE
        return 1

    first = await connect(port)
    for number in range(BLOBS):
        status, told = await first.send(f"PUT {NAMED}/read/part-{number:06}", "", body)
        assert status == 201
        ids.append(told.decode().split('"id":"')[1].split('"')[0])
    for number in range(BLOBS):  # as a frontend that has run for a while knows them
        await get_named(first, number)
    first.close()

    async def one(act: Act) -> float:
        figure = await measure(port, act, connections=CONNECTIONS, seconds=seconds, pids=pids)
        return figure.cpu_us

    held = True
    for name, by_id, by_name, most in (("get", get, get_named, GET_RATIO_MAX), ("put", put, put_named, PUT_RATIO_MAX)):
        pairs = []
        for turn in range(rounds):
            both: dict[Callable[..., object], float] = {}
            for act in (by_id, by_name) if turn % 2 else (by_name, by_id):
                both[act] = await one(act)
            pairs.append(both[by_name] / both[by_id])
            print(f"{name}: {both[by_id]:.0f} us by id, {both[by_name]:.0f} us by name", flush=True)
        ratio = statistics.median(pairs)
        held = held and ratio <= most
        print(f"{'held  ' if ratio <= most else 'MISSED'}  a {name} by name costs {ratio:.2f} x one by id", flush=True)
    return held


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, running_cluster(Path(place), datacenters=1) as cluster:
        held = uvloop.run(run(cluster, seconds=options.seconds, rounds=options.rounds))
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
