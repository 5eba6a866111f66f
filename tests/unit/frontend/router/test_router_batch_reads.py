"""What one data node is asked, and what counts of what it answers."""

from __future__ import annotations

from ambry.errors import ReplicaUnavailable
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import WantedBytes
from frontend.router.batch_reads import SPLIT_MIN, by_peer, read_from
from frontend.router.sealing_keys import NoKeys
from tests.support.fake_cluster import make_cluster, some_id
from tests.support.fake_peers import fails, lost


async def test_each_partition_is_asked_of_one_well_replica_of_this_datacenter() -> None:
    cluster = make_cluster(((3, 3),) * 4)
    wanted = [(await cluster.put(b"x")).id for _ in range(40)]
    chosen = by_peer(cluster.context, wanted)
    assert sorted(number for _, numbers in chosen for number in numbers) == list(range(40))
    assert all(peer.node.datacenter_id == 1 for peer, _ in chosen)
    for peer in cluster.peers():
        peer.break_connection("gone")
    assert by_peer(cluster.context, wanted) == []
    assert by_peer(cluster.context, [some_id()]) == []


async def test_many_of_one_partition_are_asked_of_all_its_replicas_each_for_neighbours() -> None:
    cluster = make_cluster(((3,),))
    blob_id = (await cluster.put(b"x")).id
    chosen = by_peer(cluster.context, [blob_id] * 500)
    assert sorted(len(numbers) for _, numbers in chosen) == [166, 167, 167]
    for _, numbers in chosen:
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [len(numbers) for _, numbers in by_peer(cluster.context, [blob_id] * SPLIT_MIN)] == [SPLIT_MIN]
    cluster.peer(1).break_connection("gone")
    assert sorted(len(numbers) for _, numbers in by_peer(cluster.context, [blob_id] * 500)) == [250, 250]


async def test_an_answer_is_believed_where_it_fits_and_nothing_of_it_elsewhere() -> None:
    cluster = make_cluster(((3,),))
    put = await cluster.put(b"12345")
    parts = [WantedBytes(put.id.raw, 0, 100), WantedBytes(some_id().raw, 0, 1), WantedBytes(put.id.raw, 1, 3)]
    peer = cluster.peer(1)
    found = await read_from(cluster.request(), NoKeys(), peer, parts, room=100)  # type: ignore[arg-type]
    assert [None if each is None else bytes(each.data) for each in found] == [b"12345", None, b"23"]
    # Other bytes than those of the record's digest.
    for each in cluster.pool:
        each.records[put.id.raw].payload = b"12346"
    found = await read_from(cluster.request(), NoKeys(), peer, parts, room=100)  # type: ignore[arg-type]
    assert found[0] is None
    for fault in (fails(ReplicaUnavailable("opening")), lost()):
        peer.script(fault, type=MessageType.GETS)
        assert await read_from(cluster.request(), NoKeys(), peer, parts, room=100) == [None] * 3  # type: ignore[arg-type]
