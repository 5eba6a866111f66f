"""Random histories of a few blobs that are deleted and undeleted by real routers, at the edge of what may be undone.

Frontends reach some replicas and not others, links between nodes are cut for days, what is dead is compacted, a replica is
wiped or missed everything. The seed fixes what is done.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from ambry.blob import BlobProperties, BlobState
from ambry.checksum import digest
from ambry.errors import AmbryError, BlobGone, BlobNotFound, NotDeleted, Unavailable
from ambry.format.properties import encode_properties
from datanode.config import CompactionSection
from tests.support.direct_frontend import DirectFrontend
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.history_end import compare_all, opened, pull_from_all, refusals, settled
from tests.support.samples import PARTITION, blob_id, content

SIZE = 20_000
DAY_S = 86_400
RETENTION_S = CompactionSection().deleted_retention_s
TRIES = 3


def life_of(state: BlobState | None) -> tuple[int, bool]:
    """Its place in the order of states; that of a blob of which nothing is known is the least."""
    return (-1, False) if state is None else (state.life_version, state.deleted)


def properties_of(payload: bytes) -> bytes:
    """Those that a frontend can read."""
    return encode_properties(BlobProperties(size=len(payload), digest=digest(payload)))


@dataclass(slots=True)
class Blob:
    """What was acknowledged of one at least, and what may have happened at most."""

    number: int
    acknowledged: tuple[int, bool] = (0, False)
    possible: tuple[int, bool] = (0, False)

    @property
    def id(self) -> bytes:
        return blob_id(self.number)


class UndeleteHistory:
    """One history; `said` tells the steps."""

    def __init__(self, root: Path, seed: int, datacenters: tuple[int, ...]) -> None:
        section = CompactionSection(dead_share_min=0.05, tombstone_retention_s=30 * DAY_S)
        self.cluster = DirectCluster(root, cluster_map(*datacenters), sections={"compaction": section})
        self.said: list[str] = []
        self.revived = 0
        """Undeletes that were acknowledged."""
        self.refused = 0
        """Those that came too late."""
        self._random = random.Random(seed)
        self._homes = "abc"[: len(datacenters)]
        self._frontends = {
            home: DirectFrontend(self.cluster, datacenter_id=number, seed=seed)
            for number, home in enumerate(self._homes, 1)
        }
        self._blobs: list[Blob] = []
        self._whole = True

    async def run(self, steps: int) -> None:
        await self.cluster.start()
        await self.cluster.settle()
        await self.put()
        todo = [self.delete] * 4 + [self.undelete] * 4 + [self.pull] * 4 + [self.compact] * 3 + [self.pass_time] * 3
        todo += [self.turn_link, self.turn_route, self.turn_route, self.heal_links, self.settle, self.wipe, self.put]
        todo += [self.miss_a_delete] * 2 + [self.undelete_where_nothing_is]
        for _ in range(steps):
            await self._random.choice(todo)()
            for blob in self._blobs:
                blob.possible = max(blob.possible, *map(life_of, self._states(blob).values()))
        for _ in range(2):
            await self.settle()
            await compare_all(self.cluster)
            self.cluster.clock.advance(120)
        await self.settle()
        for blob in self._blobs:
            await self._judge(blob)

    def _names(self, home: str) -> list[str]:
        return [name for name in sorted(self.cluster.nodes) if name[0] == home]

    def _node(self) -> DirectNode:
        return self.cluster[self._random.choice(sorted(self.cluster.nodes))]

    def _open(self) -> list[DirectNode]:
        return [node for node in self.cluster.nodes.values() if node.parts.replicas.get(PARTITION) is not None]

    def _states(self, blob: Blob) -> dict[str, BlobState | None]:
        return {node.name: node.state(blob.id) for node in self._open()}

    def _say(self, *words: object) -> None:
        self.said.append(" ".join(map(str, words)))

    # --- clients ---

    async def put(self) -> None:
        """As a frontend that heard of it from all of its replicas, or from all but one."""
        blob = Blob(len(self._blobs) + 1)
        home = self._random.choice(self._homes)
        names = [name for name in self._names(home) if self.cluster[name] in self._open()]
        if len(names) < 2:
            return
        self._blobs.append(blob)
        self._say("put", blob.number, home)
        payload = content(blob.number, SIZE)
        for name in self._random.sample(names, self._random.randint(2, len(names))):
            await self.cluster[name].put(blob.id, payload, properties=properties_of(payload))

    async def delete(self) -> None:
        await self._change("delete")

    async def undelete(self) -> None:
        await self._change("undelete")

    async def miss_a_delete(self) -> None:
        """One replica does not hear of a delete, and a week or so later somebody thinks better of it."""
        frontend = self._frontends[self._random.choice(self._homes)]
        route = frontend.peers[self._node().name]
        route.reachable = False
        await self.delete()
        self.cluster.clock.advance(self._random.choice([DAY_S, RETENTION_S - 30, RETENTION_S]))
        await self._random.choice([self.pull, self.compact, self.wipe, self.turn_route])()
        route.reachable = True
        await self._undelete_while_deaf(self._random.sample(sorted(self.cluster.nodes), self._random.randint(0, 2)))

    async def undelete_where_nothing_is(self) -> None:
        """In the last minute at a replica that was wiped, and cut off until the others have dropped what is dead."""
        if not self._whole:
            return
        await self.delete()
        self.cluster.clock.advance(RETENTION_S - 30)
        lost = self._node()
        self._whole = False
        await lost.wipe()
        self._say("wipe and cut off", lost.name)
        for node in self.cluster.nodes.values():
            for peer in node.peers.values():
                peer.reachable = node is not lost and peer.node.name != lost.name
        await self._undelete_while_deaf([name for name in self.cluster.nodes if name != lost.name])
        self.cluster.clock.advance(60)
        for _ in self.cluster.nodes:
            await self.compact()

    async def _undelete_while_deaf(self, names: list[str]) -> None:
        """To these no update gets through."""
        self._say("deaf", *names)
        routes = [frontend.peers[name] for frontend in self._frontends.values() for name in names]
        for route in routes:
            route.deaf = True
        await self.undelete()
        for route in routes:
            route.deaf = False

    async def _change(self, kind: str) -> None:
        home, blob = self._random.choice(self._homes), self._random.choice(self._blobs)
        frontend = self._frontends[home]
        deleted_at_ms = max((node.deleted_at_ms(blob.id) for node in self._open()), default=0)
        late = 0 < deleted_at_ms <= self.cluster.clock.wall_ms() - RETENTION_S * 1000
        before = max(map(life_of, self._states(blob).values()), default=(0, False))
        failure: AmbryError | None = None
        try:
            await (frontend.delete(blob.id) if kind == "delete" else frontend.undelete(blob.id))
        except (BlobGone, BlobNotFound, NotDeleted, Unavailable) as error:
            failure = error
        await frontend.settled()
        states = self._states(blob)
        self._say(kind, blob.number, home, repr(failure), states)
        if kind == "undelete" and late:
            self.refused += 1
            now = max(map(life_of, states.values()), default=before)
            assert now == before, f"an undelete of blob {blob.number} was recorded that came too late: {states}"
        if failure is None:
            self.revived += kind == "undelete"
            taken = sorted(life_of(states.get(name)) for name in self._names(home))[-2]
            assert taken[1] == (kind == "delete"), f"{kind} of blob {blob.number} was acknowledged: {states}"
            blob.acknowledged = max(blob.acknowledged, taken)

    # --- nodes ---

    async def pull(self) -> None:
        node = self._node()
        peer = self._random.choice(sorted(node.peers))
        self._say("pull", node.name, peer)
        with refusals():
            await node.pull(peer)
            await node.heal()

    async def compact(self) -> None:
        node = self._node()
        await opened(node)
        self._say("compact", node.name)
        with refusals():
            await node.parts.checkpointer.checkpoint(node.replica)
            while await node.parts.compactor.compact(node.replica):
                pass

    async def pass_time(self) -> None:
        seconds = self._random.choice([60, DAY_S, 3 * DAY_S, RETENTION_S - 30])
        self._say("time", seconds)
        self.cluster.clock.advance(seconds)
        for node in self.cluster.nodes.values():
            node.hear_clocks()
            await opened(node)
            if self._random.random() < 0.5:
                await pull_from_all(node)

    async def turn_link(self) -> None:
        node = self._node()
        peer = node.peers[self._random.choice(sorted(node.peers))]
        peer.reachable = not peer.reachable
        self._say("link", node.name, peer.node.name, peer.reachable)

    async def turn_route(self) -> None:
        home = self._random.choice(self._homes)
        peer = self._frontends[home].peers[self._node().name]
        peer.reachable = not peer.reachable
        self._say("route", home, peer.node.name, peer.reachable)

    async def heal_links(self) -> None:
        self._say("heal")
        for node in self.cluster.nodes.values():
            for peer in node.peers.values():
                peer.reachable = True
        for frontend in self._frontends.values():
            for route in frontend.peers.values():
                route.reachable = True

    async def wipe(self) -> None:
        """One at a time: what was acknowledged is on another."""
        if not self._whole:
            return
        self._whole = False
        node = self._node()
        self._say("wipe", node.name)
        await node.wipe()

    async def settle(self) -> None:
        await self.heal_links()
        for _ in range(TRIES):
            if await settled(self.cluster):
                break
            self.cluster.clock.advance(15)
        else:
            raise AssertionError("authority stays away")
        self._whole = True
        self._say("settled")

    # --- the end ---

    async def _judge(self, blob: Blob) -> None:
        states = self._states(blob)
        what = f"{blob}: {states}"
        assert len(states) == len(self.cluster.nodes)
        known = {state for state in states.values() if state is not None}
        if not known:
            assert blob.possible[1], f"only a deleted blob is forgotten: {what}"
            return
        assert len(known) == 1, what
        (state,) = known
        if None in states.values():
            # One whose time is over may be forgotten here sooner than there: whoever compacts first.
            assert state.deleted, what
            over_ms = self.cluster.clock.wall_ms() - RETENTION_S * 1000
            assert all(node.deleted_at_ms(blob.id) <= over_ms for node in self._open()), what
        assert blob.acknowledged <= life_of(state) <= blob.possible, what
        if not state.deleted:
            for node in self.cluster.nodes.values():
                assert node.holds(blob.id), f"it lives, and {node.name} does not have its bytes: {what}"
                assert (await node.get(blob.id))[1] == content(blob.number, SIZE)
