"""The prototype keeps what it is given and gives it back: a baseline that loses bytes would be no baseline."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from tests.bench.prototype import Link, Log


class Wire:
    """What a link sent."""

    def __init__(self) -> None:
        self.sent = b""

    def writelines(self, pieces: list[bytes]) -> None:
        self.sent += b"".join(pieces)


@pytest.mark.parametrize("step", [1, 7, 20, 21, 22, 1000])
async def test_messages_come_out_as_they_went_in_however_they_were_cut(step: int) -> None:
    taken: list[tuple[int, int, int, bytes]] = []
    sender, receiver = Link(lambda _: _nothing), Link(lambda _: lambda *message: taken.append(message))
    wire = Wire()
    sender.connection_made(cast(Any, wire))
    messages = [(1, 2, 3, b"abc"), (2, 0, 1 << 60, b""), (3, 1, 4, bytes(100))]
    for message in messages:
        sender.send(*message)
    await asyncio.sleep(0)
    for start in range(0, len(wire.sent), step):
        receiver.data_received(wire.sent[start : start + step])
    assert taken == messages


@pytest.mark.parametrize("sync", [False, True])
async def test_what_was_appended_is_read_back(tmp_path: Path, sync: bool) -> None:
    log = Log(str(tmp_path / "log"))
    done: list[int] = []
    async with asyncio.timeout(60):
        for number in range(700):
            log.append(number, b"%d" % number, sync, lambda: done.append(1))
        while len(done) < 700:  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.001)
    assert [log.read(number) for number in range(700)] == [b"%d" % number for number in range(700)]


def _nothing(_call: int, _what: int, _blob: int, _body: bytes) -> None: ...
