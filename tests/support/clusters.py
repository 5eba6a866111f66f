"""Real clusters for tests: ports of their own even when test runs go side by side, small segments, logs named on failure."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.ids import BlobId, IdKind, uuid7
from deploy.local_cluster import LocalCluster
from tests.support.ports import port_range
from tests.support.rest import metric, page
from tests.support.waiting import eventually, settled

SMALL_DISKS = {"datanode": ("store.segment_size_bytes=16777216", "store.reserve_bytes=67108864")}


def seed_of(name: str) -> int:
    """The seed of a test: AMBRY_TEST_SEED, or a fresh one. It is printed, so that a failure shows it."""
    given = os.environ.get("AMBRY_TEST_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(1 << 31)
    print(f"{name}: seed {seed}; repeat with AMBRY_TEST_SEED={seed}")
    return seed


def rounds(default: int) -> int:
    """How often to repeat: AMBRY_FAULT_ROUNDS, or the default."""
    return int(os.environ.get("AMBRY_FAULT_ROUNDS") or default)


@contextlib.contextmanager
def running_cluster(
    directory: Path,
    *,
    datacenters: int = 2,
    nodes: int = 3,
    frontends: int = 1,
    partitions: int = 4,
    auth: bool = False,
    tls: bool = False,
    overrides: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[LocalCluster]:
    """A ready cluster, down afterwards; its ports are nobody else's until then."""
    wanted = {role: [*SMALL_DISKS.get(role, ()), *(overrides or {}).get(role, ())] for role in ("datanode", "frontend")}
    with port_range() as port_base:
        cluster = LocalCluster(
            directory / "cluster",
            datacenters=datacenters,
            nodes=nodes,
            frontends=frontends,
            partitions=partitions,
            auth=auth,
            tls=tls,
            port_base=port_base,
            overrides=wanted,
            ready_timeout_s=60.0,
            report=print,
        )
        cluster.up()
        try:
            yield cluster
        finally:
            # What fails by a node that ended does not say so.
            for member in cluster.members:
                if cluster.pid(member.name) is None:
                    print(cluster.obituary(member.name))
            print(f"logs: {cluster.directory}/*/log.jsonl")
            cluster.down()


@contextlib.contextmanager
def shared_cluster(
    request: pytest.FixtureRequest, factory: pytest.TempPathFactory, **options: Any
) -> Iterator[LocalCluster]:
    """`running_cluster` for a fixture that many tests share; where none of them failed it leaves no file behind."""
    directory = factory.mktemp(request.scope)
    failed = request.session.testsfailed
    with running_cluster(directory, **options) as cluster:
        yield cluster
    if request.session.testsfailed == failed:
        shutil.rmtree(directory)


def frontend_urls(cluster: LocalCluster) -> list[str]:
    """The first frontend of every datacenter."""
    names = dict.fromkeys(member.datacenter for member in cluster.members)
    return [cluster.frontends(name)[0].url for name in names]


def not_caught_up(cluster: LocalCluster, nodes: Sequence[str] | None = None) -> list[str]:
    """What keeps replicas from being as good as their peers: no authority, lag, blobs that are looked for, damage."""
    found: list[str] = []
    ends: dict[tuple[str, int], int] = {}
    for node in cluster.nodes():
        with suppress(OSError, AssertionError):
            ends |= {
                (node.name, item["partition"]): item.get("end_lsn", 0) for item in page(node.admin_url, "/partitions")
            }
    for node in cluster.nodes():
        if nodes is not None and node.name not in nodes:
            continue
        try:
            partitions, wanted = page(node.admin_url, "/partitions"), page(node.admin_url, "/wanted")
        except (OSError, AssertionError) as error:
            found.append(f"{node.name}: {error}")
            continue
        found += [f"{node.name} wants {item}" for item in wanted[:3]]
        for partition in partitions:
            where = f"{node.name} partition {partition['partition']}"
            if partition["state"] in ("opening", "reopening", "failed"):
                found.append(f"{where}: {partition}")
                continue
            if partition["state"] != "open" or not partition["serving"] or partition["damaged"]:
                found.append(f"{where}: {partition['state']}, {partition['serving']=}, {partition['damaged']=}")
            for name, peer in partition["peers"].items():
                if not peer["connected"] or peer["lag_bytes"] or peer["outstanding"] or not peer["caught_up"]:
                    found.append(f"{where} behind {name}: {peer}")
                elif peer["lsn"] < ends.get((name, partition["partition"]), 0):
                    found.append(
                        f"{where} has not heard of all that {name} has: {peer}"
                    )  # it learns so with its next answer
    return found


def wait_until_whole(cluster: LocalCluster) -> None:
    """A process is ready when it reaches its own datacenter: wait until each reaches the others, too, and has all they have."""
    for frontend in cluster.frontends():
        usable = partial(metric, frontend.admin_url, "ambry_frontend_peers_usable")
        eventually(
            lambda usable=usable: usable() == len(cluster.nodes()),  # type: ignore[misc]
            f"{frontend.name} reaches every data node",
        )
    settled(lambda: not_caught_up(cluster), "every replica has caught up with its peers")


def segments_of(cluster: LocalCluster, node: str) -> list[Path]:
    """The segment files of one data node, oldest first within a partition."""
    return sorted(path for path in cluster.member(node).data_dir.glob("partition-*/*.segment") if path.is_file())


def partition_of(blob_id: str) -> int:
    return BlobId.parse(blob_id).partition


def never_stored() -> str:
    """An id of partition 0 that no cluster ever gave."""
    made = BlobId.make(
        kind=IdKind.SIMPLE,
        datacenter=1,
        account=1,
        container=1,
        partition=0,
        uuid=uuid7(SystemClock().wall_ms(), random.Random()),
    )
    return str(made)
