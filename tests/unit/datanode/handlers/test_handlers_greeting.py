"""Who are you, are you there."""

from __future__ import annotations

import pytest

from ambry.checksum import BLOCK_SIZE
from ambry.errors import (
    StoreMismatch,
)
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, Hello
from tests.support.direct_node import DirectNode
from tests.support.samples import CLUSTER, blob_id

ID = blob_id(1)
LARGE = 5 * BLOCK_SIZE + 77


async def test_greetings(node: DirectNode) -> None:
    for expected in ("", "a1"):
        answer, _, _ = await node.ask(MessageType.HELLO, Hello(CLUSTER, "me", expected))
        assert answer == Hello(CLUSTER, "a1")
    for hello in (Hello("other", "me"), Hello(CLUSTER, "me", "a2")):
        with pytest.raises(StoreMismatch):
            await node.ask(MessageType.HELLO, hello)
    assert (await node.ask(MessageType.PING, Empty()))[0] == Empty()
