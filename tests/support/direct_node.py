"""Data nodes in one process, connected by direct calls: real stores on fake disks, real handlers and replication, no sockets.

Background loops do not run by themselves: `DirectNode.ticks` holds them by name, and a test calls them when it wants.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from ambry.blob import BlobState
from ambry.checksum import Buffer, block_checks, digest
from ambry.clustermap.health import NodeHealth
from ambry.clustermap.model import ClusterMap, Node, Partition
from ambry.errors import AmbryError, PeerConnectionLost, ProtocolViolation
from ambry.network.identity import Shown
from ambry.network.introduction import FEATURES
from ambry.network.pool import ClockSample, PeerPool
from ambry.network.responding import Responder
from ambry.network.sending import FileBody
from ambry.protocol.frame import FLAG_REPLY, Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Message
from ambry.protocol.messages.blobs import GetReply, GetRequest, PutRequest, UpdateReply, UpdateRequest
from datanode.config import ReplicationSection
from datanode.replicas import Replica
from datanode.wiring import build
from tests.support.fake_clock import OwnClock, SettableClock
from tests.support.fake_files import Backup, FakeFiles
from tests.support.node_parts import node_config, store_section
from tests.support.samples import ALIVE, CLUSTER, PARTITION

M = TypeVar("M", bound=Message)
LONG_S = 60.0
TICKS_MAX = 200


def cluster_map(*datacenters: int, partitions: tuple[int, ...] = (PARTITION,)) -> ClusterMap:
    """`cluster_map(3, 2)`: nodes a1 a2 a3 in dc1, b1 b2 in dc2, every partition on all of them."""
    nodes = [
        Node(
            name=f"{'abc'[which]}{number}",
            datacenter=f"dc{which + 1}",
            datacenter_id=which + 1,
            host="direct",
            port=100 * which + number,
        )
        for which, count in enumerate(datacenters)
        for number in range(1, count + 1)
    ]
    return ClusterMap(
        cluster=CLUSTER,
        version=1,
        datacenters={f"dc{which + 1}": which + 1 for which in range(len(datacenters))},
        partitions=[Partition(id=number, replicas=tuple(nodes)) for number in partitions],
    )


class Answer:
    """A responder that keeps the answer."""

    def __init__(self) -> None:
        self.deadline = float("inf")
        self.shown: Shown | None = None
        self.on_abandoned: Callable[[], object] | None = None
        self.from_file = False
        """Whether the body stood in a file, and was not read by the handler."""
        self._abandoned = False
        self._future: asyncio.Future[tuple[Message, Buffer, Buffer | None]] = asyncio.get_running_loop().create_future()

    def try_admit(self, size: int) -> bool:
        return True

    async def admit(self, size: int) -> None:
        """There is always room."""

    def abandon(self) -> None:
        """Nobody waits for it any more: what comes yet is nobody's."""
        self._abandoned = True
        if self.on_abandoned is not None:
            self.on_abandoned()

    def reply(self, message: Message, body: Buffer | FileBody = b"", checks: Buffer | None = None) -> None:
        if self._abandoned:
            return
        if self._future.done():
            raise AssertionError("a request was answered twice")
        if isinstance(body, FileBody):
            self.from_file = True
            body = body.rest(0)
        self._future.set_result((message, body, checks))

    def fail(self, error: AmbryError) -> None:
        if self._abandoned:
            return
        if self._future.done():
            raise AssertionError("a request was answered twice")
        self._future.set_exception(error)

    @property
    def done(self) -> bool:
        return self._future.done()

    async def wait(self) -> tuple[Message, Buffer, Buffer | None]:
        async with asyncio.timeout(LONG_S):
            return await self._future


class DirectPeer:
    """Node `target` as node `source` sees it."""

    def __init__(self, node: Node, target: Callable[[], DirectNode | None]) -> None:
        self.node = node
        self.health = NodeHealth()
        self.reachable = True
        self.features = set(FEATURES)
        """What it announces in its hello."""
        self.tamper: Callable[[int, Frame], Frame] = lambda _type, frame: frame
        """May change what the peer answered."""
        self.asked: list[Message] = []
        self._target = target

    @property
    def usable(self) -> bool:
        return self.connected and self.health.well

    @property
    def connected(self) -> bool:
        return self.reachable and self._target() is not None

    def understands(self, feature: str) -> bool:
        return self.connected and feature in self.features

    async def request(self, type: int, message: Message, *, timeout_s: float) -> Frame:
        target = self._target()
        if not self.reachable or target is None:
            raise PeerConnectionLost(f"{self.node.name} is away")
        self.asked.append(message)
        answer, body, checks = await target.ask(type, message)
        if checks is None:
            checks = block_checks(body)
        frame = Frame(type, FLAG_REPLY, 0, 1, messages.encode(answer), bytes(checks), bytes(body))
        return self.tamper(type, frame)


