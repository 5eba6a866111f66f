"""What is looked after on all connections that a process serves."""

from __future__ import annotations

import asyncio

import pytest

from ambry.errors import DeadlineExceeded
from ambry.network import accepted as accepted_module
from ambry.network.accepted import Accepted
from ambry.protocol.frame import Frame, MessageType, encode_head
from ambry.protocol.messages import base as messages
from tests.support.eventually import eventually
from tests.support.rpc_ends import Pair


async def test_requests_that_are_late_are_answered_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted_module, "EXPIRE_EVERY_S", 0.01)
    pair = Pair()
    await pair.start()
    pair.handler = lambda frame, responder: None
    client = await pair.raw()
    await eventually(lambda: len(pair.served) == 1)
    accepted = Accepted()
    accepted.add(pair.served[0])
    assert len(accepted) == 1
    accepted.start()
    client.send(encode_head(MessageType.PUT, 1, b"", timeout_ms=50))
    frame: Frame = await client.frame()
    assert type(messages.error_of(frame.header)) is DeadlineExceeded
    accepted.close()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.frame(), 30)
    accepted.discard(pair.served[0])
    assert len(accepted) == 0
    pair.stop()
