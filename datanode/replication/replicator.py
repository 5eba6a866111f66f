"""The taking side of replication: this node follows every log that its replicas have peers in.

One worker per peer node (two for a peer in another datacenter) asks with a long poll for all shared partitions at once,
compares what changed with what is here, merges states, fetches missing blobs, and only then moves the cursor. The token that
the next index checkpoint makes durable never covers a blob that is not durably here.

Across datacenters one replica of each datacenter, the designated one, asks without delay; its siblings ask a little later and
find the blobs already here, taken over from it. When it is down they fetch instead: nobody needs to notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

from ambry.clustermap.model import ClusterMap, Node, Partition
from ambry.errors import AmbryError, PeerConnectionLost
from ambry.network.pool import Peer, PeerPool
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.replication import ChangesCursor, ChangesReply, ChangesRequest, PartitionChanges
from ambry.service.logs import get_logger
from ambry.service.worker import Tick
from datanode import metrics
from datanode.config import ReplicationSection
from datanode.replicas import Replica, Replicas
from datanode.replication.authority import Authority
from datanode.replication.bootstrap import Bootstrapper
from datanode.replication.cursor import Cursor, Cursors
from datanode.replication.decide import is_designated
from datanode.replication.merger import Merger
from datanode.replication.recovery import Recovery
from datanode.replication.silence import Silence
from datanode.replication.standing import Standing, Told
from datanode.store.index import FindToken
from datanode.store.lineage import Seen

log = get_logger()

PEER_AWAY_WAIT_S = 0.2
CATCHING_UP_WAIT_S = 0.1
ANSWERS_AT_ONCE = 100
"""So many partitions are brought up to date in one turn of the event loop: a few milliseconds where nothing is new."""
PATIENCE_MAX = 8
GATHER_MS_MAX = 2_000
"""Changes of which the peer's answers say nothing new wait no longer than this for each other."""
UNSURE_WAIT_MS = 1_000
"""How long a poll waits while a replica of this node has no authority: what it waits for may come from another peer."""


class Pull:
    """What one worker knows of the peer that it follows."""

    def __init__(
        self, peer: str, partitions: list[int], *, channel: int, sessions: Iterator[int], patience_max: int
    ) -> None:
        self.peer = peer
        self.partitions = partitions
        self.standing = Standing(channel=channel, sessions=sessions)
        self.asked: dict[int, Cursor] = {}
        """Those whose positions the peer knows."""
        self.moved: set[int] = set()
        """Partitions that the last answer was about, or whose tokens became durable since."""
        self.unproven: list[int] = []
        self.unsure = True
        """Whether a replica of this node had no authority when it asked last, or was not open."""
        self.behind = True
        self.restored = 0
        self._patience_max = patience_max
        self._patience = 1
        """How many times the configured delay the next answer waits for more."""

    def begin_anew(self) -> None:
        """Nothing is known of the peer."""
        self.standing.begin_anew()
        self.moved = set()
        self.behind = True
        self._patience = 1

    def learned(self, *, news: bool) -> None:
        """The changes of an answer were taken in.

        Where all came here by other ways before, as puts do that reach all replicas, answers are no more than receipts, and
        those that follow gather for longer.
        """
        self._patience = 1 if news else min(2 * self._patience, self._patience_max)

    def delay_ms(self, configured_ms: int) -> int:
        """How long the next answer waits for more."""
        return min(configured_ms * self._patience, max(configured_ms, GATHER_MS_MAX))


