"""Blocks that are sent as they stand in the file, and what becomes of those that are damaged."""

from __future__ import annotations

import errno

import pytest

from ambry.buffers import fresh
from ambry.checksum import BLOCK_SIZE, blocks_intact
from ambry.errors import DataCorrupt
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import GetRequest
from datanode.handlers.stored_bytes import StoredBytes
from tests.support.direct_node import DirectNode
from tests.support.samples import blob_id, content

ID = blob_id(1)
UNREAD = 400_000
"""More than is read at once in any case."""


async def test_a_large_cached_blob_is_sent_from_its_file_to_whoever_verifies_it(node: DirectNode) -> None:
    data = content(1, UNREAD)
    await node.put(ID, data)
    for first, end in ((0, UNREAD), (1, UNREAD - 1), (BLOCK_SIZE, 1 << 40)):
        read, unread = (
            node.send(MessageType.GET, GetRequest("r", ID, first, end, unchecked=unchecked))
            for unchecked in (False, True)
        )
        assert (read.from_file, unread.from_file) == (False, True)
        assert await read.wait() == await unread.wait()
    node.files.cache_cold = True
    answer = node.send(MessageType.GET, GetRequest("r", ID, 0, UNREAD, unchecked=True))
    assert (await answer.wait())[1] == data
    assert not answer.from_file


async def test_what_was_sent_unverified_is_verified_when_it_is_asked_for_again(node: DirectNode) -> None:
    """So a damage that its receiver noticed is found and repaired here. Once it is known nothing is sent unverified."""
    await node.put(ID, content(1, UNREAD))
    entry = node.replica.store.lookup(ID)
    assert entry is not None
    node.files.flip(node.replica.store.directory / "00000001.segment", entry.offset + 100_000)
    unread = node.send(MessageType.GET, GetRequest("r", ID, 0, UNREAD, unchecked=True))
    _, body, checks = await unread.wait()
    assert unread.from_file
    assert checks is not None
    assert not blocks_intact(body, checks)
    assert not node.replica.store.damaged
    for unchecked in (False, True):
        with pytest.raises(DataCorrupt):
            await node.send(MessageType.GET, GetRequest("r", ID, 0, UNREAD, unchecked=unchecked)).wait()
        assert node.replica.store.damaged == {ID}
    assert [item["blob"] for item in node.parts.healer.describe()] == [ID.hex()]


async def test_a_damaged_head_is_never_sent(node: DirectNode) -> None:
    await node.put(ID, content(1, UNREAD))
    entry = node.replica.store.lookup(ID)
    assert entry is not None
    node.files.flip(node.replica.store.directory / "00000001.segment", entry.offset + 100)
    with pytest.raises(DataCorrupt):
        await node.send(MessageType.GET, GetRequest("r", ID, 0, UNREAD, unchecked=True)).wait()
    assert node.replica.store.damaged == {ID}


@pytest.mark.parametrize("number", [None, errno.EIO])
async def test_what_left_the_page_cache_before_it_was_sent_is_sent_as_zeros(
    node: DirectNode, number: int | None
) -> None:
    """Its head may have gone already. Whoever gets it finds it damaged, asks again, and is told the truth."""
    await node.put(ID, content(1, UNREAD))
    store = node.replica.store
    entry = store.lookup(ID)
    assert entry is not None
    located = store.locate(entry, 0, UNREAD)
    assert located is not None
    body = StoredBytes(located, fresh)
    assert bytes(body.rest(5)) == content(1, UNREAD)[5:]
    if number is None:
        node.files.cache_cold = True
    else:
        node.files.fail("pread_cached", number)
    assert bytes(body.rest(5)) == bytes(UNREAD - 5)
