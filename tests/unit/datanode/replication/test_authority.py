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
    urgent: list[int] = []
    authority = Authority(cursors, clock=bench.clock, note_change=urgent.append)
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
    assert urgent == [7], "what was proven is written down soon"
    await bench.parts.close()


async def test_a_replica_that_serves_is_left_alone(tmp_path: Path) -> None:
    bench = LoneBench(tmp_path)
    replica = await bench.open()
    replica.store.serving = True
    urgent: list[int] = []
    Authority(Cursors(LONE), clock=bench.clock, note_change=urgent.append).check(replica)
    assert urgent == []
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


async def test_a_fenced_replica_gets_no_authority_until_it_is_opened_again(tmp_path: Path) -> None:
    """The next answer of a peer gave it back: it said "not found" of what it had refused to take."""
    bench = LoneBench(tmp_path)
    replica = await bench.open()
    cursors = Cursors(LONE)
    cursors.restore(replica.partition, {})
    cursor = cursors.of(7)[SILENT.name]
    cursor.follow(LOG)
    cursor.advance(200, 200, {})
    cursor.answered = cursor.vouches = True
    replica.store.fence("a sync failed")
    Authority(cursors, clock=bench.clock).check(replica)
    assert not replica.store.authority
    await bench.parts.close()


async def test_those_without_authority_are_looked_at_in_turn(tmp_path: Path) -> None:
    bench = LoneBench(tmp_path)
    await bench.open()
    authority = bench.parts.authority
    assert [replica.partition.id for replica in authority.some_unsure(1)] == [7]
    assert [replica.partition.id for replica in authority.some_unsure(1)] == [8]
    bench.replicas[7].store.serving = True
    authority.vouch(bench.replicas[7])
    assert [replica.partition.id for replica in authority.some_unsure(5)] == [8]
    authority.withdraw(bench.replicas[7], put_back="silent has seen more")
    assert not bench.replicas[7].store.authority
    assert [replica.partition.id for replica in authority.some_unsure(5)] == [8, 7]
    await bench.parts.close()
