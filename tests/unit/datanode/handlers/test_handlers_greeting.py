"""Who are you, are you there."""

from __future__ import annotations

import msgspec
import pytest

from ambry import __version__
from ambry.errors import ReleaseMismatch, StoreMismatch
from ambry.network.introduction import INSTANCE_SIZE
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, Hello, Pong
from tests.support.direct_node import DirectNode
from tests.support.introductions import introduction
from tests.support.samples import CLUSTER


async def test_greetings(node: DirectNode) -> None:
    for expected in ("", "a1"):
        answer, _, _ = await node.ask(MessageType.HELLO, Hello(CLUSTER, "me", expected))
        assert isinstance(answer, Hello)
        assert (answer.cluster, answer.name, answer.layout_version) == (CLUSTER, "a1", 1)
        assert (answer.now_ms, answer.release) == (node.clock.wall, __version__)
        assert len(answer.instance) == INSTANCE_SIZE
    for hello in (Hello("other", "me"), Hello(CLUSTER, "me", "a2")):
        with pytest.raises(StoreMismatch):
            await node.ask(MessageType.HELLO, hello)
    newer = msgspec.structs.replace(introduction().hello(), version_min=7, version_max=9)
    with pytest.raises(ReleaseMismatch, match="speaks 7 to 9"):
        await node.ask(MessageType.HELLO, newer)


async def test_a_ping_is_answered_with_the_wall_clock(node: DirectNode) -> None:
    assert (await node.ask(MessageType.PING, Empty()))[0] == Pong(node.clock.wall)


async def test_a_ping_is_answered_with_the_room_for_puts(node: DirectNode) -> None:
    await node.parts.room.tick()
    answer, _, _ = await node.ask(MessageType.PING, Empty())
    assert answer == Pong(node.clock.wall, node.parts.room.bytes)
    assert node.parts.room.bytes > 0


async def test_a_clock_that_was_moved_is_told_to_nobody(node: DirectNode) -> None:
    """Two nodes whose clocks were set wrong together would else confirm each other's."""
    node.clock.ahead_ms = 40 * 86_400_000
    assert (await node.ask(MessageType.PING, Empty()))[0] == Pong(0)
