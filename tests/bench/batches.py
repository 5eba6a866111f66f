"""What a batch of 500 blobs of 4 KiB is worth: blobs a second, and processor time, beside single requests.

    python -m tests.bench.batches [--seconds 2] [--rounds 5]

A cluster of real processes on loopback (three data nodes, one frontend); in each round single requests at 32 connections, then
batches at 1 and at 4, so that a noisy minute falls on all. Class disk. The bar is 3 times the blobs of single requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from ambry.rest import frames
from deploy.local_cluster import LocalCluster
from tests.bench import proc
from tests.support.clusters import running_cluster

SIZE = 4 << 10
BATCH = 500
BLOBS = 4 * BATCH
SINGLE_CONNECTIONS = 32
HEAD = "{} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n{}\r\n"


class Client:
    """One kept connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, line: str, headers: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """The status and the body of the answer, in chunks or not."""
        head = (
            f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            if line[:3] == "GET"
            else HEAD.format(line, len(body), headers)
        )
        self._writer.write(head.encode() + body)
        raw = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(raw.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" not in raw:
            size = int(raw.partition(b"content-length:")[2].partition(b"\r\n")[0])
            return status, await self._reader.readexactly(size)
        pieces = []
        while size := int(await self._reader.readline(), 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readexactly(2)
        return status, b"".join(pieces)

    def close(self) -> None:
        self._writer.close()


async def connect(port: int) -> Client:
    return Client(*await asyncio.open_connection("127.0.0.1", port, limit=8 << 20))


Act = Callable[[Client, int], Awaitable[int]]
"""One request, the n-th of a connection; returns how many blobs it was about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    blobs_per_s: float
    cpu_us: float
    """Of all servers, for each blob."""


async def measure(port: int, act: Act, *, connections: int, seconds: float, pids: list[int]) -> Figure:
    loop = asyncio.get_running_loop()
    clients = [await connect(port) for _ in range(connections)]
    count = 0
    before, began = sum(map(proc.cpu_s, pids)), loop.time()
    ends = began + seconds

    async def work(number: int, client: Client) -> None:
        nonlocal count
        while loop.time() < ends:
            done = await act(client, number)
            count += done
            number += connections

    await asyncio.gather(*(work(number, client) for number, client in enumerate(clients)))
    took = loop.time() - began
    for client in clients:
        client.close()
    return Figure(blobs_per_s=count / took, cpu_us=(sum(map(proc.cpu_s, pids)) - before) / count * 1e6)


async def run(cluster: LocalCluster, *, seconds: float, rounds: int) -> None:
    port = urlsplit(cluster.frontends()[0].url).port or 0
    pids = [pid for member in cluster.members if (pid := cluster.pid(member.name)) is not None]
    body = os.urandom(SIZE)
    framed = frames.encode_frame({}, body) * BATCH
    first = await connect(port)
    ids = []
    for _ in range(BLOBS // BATCH):
        _, told = await first.send("POST /batch/put", f"Content-Type: {frames.CONTENT_TYPE}\r\n", framed)
        ids += [item["id"] for item in json.loads(told)["items"]]
    lists = [json.dumps(ids[start : start + BATCH]).encode() for start in range(0, BLOBS, BATCH)]
    first.close()

    async def get(client: Client, number: int) -> int:
        status, got = await client.send(f"GET /{ids[number % BLOBS]}")
        assert status == 200 and len(got) == SIZE
        return 1

    async def get_batch(client: Client, number: int) -> int:
        status, got = await client.send(
            "POST /batch/get", f"Accept: {frames.CONTENT_TYPE}\r\n", lists[number % len(lists)]
        )
        assert status == 200 and got.count(b"x-ambry-batch-status: 200") == BATCH
        return BATCH

    async def put(client: Client, number: int) -> int:
        status, _ = await client.send("POST /", "", body)
        assert status == 201
        return 1

    async def put_batch(client: Client, number: int) -> int:
        status, told = await client.send("POST /batch/put", f"Content-Type: {frames.CONTENT_TYPE}\r\n", framed)
        assert status == 200 and told.count(b'"status":201') == BATCH
        return BATCH

    for name, single, batch in (("get", get, get_batch), ("put", put, put_batch)):
        ratios: dict[int, list[float]] = {1: [], 4: []}
        costs: dict[int, list[float]] = {1: [], 4: []}
        for _ in range(rounds):
            alone = await measure(port, single, connections=SINGLE_CONNECTIONS, seconds=seconds, pids=pids)
            print(f"{name}: {alone.blobs_per_s:7.0f} blobs/s alone, {alone.cpu_us:.0f} us each", flush=True)
            for connections in ratios:
                many = await measure(port, batch, connections=connections, seconds=seconds, pids=pids)
                ratios[connections].append(many.blobs_per_s / alone.blobs_per_s)
                costs[connections].append(alone.cpu_us / many.cpu_us)
                print(
                    f"     {many.blobs_per_s:7.0f} blobs/s in batches at {connections}, {many.cpu_us:.0f} us each",
                    flush=True,
                )
        for connections, found in ratios.items():
            print(
                f"{name}, batches at {connections}: {statistics.median(found):.2f} times the blobs, "
                f"{statistics.median(costs[connections]):.2f} times as many for the same processor time"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, running_cluster(Path(place), datacenters=1) as cluster:
        uvloop.run(run(cluster, seconds=options.seconds, rounds=options.rounds))


if __name__ == "__main__":
    main()