class DirectNode:
    """One data node. `start` opens its stores; `power_cut`, `kill` and `stop` end it; then `start` again."""

    def __init__(self, cluster: DirectCluster, name: str, root: Path) -> None:
        self.name = name
        self.files = FakeFiles(root)
        self.clock = OwnClock(cluster.clock)
        self.peers: dict[str, DirectPeer] = {
            node.name: DirectPeer(node, lambda node=node: cluster.running.get(node.name))  # type: ignore[misc]
            for node in cluster.map.nodes.values()
            if node.name != name
        }
        self._cluster = cluster
        self._root = root
        self._starts = 0

    async def start(self) -> None:
        cluster = self._cluster
        self._starts += 1
        # The same run gives the same incarnations, but each start its own.
        seed = random.Random(f"{self.name} {self._starts}")
        self.parts = build(
            node_config(
                self.name,
                self._root / "data",
                store=cluster.store_config,
                replication=cluster.replication_config,
                **cluster.sections,
            ),
            cluster.map,
            clock=self.clock,
            random_source=seed,
            files=self.files,
            pool=cast(PeerPool, self.peers),
        )
        await self.parts.open_replicas()
        self.ticks = self.parts.ticks()
        cluster.running[self.name] = self
        for node in cluster.running.values():
            node.hear_clocks()

    def hear_clocks(self) -> None:
        """What a ping to every peer brings."""
        for name, peer in self.peers.items():
            other = self._cluster.running.get(name)
            told_ms = other.parts.clocks.judge.told_ms() if other is not None and peer.reachable else 0
            if told_ms:
                self.parts.clocks.sampled(
                    name, ClockSample(peer=name, offset_ms=told_ms - self.clock.wall_ms(), half_round_trip_ms=1.0)
                )

    async def stop(self) -> None:
        """As the server does it."""
        self._cluster.running.pop(self.name, None)
        await self.parts.later.stop()
        await self.parts.close()

    async def power_cut(self, seed: int) -> None:
        self._cluster.running.pop(self.name, None)
        await self.parts.later.stop()
        self.files.crash(random.Random(seed))
        self._abandon()

    async def kill(self) -> None:
        self._cluster.running.pop(self.name, None)
        await self.parts.later.stop()
        self.files.kill()
        self._abandon()

    def backup(self) -> Backup:
        """A copy of all its files, as they are now."""
        return self.files.backup()

    async def put_back(self, backup: Backup) -> None:
        """Its files are those of a backup, and it starts."""
        if self.name in self._cluster.running:
            await self.kill()
        self.files.put_back(backup)
        await self.start()

    async def wipe(self) -> None:
        """Its disk is replaced by an empty one, and it starts."""
        if self.name in self._cluster.running:
            await self.kill()
        shutil.rmtree(self.files.root / "data")
        self.files.__init__(self.files.root)  # type: ignore[misc]
        await self.start()

    def _abandon(self) -> None:
        for replica in self.parts.replicas.all():
            replica.store.close()
        self.parts.disk.close()

    @property
    def replica(self) -> Replica:
        return self.parts.replicas[PARTITION]

    # --- asking it ---

    def send(
        self,
        type: int,
        message: Message | bytes,
        body: Buffer = b"",
        *,
        deadline: float = float("inf"),
        shown: Shown | None = None,
    ) -> Answer:
        """`shown` is who asks by its certificate, where it shows one."""
        answer = Answer()
        answer.deadline = deadline
        answer.shown = shown
        frame = Frame(type, 0, 10_000, 1, messages.header_of(message), block_checks(body), body)
        try:
            self.parts.handlers[type](frame, cast(Responder, answer))
        except messages.UNREADABLE as error:
            answer.fail(ProtocolViolation(str(error)))  # as a connection does
        except AmbryError as error:
            answer.fail(error)
        return answer

    async def ask(
        self, type: int, message: Message | bytes, body: Buffer = b"", *, shown: Shown | None = None
    ) -> tuple[Message, Buffer, Buffer | None]:
        return await self.send(type, message, body, shown=shown).wait()

    async def put(
        self,
        raw_id: bytes,
        payload: bytes,
        *,
        state: BlobState = ALIVE,
        sync: bool = True,
        properties: bytes = b"\x01\x80",
    ) -> None:
        request = PutRequest(
            "r", raw_id, 1, self.clock.wall_ms(), state.expires_at_ms, properties, b"", digest(payload), sync
        )
        await self.ask(MessageType.PUT, request, payload)

    async def update(self, raw_id: bytes, state: BlobState, *, deleted_at_ms: int = 0) -> BlobState:
        """`deleted_at_ms`: of an undelete, when the delete was made that it undoes."""
        request = UpdateRequest("r", raw_id, state, self.clock.wall_ms(), deleted_at_ms)
        message, _, _ = await self.ask(MessageType.UPDATE, request)
        assert isinstance(message, UpdateReply)
        return message.state

    async def get(
        self, raw_id: bytes, first: int = 0, end: int = 1 << 40, *, any_state: bool = False
    ) -> tuple[GetReply, bytes]:
        message, body, _ = await self.ask(MessageType.GET, GetRequest("r", raw_id, first, end, any_state))
        assert isinstance(message, GetReply)
        return message, bytes(body)

    def holds(self, raw_id: bytes) -> bool:
        entry = self.replica.store.lookup(raw_id)
        return entry is not None and entry.present and raw_id not in self.replica.store.damaged

    def state(self, raw_id: bytes) -> BlobState | None:
        entry = self.replica.store.lookup(raw_id)
        return None if entry is None else entry.state

    def deleted_at_ms(self, raw_id: bytes) -> int:
        """When it was deleted as far as this node knows, 0 where it is not."""
        entry = self.replica.store.lookup(raw_id)
        return 0 if entry is None else entry.deleted_at_ms

    # --- driving it ---

    async def tick(self, name: str) -> float:
        return await self.ticks[name]()

    async def pull(self, peer: str) -> None:
        """Follow one peer until there is nothing more to get, or an error."""
        self.hear_clocks()
        for _ in range(TICKS_MAX):
            cursor = self.parts.cursors.of(PARTITION)[peer]
            before = (cursor.incarnation, cursor.next_lsn, cursor.end_lsn, cursor.caught_up)
            for name in (f"pull:{peer}", f"pull:{peer}:standby"):
                if name in self.ticks:
                    await self.tick(name)
            cursor = self.parts.cursors.of(PARTITION)[peer]
            if before == (cursor.incarnation, cursor.next_lsn, cursor.end_lsn, cursor.caught_up):
                return
        raise AssertionError(f"{self.name} never got to the end of {peer}")

    async def heal(self) -> float:
        return await self.tick("heal")


