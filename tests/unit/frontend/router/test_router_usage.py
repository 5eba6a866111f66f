"""What containers have in the whole cluster: every blob counted once, by whichever replica can tell."""

from __future__ import annotations

from ambry.blob import BlobState
from ambry.errors import ReplicaUnavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.router.usage import ContainerKey, UsedSpace, total, usage
from tests.support.fake_cluster import CHUNK, make_cluster
from tests.support.fake_peers import fails


async def test_each_blob_counts_once_in_whatever_partition_and_chunks_it_lies() -> None:
    cluster = make_cluster(((3,), (3,), (3,)))
    put = [await cluster.put(bytes(size)) for size in (10, 0, 3 * CHUNK + 5)]
    deleted = await cluster.put(b"gone")
    for peer in cluster.pool:
        peer.learn(deleted.id.raw, BlobState(0, True, 0))
    found = await usage(cluster.request(), cluster.context)
    assert [(partition.id, partition.error) for partition in found] == [(0, ""), (1, ""), (2, "")]
    container = ContainerKey(put[0].id.account, put[0].id.container)
    assert total(found) == {
        container: UsedSpace(live_blobs=3, live_bytes=3 * CHUNK + 15, reclaimable_blobs=1, reclaimable_bytes=4)
    }


async def test_another_replica_tells_where_one_cannot_and_a_partition_of_which_nobody_tells_says_why() -> None:
    cluster = make_cluster(((3,), (3,)))
    blob = BlobId((await cluster.put(b"12345")).id.raw)
    cluster.peer(1).script(fails(ReplicaUnavailable("opening")), type=MessageType.USAGE)
    found = await usage(cluster.request(), cluster.context)
    assert sum(each.live_bytes for each in total(found).values()) == 5
    for peer in cluster.pool:
        peer.serving = False
    found = await usage(cluster.request(), cluster.context)
    assert [partition.containers for partition in found] == [{}, {}]
    assert "dc1-n2: dc1-n2 does not know yet" in found[blob.partition].error
