"""When a replica gets its authority to say "not found"."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import InvalidRequest
from datanode.replication.authority import Authority
from datanode.replication.cursor import Cursors
from tests.support.lone_bench import LoneBench
from tests.support.node_parts import LONE, SILENT

LOG = b"l" * 16


async def test_a_replica_serves_once_its_peer_has_no_more_to_tell(tmp_path: Path) -> None:
    bench = LoneBench(tmp_path)
    replica = await bench.open()
    cursors = Cursors(LONE)
    cursors.restore(replica.partition, {})
    authority = Authority(cursors, clock=bench.clock)
    authority.check(replica)
    assert not replica.store.serving
    cursor = cursors.of(7)[SILENT.name]
    cursor.follow(LOG)
    cursor.advance(100, 200, {})
    authority.check(replica)
    assert not replica.store.serving
    cursor.advance(200, 200, {})
    authority.check(replica)
    assert replica.store.serving
    assert replica.checkpointed_at == float("-inf"), "what was proven is written down soon"
    await bench.parts.close()


async def test_a_replica_that_serves_is_left_alone(tmp_path: Path) -> None:
    bench = LoneBench(tmp_path)
    replica = await bench.open()
    replica.store.serving = True
    before = replica.checkpointed_at
    Authority(Cursors(LONE), clock=bench.clock).check(replica)
    assert replica.checkpointed_at == before
    await bench.parts.close()


async def test_an_operator_may_vouch_for_a_directory_but_not_for_what_was_lost(tmp_path: Path) -> None:
    bench = LoneBench(tmp_path)
    replica = await bench.open()
    authority = Authority(Cursors(LONE), clock=bench.clock)
    with pytest.raises(InvalidRequest, match="may have lost something"):
        authority.vouch(replica)
    replica.store.serving = True
    replica.store.put_back = "silent has seen more"
    with pytest.raises(InvalidRequest, match="silent has seen more"):
        authority.vouch(replica)
    replica.store.put_back = ""
    assert not replica.store.authority
    authority.vouch(replica)
    assert replica.store.authority
    await bench.parts.close()
