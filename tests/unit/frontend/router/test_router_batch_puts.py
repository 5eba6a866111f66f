"""A batch of puts that is given up leaves nothing behind. What each blob gets: test_frontend_rest_batch_put.py."""

from __future__ import annotations

import asyncio

import pytest

from ambry.protocol.frame import MessageType
from frontend.router.batch_puts import BatchPut, SmallBlob
from frontend.router.values import PutResult
from tests.support.fake_cluster import make_cluster, put_spec
from tests.support.fake_peers import held
from tests.support.http_frontend import until


async def test_what_was_stored_is_deleted_when_nobody_will_be_told() -> None:
    cluster = make_cluster(((3,),))
    request = cluster.request()
    batch = BatchPut(request, cluster.context)
    stored = await batch.put([SmallBlob(put_spec(), b"a"), SmallBlob(put_spec(), b"b")])
    assert {result.id.raw for result in stored if isinstance(result, PutResult)} == cluster.pool.visible()
    batch.forget()
    await until(lambda: cluster.pool.visible() == set(), "they are deleted")


async def test_one_that_is_cancelled_on_its_way_is_deleted_too() -> None:
    cluster = make_cluster(((3,),))
    gate = asyncio.Event()
    for peer in cluster.pool:
        peer.script(held(gate), type=MessageType.PUTS)
    putting = asyncio.create_task(BatchPut(cluster.request(), cluster.context).put([SmallBlob(put_spec(), b"a")]))
    await until(lambda: len(cluster.pool.calls(MessageType.PUTS)) == 3, "it is sent")
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    gate.set()
    await until(lambda: len(cluster.pool.calls(MessageType.UPDATE)) == 3, "the replicas hear of it")
    await until(lambda: cluster.pool.visible() == set(), "it is deleted")
