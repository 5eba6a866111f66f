from __future__ import annotations

import pytest

from ambry.blob import BlobState
from ambry.errors import Unavailable
from frontend.router import presence as presence_module
from frontend.router.composite import chunk_list
from frontend.router.presence import presence
from frontend.router.update import delete
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster, some_request
from tests.support.fake_peers import fails, silent
from tests.support.virtual_loop import settle, virtual_time


@virtual_time
async def test_presence_counts_records_per_node_over_all_partitions() -> None:
    cluster = make_cluster(((3, 1), (3, 1)))
    blob_id = (await cluster.put(content(1, 5 * CHUNK))).id
    await settle()
    chunks = await chunk_list(some_request(), cluster.context, blob_id)
    assert chunks is not None and len(chunks.chunks) == 5
    found = {entry.node: entry for entry in await presence(some_request(), cluster.context, blob_id)}
    assert set(found) == {"dc1-n1", "dc1-n2", "dc1-n3", "dc2-n1"}
    for name, entry in found.items():
        assert (entry.total, entry.reachable, entry.error) == (6, True, "")
        assert entry.present == (6 if name.startswith("dc1") else 0)
    cluster.peer(2).forget(chunks.chunks[0].id)
    cluster.peer(2).learn(chunks.chunks[1].id, BlobState(0, True, 0))
    cluster.peer(3).script(silent())
    cluster.peer(1, 2).script(fails(Unavailable("away")))
    found = {entry.node: entry for entry in await presence(some_request(), cluster.context, blob_id)}
    assert (found["dc1-n2"].present, found["dc1-n2"].deleted) == (4, 1)
    assert (found["dc1-n3"].present, found["dc1-n3"].reachable) == (0, False)
    assert found["dc2-n1"].error == "away"


@virtual_time
async def test_presence_of_very_many_chunks_is_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "IDS_PER_REQUEST", 4)
    cluster = make_cluster()
    blob_id = (await cluster.put(content(1, 9 * CHUNK))).id
    await settle()
    found = await presence(some_request(), cluster.context, blob_id)
    assert [entry.present for entry in found] == [10, 10, 10]


@virtual_time
async def test_a_simple_blob_has_no_chunks_and_of_a_deleted_one_is_told_who_knows() -> None:
    cluster = make_cluster()
    blob_id = (await cluster.put(b"hello")).id
    await settle()
    assert not (await chunk_list(some_request(), cluster.context, blob_id)).chunks
    assert [entry.present for entry in await presence(some_request(), cluster.context, blob_id)] == [1, 1, 1]
    await delete(some_request(), cluster.context, blob_id)
    await settle()
    found = await presence(some_request(), cluster.context, blob_id)
    assert [(entry.present, entry.deleted, entry.total) for entry in found] == [(0, 1, 1)] * 3
