from __future__ import annotations

from typing import Any

import pytest

from ambry.blob import BlobState
from ambry.errors import InvalidRequest, Unavailable
from ambry.ids import IdKind
from frontend.router import router as router_module
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster, some_id, some_request
from tests.support.fake_peers import fails, silent
from tests.support.virtual_loop import settle, virtual_time


@virtual_time
async def test_the_id_of_a_chunk_is_refused_by_every_call() -> None:
    cluster = make_cluster()
    chunk = some_id(kind=IdKind.CHUNK)
    calls: list[Any] = [
        cluster.router.open(some_request(), chunk, wanted=None),
        cluster.router.head(some_request(), chunk),
        cluster.router.composite(some_request(), chunk),
        cluster.router.delete(some_request(), chunk),
        cluster.router.undelete(some_request(), chunk),
        cluster.router.extend_ttl(some_request(), chunk, 1),
        cluster.router.presence(some_request(), chunk),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest, match="data chunk"):
            await call
    assert cluster.pool.journal == []


@virtual_time
async def test_presence_counts_records_per_node_over_all_partitions() -> None:
    cluster = make_cluster(((3, 1), (3, 1)))
    blob_id = (await cluster.put(content(1, 5 * CHUNK))).id
    await settle()
    chunks = await cluster.router.composite(some_request(), blob_id)
    assert chunks is not None and len(chunks.chunks) == 5
    found = {entry.node: entry for entry in await cluster.router.presence(some_request(), blob_id)}
    assert set(found) == {"dc1-n1", "dc1-n2", "dc1-n3", "dc2-n1"}
    for name, entry in found.items():
        assert (entry.total, entry.reachable, entry.error) == (6, True, "")
        assert entry.present == (6 if name.startswith("dc1") else 0)
    cluster.peer(2).forget(chunks.chunks[0].id)
    cluster.peer(2).learn(chunks.chunks[1].id, BlobState(0, True, 0))
    cluster.peer(3).script(silent())
    cluster.peer(1, 2).script(fails(Unavailable("away")))
    found = {entry.node: entry for entry in await cluster.router.presence(some_request(), blob_id)}
    assert (found["dc1-n2"].present, found["dc1-n2"].deleted) == (4, 1)
    assert (found["dc1-n3"].present, found["dc1-n3"].reachable) == (0, False)
    assert found["dc2-n1"].error == "away"


@virtual_time
async def test_presence_of_very_many_chunks_is_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "PRESENCE_IDS_PER_REQUEST", 4)
    cluster = make_cluster()
    blob_id = (await cluster.put(content(1, 9 * CHUNK))).id
    await settle()
    found = await cluster.router.presence(some_request(), blob_id)
    assert [entry.present for entry in found] == [10, 10, 10]


@virtual_time
async def test_a_simple_blob_has_no_chunks_and_of_a_deleted_one_is_told_who_knows() -> None:
    cluster = make_cluster()
    blob_id = (await cluster.put(b"hello")).id
    await settle()
    assert await cluster.router.composite(some_request(), blob_id) is None
    assert [entry.present for entry in await cluster.router.presence(some_request(), blob_id)] == [1, 1, 1]
    await cluster.router.delete(some_request(), blob_id)
    await settle()
    found = await cluster.router.presence(some_request(), blob_id)
    assert [(entry.present, entry.deleted, entry.total) for entry in found] == [(0, 1, 1)] * 3


@virtual_time
async def test_unready_names_the_partitions_that_could_not_take_a_put() -> None:
    cluster = make_cluster(((3, 3), (2, 3), (0, 3)))
    assert cluster.router.unready() == []
    cluster.peer(3).connected = False
    assert cluster.router.unready() == []
    cluster.peer(2).connected = False
    assert cluster.router.unready() == ["too few replicas answer for partitions [0, 1]"]
    cluster.peer(3).connected = True
    assert cluster.router.unready() == ["too few replicas answer for partitions [1]"]
    for peer in cluster.peers(2):
        peer.connected = False
    assert cluster.router.unready() == ["too few replicas answer for partitions [1]"]