class Replicator:
    """All pulling of one data node."""

    def __init__(
        self,
        *,
        cluster_map: ClusterMap,
        own: Node,
        replicas: Replicas,
        pool: PeerPool,
        cursors: Cursors,
        authority: Authority,
        recovery: Recovery,
        merger: Merger,
        bootstrapper: Bootstrapper,
        silence: Silence,
        config: ReplicationSection,
    ) -> None:
        self._map = cluster_map
        self._own = own
        self._replicas = replicas
        self._pool = pool
        self._cursors = cursors
        self._authority = authority
        self._recovery = recovery
        self._merger = merger
        self._bootstrapper = bootstrapper
        self._silence = silence
        self._config = config
        self._sessions = count(1)
        self._pulls: list[Pull] = []
        cursors.on_durable = self._note_durable

    def describe(self, partition: int) -> dict[str, dict[str, Any]]:
        """Per peer: incarnation, LSN, lag, blobs still wanted. For the admin port."""
        return {
            name: {
                "incarnation": cursor.incarnation.hex(),
                "lsn": cursor.next_lsn,
                "lag_bytes": cursor.lag_bytes,
                "outstanding": len(cursor.outstanding),
                "caught_up": cursor.caught_up,
                "serving": cursor.serving,
                "vouches": cursor.vouches,
                "connected": self._pool[name].connected,
                "silent_s": round(self._silence.seconds(name), 1),
                "lag_s": round(self._silence.lag_seconds(name), 1),
            }
            for name, cursor in sorted(self._cursors.of(partition).items())
        }

    # --- following ---

    def ticks(self) -> dict[str, Tick]:
        """A worker's name and tick for everything there is to follow."""
        shared: dict[str, list[Partition]] = {}
        for partition in self._map.partitions_of(self._own.name):
            for node in partition.others(self._own.name):
                shared.setdefault(node.name, []).append(partition)
        found: dict[str, Tick] = {}
        for name, partitions in sorted(shared.items()):
            peer = self._pool[name]
            if peer.node.datacenter == self._own.datacenter:
                found[f"pull:{name}"] = self._puller(peer, partitions, self._config.sibling_delay_ms)
                continue
            mine = [partition for partition in partitions if is_designated(partition, self._own)]
            others = [partition for partition in partitions if not is_designated(partition, self._own)]
            if mine:
                found[f"pull:{name}"] = self._puller(peer, mine, self._config.designated_delay_ms, patience_max=1)
            if others:
                found[f"pull:{name}:standby"] = self._puller(peer, others, self._config.standby_delay_ms, channel=1)
        return found

    def _puller(
        self,
        peer: Peer,
        shared: list[Partition],
        delay_ms: int,
        *,
        channel: int = 0,
        patience_max: int = PATIENCE_MAX,
    ) -> Tick:
        partitions = [partition.id for partition in shared]
        pull = Pull(peer.node.name, partitions, channel=channel, sessions=self._sessions, patience_max=patience_max)
        self._pulls.append(pull)
        answered = self._silence.follow(peer.node.name)

        async def tick() -> float:
            if not peer.connected:
                pull.begin_anew()
                return PEER_AWAY_WAIT_S
            answers: list[PartitionChanges] | None = None
            try:
                reply = await self._ask(pull, peer, delay_ms)
                if reply is not None and reply.anew:
                    pull.begin_anew()
                    reply = await self._ask(pull, peer, delay_ms)
                if reply is None or reply.anew:
                    return PEER_AWAY_WAIT_S
                answered(False)
                held_back = await self._apply(peer, pull, reply.partitions)
                answers = reply.partitions
            except PeerConnectionLost:
                return PEER_AWAY_WAIT_S
            finally:
                if answers is None:
                    pull.begin_anew()
            pull.moved |= {answer.partition for answer in answers}
            pull.behind = any(answer.next_lsn < answer.end_lsn for answer in answers)
            answered(not pull.behind and not self._bootstrapper.holds_any(pull.partitions))
            waits = pull.unproven and self._unproven(pull) and not pull.behind
            return CATCHING_UP_WAIT_S if waits or held_back else 0.0

        return tick

    async def _ask(self, pull: Pull, peer: Peer, delay_ms: int) -> ChangesReply | None:
        """What changed; None where there is nothing to follow."""
        told = self._look(pull)
        if pull.standing.empty:
            return None
        catching_up = pull.behind or bool(pull.unproven)
        request = ChangesRequest(
            told.cursors,
            self._config.changes_max,
            0 if catching_up else self._poll_wait_ms(pull),
            0 if catching_up else pull.delay_ms(delay_ms),
            self._own.name,
            told.subscription,
            told.gone,
        )
        timeout_s = (request.wait_ms + request.delay_ms + self._config.request_timeout_ms) / 1000
        frame = await peer.request(MessageType.CHANGES, request, timeout_s=timeout_s)
        return messages.decode(frame.header, ChangesReply)

    def _note_durable(self, partition: int) -> None:
        """A checkpoint of a partition was written: how far its peers were followed is durable now."""
        for pull in self._pulls:
            if partition in pull.asked:
                pull.moved.add(partition)

    def _look(self, pull: Pull) -> Told:
        """Where this node stands: of what moved, and of all where that may have been anything."""
        everything = pull.standing.fresh or pull.restored != self._cursors.restored
        if everything:
            pull.restored = self._cursors.restored
            pull.asked = self._cursors_for(pull)
        pull.unproven = self._unproven(pull)
        pull.unsure = len(pull.asked) < len(pull.partitions) or any(
            partition in pull.asked for partition in self._authority.unsure
        )
        named = pull.moved.union(pull.unproven)
        positions = {
            partition: self._position(pull.peer, partition, pull.asked.get(partition))
            for partition in (pull.partitions if everything else sorted(named))
        }
        pull.moved = set()
        return pull.standing.tell(positions, named)

    def _position(self, peer: str, partition: int, cursor: Cursor | None) -> ChangesCursor | None:
        replica = self._replicas.get(partition)
        if replica is None or cursor is None:
            return None
        durable = replica.store.checkpoint.tokens.get(peer)
        durable_lsn = durable.lsn if durable is not None and durable.incarnation == cursor.incarnation else 0
        return ChangesCursor(partition, cursor.incarnation, cursor.next_lsn, cursor.epoch, durable_lsn)

    def _cursors_for(self, pull: Pull) -> dict[int, Cursor]:
        found: dict[int, Cursor] = {}
        for partition in pull.partitions:
            cursor = self._cursors.get(pull.peer, partition)
            if cursor is not None and partition in self._replicas and not self._bootstrapper.holds(partition):
                found[partition] = cursor
        return found

    def _unproven(self, pull: Pull) -> list[int]:
        """Replicas here that wait to have caught up with this peer before they may say "not found"."""
        found: list[int] = []
        for partition in sorted(self._authority.unsure):
            replica = self._replicas.get(partition)
            cursor = pull.asked.get(partition)
            if replica is None or cursor is None or replica.store.authority:
                continue
            if not (cursor.answered and cursor.serving) or (not replica.store.serving and not cursor.caught_up):
                found.append(partition)
        return found

    def _poll_wait_ms(self, pull: Pull) -> int:
        return min(UNSURE_WAIT_MS, self._config.poll_wait_ms) if pull.unsure else self._config.poll_wait_ms

    async def _apply(self, peer: Peer, pull: Pull, answers: list[PartitionChanges]) -> bool:
        """Bring every answered partition up to date; one that fails does not hold up the others.

        Returns whether one waits to be copied first.
        """
        failure: AmbryError | None = None
        held_back = news = False
        for number, answer in enumerate(answers, start=1):
            if number % ANSWERS_AT_ONCE == 0:
                await asyncio.sleep(0)
            replica = self._replicas.get(answer.partition)
            cursor = self._cursors.get(peer.node.name, answer.partition)
            if replica is None or cursor is None or cursor is not pull.asked.get(answer.partition):
                continue  # the replica was reopened since: what was asked from its old place on must not move the new one
            decides = self._hear(peer, replica, cursor, answer)
            purged, followed = answer.purged_lsn > 0, answer.known.incarnation
            if self._recovery.forgets(replica, purged=purged, followed=followed):
                try:
                    await self._recovery.remember(replica, purged=purged, followed=followed)
                except AmbryError as error:
                    failure = error
            known = self._merger.knows(replica, answer.changes)
            if known and replica.store.authority and not (decides or self._bootstrapper.holds(answer.partition)):
                # A receipt, as by far the most are: what it tells is here, and nothing hangs on it.
                self._advance(peer, answer, cursor, {})
                continue
            waits = not answer.put_back and self._bootstrapper.holds_back(replica)
            held_back |= waits
            if answer.put_back or waits:
                self._authority.check(replica)
                self._recovery.check(replica)
                continue
            try:
                taken = await self._merger.take_in(peer, replica, answer.changes)
            except AmbryError as error:
                failure = error
                continue
            news |= taken.news
            self._advance(peer, answer, cursor, taken.failed)
            self._authority.check(replica)
            self._recovery.check(replica)
        if failure is not None:
            raise failure
        if any(answer.changes for answer in answers):
            pull.learned(news=news)
        return held_back

    @staticmethod
    def _advance(peer: Peer, answer: PartitionChanges, cursor: Cursor, failed: dict[bytes, int]) -> None:
        """What an answer tells is durable here, but for `failed`."""
        cursor.advance(answer.next_lsn, answer.end_lsn, failed, answer.epoch)
        if cursor.lag_bytes != cursor.lag_shown:
            cursor.lag_shown = cursor.lag_bytes
            metrics.REPLICATION_LAG.labels(peer.node.name, str(answer.partition)).set(cursor.lag_bytes)

    def _hear(self, peer: Peer, replica: Replica, cursor: Cursor, answer: PartitionChanges) -> bool:
        """Take in what an answer says beside its changes: above all how far the peer has seen our log.

        Returns whether that may decide anything: more than that the peer goes on.
        """
        token = FindToken(answer.known.incarnation, answer.known.lsn, answer.known.epoch)
        seen = replica.store.judge(token)
        news = cursor.hear(answer, seen)
        if seen is Seen.BEYOND:
            self._recovery.recognise(replica, peer.node.name, token)
        return news or seen is Seen.BEYOND
