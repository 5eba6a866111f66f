"""Accepting the loss of blobs that nobody holds. One such blob pinned the tokens and the authority of a replica for ever."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry.blob import DatedState
from ambry.errors import InvalidRequest
from ambry.ids import BlobId
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import ALIVE, PARTITION, blob_id, content

ID = blob_id(1)
TEXT = str(BlobId(ID))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    """a1 holds the only copy of a blob, damaged for good; a2 looks for it."""
    cluster = DirectCluster(tmp_path, cluster_map(3))
    await cluster.start()
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, content(1, 1000))
    entry = giver.replica.store.lookup(ID)
    assert entry is not None
    giver.files.flip(giver.replica.store.directory / f"{entry.segment:08d}.segment", entry.offset + 300)
    await taker.pull("a1")
    await taker.pull("a3")
    assert not taker.replica.store.authority
    yield cluster
    await cluster.stop()


def wish(**fields: Any) -> bytes:
    return msgspec.json.encode({"blobs": [TEXT], "who": "an operator", "why": "two disks burnt"} | fields)


def written(node: DirectNode) -> list[dict[str, Any]]:
    path = node.files.root / "data" / "losses.jsonl"
    lines = node.files.durable_content(path).splitlines() if node.files.exists(path) else []
    return [json.loads(line) for line in lines]


async def test_an_accepted_loss_is_written_down_and_pins_nothing_any_more(cluster: DirectCluster) -> None:
    node = cluster["a2"]
    before = node.parts.cursors.of(PARTITION)["a1"].token().lsn
    assert await node.parts.losses.accept(PARTITION, wish()) == {"partition": PARTITION, "lost": [TEXT], "found": []}
    (line,) = written(node)
    assert (line["who"], line["why"], line["blobs"], line["at_ms"]) == (
        "an operator",
        "two disks burnt",
        [TEXT],
        node.clock.wall_ms(),
    )
    assert node.parts.healer.describe() == []
    assert node.parts.cursors.of(PARTITION)["a1"].token().lsn > before
    await cluster.settle()
    assert all(cluster.serving().values())
    for other in cluster.nodes.values():
        state = other.state(ID)
        assert state is not None
        assert state.deleted, "all agree, and clients are told 410"


async def test_what_is_given_up_counts_as_damaged_no_more(cluster: DirectCluster) -> None:
    """The pages went on showing the record that could not be read, until the next restart."""
    giver = cluster["a1"]
    assert giver.replica.store.damaged == {ID}
    await cluster["a2"].parts.losses.accept(PARTITION, wish())
    await cluster.settle()
    cluster.clock.advance(60)
    await giver.tick("heal")
    assert not giver.replica.store.damaged
    assert giver.parts.healer.describe() == []


async def test_a_blob_that_turns_up_is_not_lost(cluster: DirectCluster) -> None:
    node = cluster["a2"]
    await cluster["a3"].put(ID, content(1, 1000))
    assert await node.parts.losses.accept(PARTITION, wish()) == {"partition": PARTITION, "lost": [], "found": [TEXT]}
    assert (await node.get(ID))[1] == content(1, 1000)
    assert written(node) == []


async def test_a_replica_that_cannot_be_asked_may_hold_it(cluster: DirectCluster) -> None:
    node = cluster["a2"]
    node.peers["a3"].reachable = False
    # It told a dictionary, and took a mistyped --without for granted.
    with pytest.raises(InvalidRequest, match=r"may still be there \(a3: .*a3 is away.*\)\. Wait, or .* --without a3$"):
        await node.parts.losses.accept(PARTITION, wish())
    with pytest.raises(
        InvalidRequest, match=r"a4: no other node with a replica of it has that name; there are a1, a3$"
    ):
        await node.parts.losses.accept(PARTITION, wish(without=["a3", "a4"]))
    state = node.state(ID)
    assert written(node) == []
    assert state is None or not state.deleted
    assert (await node.parts.losses.accept(PARTITION, wish(without=["a3"])))["lost"] == [TEXT]
    assert written(node)[0]["without"] == ["a3"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        wish(who=" "),
        wish(why=""),
        wish(blobs=[]),
        wish(blobs=[str(BlobId(blob_id(2)))]),
        wish(blobs=[TEXT] * 1001),
        wish(who="x" * 1001),
        wish(anything=1),
    ],
)
async def test_what_is_no_decision_about_wanted_blobs_is_refused(cluster: DirectCluster, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await cluster["a2"].parts.losses.accept(PARTITION, body)
    assert written(cluster["a2"]) == []


async def test_every_decision_is_kept(cluster: DirectCluster) -> None:
    node = cluster["a2"]
    await node.parts.losses.accept(PARTITION, wish())
    node.parts.healer.want(PARTITION, blob_id(5), DatedState(ALIVE, 1))
    await node.parts.losses.accept(PARTITION, wish(blobs=[str(BlobId(blob_id(5)))]))
    assert [line["blobs"] for line in written(node)] == [[TEXT], [str(BlobId(blob_id(5)))]]
