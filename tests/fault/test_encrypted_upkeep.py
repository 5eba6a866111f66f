"""Encrypted blobs after all that is done to them without a key, compaction, repair, the copies of another datacenter, and
after a rotation of each level.

Data nodes move and mend what they cannot read, so what they hold stays the same to the byte.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from ambry import AmbryClient, BlobId, RetryPolicy
from ambry.format import segment as segment_format
from ambry.format.segment import HEADER_SIZE
from deploy.local_cluster import LocalCluster
from tests.fault.conftest import MakeCluster
from tests.support.clusters import not_caught_up, seed_of
from tests.support.content import content
from tests.support.damage import damage_payload, holding
from tests.support.files_below import files_below
from tests.support.replica_reader import Held, ReplicaReader, read_changes
from tests.support.rest import metric
from tests.support.waiting import eventually, settled

FRAME, CHUNK = 64 << 10, 4 << 20
SIZES = (0, 1, 100, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + FRAME + 5)
FILLING = 500_000
PLANTED = b"PLANTED IN PLAIN TEXT "
HASTE = {
    "datanode": [
        "store.segment_size_bytes=6291456",
        "store.checkpoint_interval_s=0.3",
        "compaction.interval_s=0.3",
        "compaction.dead_share_min=0.05",
        "compaction.deleted_retention_s=1",
    ],
    "frontend": ["encryption.retry_s=0.05", "frontend.lame_duck_s=0"],
}
Blobs = dict[BlobId, bytes]


def client_of(cluster: LocalCluster, datacenter: str = "dc1") -> AmbryClient:
    """One that is patient with a frontend which has just started."""
    [frontend] = cluster.frontends(datacenter)
    return AmbryClient([frontend.url], container="secret", retry=RetryPolicy(max_attempts=10))


def planted(seed: int, size: int) -> bytes:
    """Content that is found if it is anywhere in the clear."""
    return (PLANTED + content(seed, size))[:size]


def unreadable(cluster: LocalCluster, blobs: Blobs) -> list[str]:
    """What is not read in both datacenters as it was put: whole, and by ranges around every border of frames and chunks."""
    wrong = []
    for datacenter in ("dc1", "dc2"):
        with client_of(cluster, datacenter) as client:
            for blob, data in blobs.items():
                if client.get_bytes(blob) != data or client.head(blob).metadata != {"note": PLANTED.decode()}:
                    wrong.append(f"{blob} ({len(data)} bytes) in {datacenter}")
                borders = {0, FRAME, 2 * FRAME, CHUNK - FRAME, CHUNK, 2 * CHUNK, len(data)}
                ranges = {(max(0, at - 1), min(len(data), at + 1)) for at in borders if at <= len(data)}
                ranges |= {(max(0, at - FRAME - 1), at) for at in borders if 0 < at <= len(data)}
                for start, end in ranges:
                    if start < end and client.get_bytes(blob, range=(start, end)) != data[start:end]:
                        wrong.append(f"{blob} ({len(data)} bytes) from {start} to {end} in {datacenter}")
    return wrong


def copies(cluster: LocalCluster, node: str) -> dict[bytes, bytes]:
    """What one node holds that was not deleted, by id. AssertionError where it cannot say of all of it."""

    async def read() -> dict[bytes, bytes]:
        async with ReplicaReader(cluster.shape.cluster, cluster.member(node)) as reader:
            found = [await reader.read(id) for id in ids]
        bad = [f"{copy.id} on {node}: {copy.held} {copy.detail}" for copy in found if copy.held is not Held.PRESENT]
        assert bad == [], bad
        return {id: copy.payload for id, copy in zip(ids, found, strict=True)}

    ids = [id for id, change in read_changes(cluster, node).items() if not change.state.deleted]
    return asyncio.run(read())


def compacted(cluster: LocalCluster, node: str, payload: bytes) -> bool:
    """Whether the copy of a node lies in a segment that a compaction made."""
    path, _ = holding(cluster.member(node), payload)
    return segment_format.decode(path.read_bytes()[:HEADER_SIZE]).generation > 0


@pytest.mark.fault
def test_encrypted_blobs_outlast_compaction_repair_and_rotation(make_cluster: MakeCluster) -> None:
    seed = seed_of("encrypted upkeep")
    source = random.Random(seed)
    cluster = make_cluster(nodes=2, partitions=1, overrides=HASTE)
    nodes = [node.name for node in cluster.nodes()]
    blobs: Blobs = {}
    with client_of(cluster) as client:
        client.create_container("default", "secret", encrypted=True)
        dead = []
        for number, size in enumerate(SIZES):
            data = planted(seed + number, size)
            blobs[client.put(data, metadata={"note": PLANTED.decode()}, durability="geo").id] = data
            dead.append(client.put(content(seed - 1 - number, FILLING)).id)
        # The last segments are compacted only when others take what comes.
        dead += [client.put(content(seed + 100 + number, FILLING)).id for number in range(14)]
        settled(lambda: not_caught_up(cluster), "every replica has everything")
        for blob in dead:
            client.delete(blob)
    before = copies(cluster, nodes[0])
    assert len(before) > len(SIZES), "chunks have records of their own"
    large = [payload for payload in before.values() if len(payload) > FRAME]

    for name in nodes:
        eventually(
            lambda name=name: 2 * sum(compacted(cluster, name, each) for each in large) > len(large),  # type: ignore[misc]
            f"compactions moved most large copies of {name}",
            timeout_s=120,
        )
    for name in nodes:
        assert copies(cluster, name) == before, "what nobody can read is moved as it is"
    assert unreadable(cluster, blobs) == []

    damaged = {name: [id for id, payload in before.items() if payload and source.random() < 0.6] for name in nodes[::2]}
    for name, ids in damaged.items():
        for id in ids:
            damage_payload(cluster.member(name), before[id], source.randrange(len(before[id])))
    assert unreadable(cluster, blobs) == [], "another copy is read"
    for name in damaged:
        assert metric(cluster.member(name).admin_url, "ambry_datanode_corrupt_reads_total") > 0
        eventually(lambda name=name: copies(cluster, name) == before, "what was damaged is mended to the byte")  # type: ignore[misc]
    assert unreadable(cluster, blobs) == []

    master = cluster.directory / "master.keys"
    with client_of(cluster) as client:
        client.encryption.rotate("default", "secret")
        data = planted(seed + 50, CHUNK + FRAME)
        blobs[client.put(data, metadata={"note": PLANTED.decode()}, durability="geo").id] = data
        master.write_text(f"{master.read_text()}2 {'5c' * 32}\n")
        step = client.encryption.rewrap()
        assert (step.master_version, step.failed, step.next) == ("2", (), None)
    with client_of(cluster, "dc2") as client:
        eventually(
            lambda: {key.master_version for key in client.encryption.show("default", "secret").keys} == {"2"},
            "the other datacenter has what was wrapped anew",
        )
    master.write_text(f"2 {'5c' * 32}\n")
    for frontend in cluster.frontends():
        cluster.kill(frontend.name)
        cluster.start(frontend.name)
    assert unreadable(cluster, blobs) == []
    for name in nodes:
        after = copies(cluster, name)
        assert {id: after[id] for id in before} == before, "no key is written into what is stored"
    assert [str(path) for path, held in files_below(cluster.directory) if PLANTED in held] == []
