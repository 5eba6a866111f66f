"""Requests that wait."""

from __future__ import annotations

import asyncio

import pytest

from ambry.checksum import BLOCK_SIZE
from ambry.errors import (
    ReplicaUnavailable,
)
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.replication import ChangesCursor, ChangesRequest
from tests.support.direct_node import DirectNode
from tests.support.samples import PARTITION, blob_id

ID = blob_id(1)
LARGE = 5 * BLOCK_SIZE + 77


async def test_waiting_requests_are_answered_when_the_node_stops(node: DirectNode) -> None:
    cursor = ChangesCursor(PARTITION, node.replica.store.incarnation, node.replica.store.end_lsn)
    waiting = node.send(MessageType.CHANGES, ChangesRequest([cursor], 10, 60_000, 0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done
    await node.parts.later.stop()
    with pytest.raises(ReplicaUnavailable, match="shutting down"):
        await waiting.wait()