class DirectCluster:
    """Some nodes of one map, each on its own disk.

    `sections` of their configuration (compaction, scrub, sweep) by name; `replication` are keys of that section.
    """

    def __init__(
        self, root: Path, map: ClusterMap, *, sections: dict[str, Any] | None = None, **replication: Any
    ) -> None:
        self.map = map
        self.sections = sections or {}
        self.clock = SettableClock()
        self.running: dict[str, DirectNode] = {}
        self.store_config = store_section()
        self.replication_config = ReplicationSection(
            **{"poll_wait_ms": 1, "sibling_delay_ms": 0, "designated_delay_ms": 0, "standby_delay_ms": 0} | replication
        )
        self.nodes: dict[str, DirectNode] = {}
        for name in sorted(map.nodes):
            (root / name).mkdir()
            self.nodes[name] = DirectNode(self, name, root / name)

    def __getitem__(self, name: str) -> DirectNode:
        return self.nodes[name]

    async def start(self) -> None:
        for node in self.nodes.values():
            await node.start()

    async def stop(self) -> None:
        for node in list(self.running.values()):
            await node.stop()

    async def settle(self, *, rounds: int = 4) -> None:
        """Let everybody pull from everybody, copy whole what is far behind, and heal, some times."""
        for _ in range(rounds):
            for node in list(self.running.values()):
                for peer in node.peers:
                    await node.pull(peer)
                if "bootstrap" in node.ticks:
                    await node.tick("bootstrap")
                await node.heal()

    def serving(self) -> dict[str, bool]:
        return {name: node.replica.store.authority for name, node in self.running.items()}
