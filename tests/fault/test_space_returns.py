"""Space comes back (C11): of deleted and expired blobs, of large ones with all their chunks, of uploads never finished."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import not_caught_up, running_cluster, seed_of
from tests.support.content import content
from tests.support.rest import call, get, metric, put
from tests.support.waiting import eventually, settled

LARGE = 20_000_000
SMALL = 30_000
HASTE = {
    "datanode": [
        "store.segment_size_bytes=2097152",
        "store.checkpoint_interval_s=0.3",
        "compaction.interval_s=0.3",
        "compaction.dead_share_min=0.05",
        "compaction.deleted_retention_s=3",
        "compaction.tombstone_retention_s=3",
        "sweep.interval_s=1.0",
        "sweep.grace_s=6",
    ]
}


def used_bytes(cluster: LocalCluster) -> dict[str, int]:
    """What the logs of each data node take on disk."""
    found: dict[str, int] = {}
    for node in cluster.nodes():
        total = 0
        for path in node.data_dir.glob("partition-*/*.segment"):
            with contextlib.suppress(FileNotFoundError):  # compacted away meanwhile
                total += path.stat().st_blocks * 512
        found[node.name] = total
    return found


def abandon_an_upload(cluster: LocalCluster, seed: int) -> None:
    """Send half of a large blob, until chunks of it are stored, and kill the frontend."""
    frontend = cluster.frontends("dc1")[0]
    parts = urlsplit(frontend.url)
    before = {
        node.name: metric(node.admin_url, "ambry_datanode_payload_bytes_received_total")
        for node in cluster.nodes("dc1")
    }
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        head = f"POST / HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {2 * LARGE}\r\n\r\n"
        sender = threading.Thread(target=_send, args=(connection, head.encode() + content(seed, LARGE)))
        sender.start()

        def stored() -> bool:
            return all(
                metric(node.admin_url, "ambry_datanode_payload_bytes_received_total") > before[node.name] + LARGE / 3
                for node in cluster.nodes("dc1")
            )

        eventually(stored, "chunks of the upload are stored")
        cluster.kill(frontend.name)
        sender.join()
    cluster.start(frontend.name)


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)


@pytest.mark.fault
def test_what_is_dead_gives_its_space_back_and_what_lives_stays(tmp_path: Path) -> None:
    seed = seed_of("space returns")
    with running_cluster(tmp_path, datacenters=2, partitions=2, overrides=HASTE) as cluster:
        url1, url2 = cluster.frontends("dc1")[0].url, cluster.frontends("dc2")[0].url
        large = {put(url1, content(seed + n, LARGE)): seed + n for n in range(4)}
        small = {put(url1, content(seed + n, SMALL)): seed + n for n in range(10, 110)}
        brief = [put(url2, content(seed + n, SMALL), {"x-ambry-ttl": "3"}) for n in range(200, 300)]
        abandon_an_upload(cluster, seed + 5)
        settled(lambda: not_caught_up(cluster), "every replica has everything")
        full = used_bytes(cluster)
        kept_large = dict(list(large.items())[:1])
        kept_small = dict(list(small.items())[::4])
        for blob_id in [*(large.keys() - kept_large.keys()), *(small.keys() - kept_small.keys())]:
            assert call(url1, "DELETE", f"/{blob_id}").status == 202
        # One segment per partition takes appends or did so last, and an oversize one holds a whole chunk.
        live = LARGE + len(kept_small) * SMALL
        bound = live + 2 * 2 * (4 << 20) + 2 * (2 << 20)
        assert min(full.values()) > bound + LARGE

        def too_full() -> list[str]:
            for url in (url1, url2):  # appends, so that the last segments come to be compacted as well
                put(url, content(seed + 7, SMALL), {"x-ambry-ttl": "3"})
            return [
                f"{name}: {used:,} of {bound:,} bytes" for name, used in used_bytes(cluster).items() if used > bound
            ]

        settled(too_full, "the space is back", timeout_s=120.0)
        print(f"{sum(full.values()):,} bytes became {sum(used_bytes(cluster).values()):,}, of which {6 * live:,} live")
        for url in (url1, url2):
            for blob_id, number in kept_large.items():
                assert get(url, blob_id).body == content(number, LARGE)
            for blob_id, number in kept_small.items():
                assert get(url, blob_id).body == content(number, SMALL)
            for blob_id in [*(large.keys() - kept_large.keys()), *brief[:5]]:
                assert get(url, blob_id).status in (404, 410)
        assert sum(metric(node.admin_url, "ambry_datanode_swept_chunks_total") for node in cluster.nodes()) >= 3 * 5
