"""What follows a body of which the parser saw the beginning only."""

from __future__ import annotations

import asyncio

from tests.support.http_frontend import until
from tests.support.straight_uploads import MIB, content, head, served


async def test_bodies_follow_each_other_on_one_connection_and_come_whole() -> None:
    first, second = content(5 * MIB + 3), content(3 * MIB)[::-1]
    async with served() as (uploads, server), server.connected() as client:
        await client.send(head(len(first)) + first + head(len(second)) + second + head(1) + b"x")
        assert (await client.answer()).body == b"2097152 2097152 1048579"
        assert (await client.answer()).body == b"2097152 1048576"
        assert (await client.answer()).body == b"1"
    assert [b"".join(chunks) for chunks in uploads.bodies] == [first, second, b"x"]


async def test_a_connection_that_ends_behind_a_body_is_no_half_request() -> None:
    """The parser, asked whether a request is half here, would miss what it was not given of the last."""
    async with served() as (uploads, server), server.connected() as client:
        uploads.gate.clear()
        await client.send(head(MIB) + bytes(MIB))
        client.writer.write_eof()
        await until(lambda: uploads.bodies and uploads.bodies[0], "it is all here")
        uploads.gate.set()
        assert (await client.answer()).status == 200
        assert await client.at_end()


async def test_half_a_head_behind_a_body_is_told_as_that() -> None:
    async with served() as (_, server), server.connected() as client:
        await client.send(head(MIB) + bytes(MIB) + head(5)[:20])
        assert (await client.answer()).status == 200
        client.writer.write_eof()
        assert (await client.answer()).status == 400


async def test_what_comes_while_nobody_reads_the_body_is_kept_for_who_does() -> None:
    body = content(4 * MIB)
    async with served() as (uploads, server), server.connected() as client:
        uploads.gate.clear()
        sending = asyncio.ensure_future(client.send(head(len(body)) + body))
        await until(lambda: uploads.bodies and uploads.bodies[0], "one chunk is here")
        (connection,) = server.server._open
        connection.let_come()  # as whoever ends a pause for another reason
        await until(
            lambda: connection.handler is not None and connection.handler._reading_paused, "as much as may be is here"
        )
        uploads.gate.set()
        await sending
        assert (await client.answer()).status == 200
    assert b"".join(uploads.bodies[0]) == body
