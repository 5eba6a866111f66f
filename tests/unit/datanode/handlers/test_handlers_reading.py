"""Reads that fail: never served, always reported."""

from __future__ import annotations

import errno

import pytest

from ambry.checksum import BLOCK_SIZE
from ambry.errors import (
    DataCorrupt,
)
from tests.support.direct_node import DirectNode
from tests.support.samples import blob_id, content

ID = blob_id(1)
LARGE = 5 * BLOCK_SIZE + 77


@pytest.mark.parametrize("cold", [False, True])
async def test_a_damaged_blob_is_never_served_and_is_reported(node: DirectNode, cold: bool) -> None:
    await node.put(ID, content(1, 1000))
    entry = node.replica.store.lookup(ID)
    assert entry is not None
    node.files.flip(node.replica.store.directory / "00000001.segment", entry.offset + 500)
    node.files.cache_cold = cold
    with pytest.raises(DataCorrupt):
        await node.get(ID)
    assert node.replica.store.damaged == {ID}
    assert [item["blob"] for item in node.parts.healer.describe()] == [ID.hex()]


async def test_a_disk_that_cannot_read_is_corrupt_data_for_the_caller(node: DirectNode) -> None:
    await node.put(ID, b"x")
    node.files.cache_cold = True
    node.files.fail("pread", errno.EIO)
    with pytest.raises(DataCorrupt, match="failed to read"):
        await node.get(ID)
    assert node.replica.store.damaged == {ID}
