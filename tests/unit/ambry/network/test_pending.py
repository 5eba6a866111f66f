"""Calls under way: who hears of a large answer while it comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from ambry.checksum import BLOCK_SIZE
from ambry.clustermap.health import SUSPECT_AFTER, NodeHealth
from ambry.errors import AnswerDamaged, PeerConnectionLost
from ambry.protocol.frame import FLAG_ERROR, FLAG_REPLY, Frame, MessageType, encode_head
from ambry.protocol.messages.base import Empty
from tests.support.eventually import eventually
from tests.support.rpc_ends import LONG_S, Outcomes, Pair

BODY = random.Random(5).randbytes(20 * BLOCK_SIZE + 100)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    await made.start()
    yield made
    made.stop()


class Slow:
    """Sends an answer piece by piece, when it is told to."""

    def __init__(self, pair: Pair, body: bytes, flags: int = FLAG_REPLY) -> None:
        self.data = b""
        self._flags = flags
        self._pair = pair
        self._body = body
        pair.handler = lambda frame, _responder: self._begin(frame)

    def _begin(self, frame: Frame) -> None:
        head = encode_head(frame.type, frame.correlation, b"\x90", BODY, flags=self._flags)
        self.data = head + self._body

    def send(self, size: int) -> None:
        piece, self.data = self.data[:size], self.data[size:]
        transport = self._pair.served[0]._transport
        assert transport is not None
        transport.write(piece)


async def test_the_beginning_of_a_large_answer_is_told_as_far_as_it_is_verified(pair: Pair) -> None:
    slow, outcomes = Slow(pair, BODY), Outcomes()
    parts: list[bytes] = []

    def on_part(header: bytes, beginning: memoryview) -> None:
        assert header == b"\x90"
        parts.append(bytes(beginning))

    client = await pair.client()
    client.call(MessageType.GET, Empty(), outcomes.of(1), timeout_s=LONG_S, on_part=on_part)
    await eventually(lambda: bool(slow.data))
    slow.send(3 * BLOCK_SIZE)
    await eventually(lambda: max(map(len, parts), default=0) == 2 * BLOCK_SIZE)  # a part of the third is missing
    slow.send(9 * BLOCK_SIZE)
    await eventually(lambda: max(map(len, parts), default=0) == 11 * BLOCK_SIZE)
    slow.send(len(slow.data))
    await outcomes.wait(1)
    (outcome,) = outcomes.got[1]
    assert isinstance(outcome, Frame)
    assert outcome.body == BODY
    assert [part == BODY[: len(part)] for part in parts] == [True] * len(parts)
    client.abort()


@pytest.mark.parametrize("place", [5, 11 * BLOCK_SIZE + 7, len(BODY) - 1])
async def test_nothing_is_told_of_a_block_that_is_damaged_or_follows_one(pair: Pair, place: int) -> None:
    damaged = bytearray(BODY)
    damaged[place] ^= 1
    slow, outcomes = Slow(pair, bytes(damaged)), Outcomes()
    told = 0

    def on_part(_header: bytes, beginning: memoryview) -> None:
        nonlocal told
        assert beginning == BODY[: len(beginning)]
        told = max(told, len(beginning))

    client = await pair.client()
    client.call(MessageType.GET, Empty(), outcomes.of(1), timeout_s=LONG_S, on_part=on_part)
    await eventually(lambda: bool(slow.data))
    while slow.data:
        slow.send(BLOCK_SIZE)
        await asyncio.sleep(0)
    await outcomes.wait(1)
    assert isinstance(outcomes.errors()[0], AnswerDamaged)
    assert told <= place
    client.abort()


async def test_a_call_that_was_given_up_hears_of_no_part(pair: Pair) -> None:
    slow, outcomes = Slow(pair, BODY), Outcomes()
    parts: list[int] = []
    client = await pair.client()
    call = client.call(
        MessageType.GET,
        Empty(),
        outcomes.of(1),
        timeout_s=LONG_S,
        on_part=lambda _header, part: parts.append(len(part)),
    )
    assert call is not None
    await eventually(lambda: bool(slow.data))
    call.cancel()
    slow.send(12 * BLOCK_SIZE)
    with pytest.raises(PeerConnectionLost):
        other = asyncio.ensure_future(client.request(MessageType.PING, Empty(), timeout_s=LONG_S))
        await eventually(lambda: client.pieces_received > 1)
        client.abort()
        await other
    assert parts == []
    assert outcomes.got == {}


@pytest.mark.parametrize("flags", [FLAG_REPLY | FLAG_ERROR, FLAG_REPLY | 0x40])
async def test_nothing_is_told_of_an_answer_that_is_no_plain_reply(pair: Pair, flags: int) -> None:
    """What a flag of a later release makes of its body nobody here knows: a part of it was handed on as what was asked for."""
    slow, outcomes = Slow(pair, BODY, flags), Outcomes()
    parts: list[int] = []

    def on_part(_header: bytes, beginning: memoryview) -> None:
        parts.append(len(beginning))

    client = await pair.client()
    client.call(MessageType.GET, Empty(), outcomes.of(1), timeout_s=LONG_S, on_part=on_part)
    await eventually(lambda: bool(slow.data))
    while slow.data:
        slow.send(4 * BLOCK_SIZE)
        await asyncio.sleep(0)
    await outcomes.wait(1)
    assert outcomes.errors()
    assert parts == []
    client.abort()


async def test_damaged_answers_in_a_row_speak_against_a_node_and_a_whole_one_for_it(pair: Pair) -> None:
    """A node whose link damages what it sends stayed well: its connection lives on."""
    health = NodeHealth()
    damaged = bytearray(BODY)
    damaged[-1] ^= 1
    slow, outcomes = Slow(pair, bytes(damaged)), Outcomes()
    client = await pair.client(health=health)
    for number in range(SUSPECT_AFTER):
        client.call(MessageType.GET, Empty(), outcomes.of(number), timeout_s=LONG_S)
        await eventually(lambda: bool(slow.data))
        slow.send(len(slow.data))
        await outcomes.wait(number + 1)
    assert not health.well
    pair.handler = lambda _frame, responder: responder.reply(Empty())
    client.call(MessageType.GET, Empty(), outcomes.of(SUSPECT_AFTER), timeout_s=LONG_S)
    await outcomes.wait(SUSPECT_AFTER + 1)
    assert health.well
    client.abort()


async def test_a_caller_that_fails_at_a_part_breaks_no_other_call(pair: Pair) -> None:
    """The connection ended, and all of its calls with it."""
    slow, outcomes = Slow(pair, BODY), Outcomes()

    def on_part(_header: bytes, _beginning: memoryview) -> None:
        raise ValueError("a caller's bug")

    client = await pair.client()
    client.call(MessageType.GET, Empty(), outcomes.of(1), timeout_s=LONG_S, on_part=on_part)
    await eventually(lambda: bool(slow.data))
    while slow.data:
        slow.send(4 * BLOCK_SIZE)
        await asyncio.sleep(0)
    await outcomes.wait(1)
    (outcome,) = outcomes.got[1]
    assert isinstance(outcome, Frame)
    assert outcome.body == BODY
    pair.handler = lambda _frame, responder: responder.reply(Empty())
    await client.request(MessageType.GET, Empty(), timeout_s=LONG_S)
    client.abort()
