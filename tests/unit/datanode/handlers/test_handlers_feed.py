"""The change feed's requests to a data node, at the edge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import ProtocolViolation
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.feed import FeedPartition, FeedReply, FeedRequest, WatchReply, WatchRequest
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import PARTITION


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    yield cluster["a1"]
    await cluster.stop()


async def test_both_are_answered(node: DirectNode) -> None:
    changes, _, _ = await node.ask(MessageType.FEED, FeedRequest(bytes(8), [FeedPartition(PARTITION, [])], 1))
    assert isinstance(changes, FeedReply)
    watched, _, _ = await node.ask(MessageType.WATCH, WatchRequest(bytes(16), 0, 0))
    assert isinstance(watched, WatchReply)


@pytest.mark.parametrize(
    ("type", "message"),
    [
        (MessageType.FEED, FeedRequest(b"short", [], 1)),
        (MessageType.FEED, FeedRequest(bytes(8), [], 0)),
        (MessageType.FEED, FeedRequest(bytes(8), [], 1_001)),
        (MessageType.WATCH, WatchRequest(b"short", 0, 0)),
        (MessageType.WATCH, WatchRequest(bytes(16), 0, 60_001)),
    ],
)
async def test_what_is_out_of_bounds_is_refused(
    node: DirectNode, type: MessageType, message: FeedRequest | WatchRequest
) -> None:
    with pytest.raises(ProtocolViolation):
        await node.ask(type, message)
