"""How a body goes to aiohttp: seen by its upload, at its pace, and with the network's silence bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ambry.checksum import Buffer
from ambry.client.aio.waiting import Sleep
from ambry.client.transfer import BlobUpload


class BodyPace:
    """Bounds the silence of the network while a body is sent, but not the time its source takes.

    `reused` says whether the request went over a kept connection.
    """

    def __init__(self, guard: asyncio.Timeout, until: float | None, silence_s: float) -> None:
        self._guard = guard
        self._until = until
        self._silence_s = silence_s
        self.closed = False
        self.reused = False
        self.source_error: Exception | None = None

    def expect(self, seconds: float | None) -> None:
        """The network must do something within `seconds`; None while it is not its turn."""
        if self.closed:
            return
        when = None if seconds is None else asyncio.get_running_loop().time() + seconds
        if self._until is not None:
            when = self._until if when is None else min(when, self._until)
        self._guard.reschedule(when)

    async def over(self, body: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
        while True:
            self.expect(None)
            try:
                chunk = await anext(body, None)
            except Exception as cause:
                self.source_error = cause
                raise
            self.expect(self._silence_s)
            if chunk is None:
                return
            # Writing to a fast network may never wait; let an early answer be read.
            await asyncio.sleep(0)
            if self.closed:
                # It came, so the rest is not wanted; aiohttp cancels us when the answer is let go.
                await asyncio.get_running_loop().create_future()
            yield chunk


async def passing(upload: BlobUpload, sleep: Sleep) -> AsyncIterator[Buffer]:
    """One pass over the body, seen by `upload`.

    One chunk is held back until it is known to be the last: aiohttp reads the answer while we send, so the answer may
    come before we would be asked for a chunk after the last one.
    """
    upload.begin()
    pace = upload.body.pace
    held: Buffer = b""
    async for chunk in upload.body.achunks():
        size = len(chunk) if pace is None else pace.piece(len(chunk))
        whole = memoryview(chunk)
        for piece in [chunk] if size >= len(chunk) else (whole[at : at + size] for at in range(0, len(chunk), size)):
            if held:
                yield held
                upload.handed_over()
            upload.passed(piece)
            held = piece
            if pace is not None and (delay_s := pace.passed(len(piece))):
                await sleep(delay_s)
    upload.ended()
    if held:
        yield held
        upload.handed_over()
