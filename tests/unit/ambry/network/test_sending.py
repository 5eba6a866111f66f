"""Answers whose body stands in a file."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable

import pytest

from ambry.checksum import block_checks
from ambry.errors import AnswerDamaged, PeerConnectionLost, ReplicaUnavailable
from ambry.network.responding import Responder
from ambry.network.sending import FileBody
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages.base import Empty
from tests.support.eventually import eventually
from tests.support.rpc_ends import LONG_S, Pair

CONTENT = random.Random(7).randbytes(24 << 20)
"""More than the sockets of a connection hold."""


class Body(FileBody):
    """CONTENT in a real file, which gives no more than `limit` bytes."""

    def __init__(self, *, limit: int = len(CONTENT), error: Exception | None = None) -> None:
        super().__init__(len(CONTENT))
        self._file = os.memfd_create("content")
        os.write(self._file, CONTENT)
        self._limit = limit
        self._error = error
        self.sent = 0

    def send(self, target: int, start: int) -> int:
        if start >= self._limit:
            if self._error is not None:
                raise self._error
            return 0
        count = os.sendfile(target, self._file, start, min(1 << 20, self._limit - start))
        self.sent += count
        return count

    def rest(self, start: int) -> memoryview:
        return memoryview(CONTENT[start : self._limit] + bytes(len(CONTENT) - max(start, self._limit)))

    def close(self) -> None:
        os.close(self._file)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.start()
    yield made
    made.stop()


def answering(body: FileBody) -> Callable[[Frame, Responder], None]:
    checks = block_checks(CONTENT)

    def handler(_frame: Frame, responder: Responder) -> None:
        responder.reply(Empty(), body, checks)

    return handler


async def test_what_the_socket_does_not_take_at_once_comes_behind_it(pair: Pair) -> None:
    body = Body()
    pair.handler = answering(body)
    client = await pair.client()
    for _ in range(2):
        frame = await client.request(MessageType.GET, Empty(), timeout_s=LONG_S)
        assert frame.body == CONTENT
    assert 0 < body.sent < 2 * len(CONTENT)
    body.close()
    client.abort()


async def test_answers_keep_their_order_whatever_they_are_made_of(pair: Pair) -> None:
    """A file that found the transport busy went past what was queued."""
    body, checks = Body(), block_checks(CONTENT)
    order: list[int] = []
    asked: list[Responder] = []

    def handler(_frame: Frame, responder: Responder) -> None:
        asked.append(responder)
        if len(asked) == 5:
            for number, each in enumerate(asked):
                if number % 2:
                    each.reply(Empty(), body, checks)
                else:
                    each.reply(Empty(), CONTENT[:number], None)

    pair.handler = handler
    client = await pair.client()

    async def ask(number: int) -> None:
        frame = await client.request(MessageType.GET, Empty(), timeout_s=LONG_S)
        order.append(number)
        assert frame.body == (CONTENT if number % 2 else CONTENT[:number])

    await asyncio.gather(*map(ask, range(5)))
    assert order == list(range(5))
    body.close()
    client.abort()


@pytest.mark.parametrize("limit", [0, 1 << 20])
@pytest.mark.parametrize("error", [None, OSError(5, "the disk cannot read it"), ReplicaUnavailable("it was closed")])
async def test_what_the_file_does_not_give_damages_its_answer_and_no_other(
    pair: Pair, limit: int, error: Exception | None
) -> None:
    body = Body(limit=limit, error=error)
    pair.handler = answering(body)
    client = await pair.client()
    damaged = asyncio.ensure_future(client.request(MessageType.GET, Empty(), timeout_s=LONG_S))
    with pytest.raises(AnswerDamaged):
        await damaged
    pair.handler = lambda _frame, responder: responder.reply(Empty(), b"well")
    assert (await client.request(MessageType.GET, Empty(), timeout_s=LONG_S)).body == b"well"
    body.close()
    client.abort()


async def test_a_frame_for_whose_rest_there_is_no_memory_ends_its_connection(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever came next would be taken for the rest."""

    def without_memory(_start: int) -> memoryview:
        raise MemoryError

    body = Body(limit=1 << 20)
    monkeypatch.setattr(body, "rest", without_memory)
    pair.handler = answering(body)
    client = await pair.client()
    with pytest.raises(PeerConnectionLost):
        await client.request(MessageType.GET, Empty(), timeout_s=LONG_S)
    assert pair.answered == [(MessageType.GET, "ok")]
    body.close()


async def test_an_answer_to_a_connection_that_is_gone_goes_nowhere(pair: Pair) -> None:
    body = Body()
    asked: list[Responder] = []
    pair.handler = lambda _frame, responder: asked.append(responder)
    client = await pair.client()
    asking = asyncio.ensure_future(client.request(MessageType.GET, Empty(), timeout_s=LONG_S))
    await eventually(lambda: bool(asked))
    client.abort()
    with pytest.raises(Exception, match="ended before the answer"):
        await asking
    await eventually(lambda: pair.served[0]._transport is None)
    asked[0].reply(Empty(), body, block_checks(CONTENT))
    assert body.sent == 0
    body.close()
