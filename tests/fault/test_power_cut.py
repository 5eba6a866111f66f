"""Power cuts of a data node under load (F2): nothing that was acknowledged is lost, nothing else is half there.

One node, real files, real syncs (tests/support/power_cut.py). Everything goes straight over the RPC: a frontend would hide
what one replica loses behind the others. After every cut a new node opens what the disk kept, and is asked for every blob of
the last rounds, a sample of the older ones, and, before the disk is replaced, for all of them.

AMBRY_FAULT_ROUNDS sets the number of cuts, AMBRY_TEST_SEED the seed: of the contents and of what is asked for in which order,
not of what the node was doing when the power went.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState, join
from ambry.checksum import digest
from ambry.clock import SystemClock
from ambry.errors import PeerConnectionLost
from ambry.format.record import RecordKind
from ambry.ids import BlobId, IdKind, uuid7
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import PutRequest, UpdateReply, UpdateRequest
from tests.support.clusters import rounds, seed_of
from tests.support.content import content
from tests.support.power_cut import DATACENTER_ID, Blob, PoweredNode, ask, fault_in, powered_node, why_impossible
from tests.support.replica_reader import Copy, Held, ReplicaReader

COMPACTION = True
"""Whether the node compacts all the time. Deleted blobs then lose their bytes at once and their tombstones soon after."""
COMPACTING = (
    "compaction.enabled=true",
    "compaction.interval_s=0.05",
    "compaction.dead_share_min=0.05",
    "compaction.deleted_retention_s=0",
    "compaction.tombstone_retention_s=0",
)
NOT_COMPACTING = ("compaction.enabled=false",)
SMALL = ("store.segment_size_bytes=1048576", "store.reserve_bytes=67108864", "scrub.enabled=false")
"""Segments that roll several times in a round."""
OFTEN_S, SOMETIMES_S, SELDOM_S = 0.03, 0.2, 600.0
"""Between two checkpoints: within a round some, one perhaps, none. Each syncs the log first, class `memory` included."""

PARTITIONS = 2
CLIENTS = 24
SIZES = ((5, 300, 4_000), (4, 4_000, 66_000), (1, 66_000, 200_000))
"""(weight, least, most), bytes; a checksum block has 65,536."""
MOMENTS_S = (0.01, 0.3)
"""When the power goes, after the load began."""
START_SHARES = (0.75, 1.05)
"""When the power goes while the node starts, as a share of what the last start took: before lie Python's imports."""
PLANNED = 250
CUTS_PER_DISK = 30
RECENT_LOADS = 2
OLDER_SAMPLE = 60
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """What a load consists of, as shares from 0 to 1."""

    memory: float
    """of the puts are of class `memory`"""
    changes: float
    """of the calls change a blob that is there: delete it, undelete it, let it live for ever; each syncs the whole log"""


MIXED = Flavour(memory=0.1, changes=0.2)
SYNCED = Flavour(memory=0.0, changes=0.2)
UNSYNCED = Flavour(memory=1.0, changes=0.0)


class Cutter:
    """Loads a node, cuts its power, looks at what came back; again and again. One object per test."""

    def __init__(
        self,
        node: PoweredNode,
        seed: int,
        *,
        flavours: Sequence[Flavour],
        checkpoints_s: Sequence[float],
        kills: float = 0.0,
        starts: float = 0.0,
    ) -> None:
        """`kills` of the cuts come to a node that replayed what a killed one left; `starts` while it still starts."""
        self.node = node
        self.lost_in_memory = 0
        self.counts: Counter[str] = Counter()
        self._source = random.Random(seed)
        self._flavours = flavours
        self._flavour = flavours[0]
        self._checkpoints_s = checkpoints_s
        self._kills = kills
        self._starts = starts
        self._clock = SystemClock()
        self._seed = seed << 20
        self._loads = 0
        self._ended = False
        self._was_ready = False
        self._planned: deque[tuple[Blob, bytes]] = deque()
        self._blobs: list[Blob] = []  # everything on this disk, oldest first
        self._again: deque[Blob] = deque()  # not acknowledged and not there: put again

    # --- rounds ---

    async def run(self, cuts: int) -> None:
        """Cut the power this often."""
        began = time.monotonic()
        for number in range(cuts):
            if number % CUTS_PER_DISK == 0:
                await self._replace_disk()
            self._start()
            if self._source.random() < self._starts:
                await self._cut_while_starting()
            else:
                await self._check_running(self._recent_and_some())
                if self._source.random() < self._kills:
                    await self._kill_under_load()
                await self._load(self.node.cut_power, self._flavours)
            self.node.disk.restore()
            self.counts["cuts"] += 1
        await self._finish_disk()
        took = time.monotonic() - began
        told = ", ".join(f"{what} {count}" for what, count in sorted(self.counts.items()))
        print(f"{told}; {self.lost_in_memory} of class memory lost; {took:.1f} s, {took / cuts:.2f} s a cut")

    async def _replace_disk(self) -> None:
        await self._finish_disk()
        self.node.disk.make()
        self._was_ready = False
        self._blobs.clear()
        self._again.clear()

    async def _finish_disk(self) -> None:
        if self._blobs:
            self._start()
            await self._check_running(self._blobs)
            self.node.kill()

    def _start(self) -> None:
        self.node.start([f"store.checkpoint_interval_s={self._source.choice(self._checkpoints_s)}"])
        self._plan()

    async def _cut_while_starting(self) -> None:
        await self.node.passed_of_start(self._source.uniform(*START_SHARES))
        self.node.cut_power()
        self.counts["cuts while starting"] += 1

    # --- load ---

    def _plan(self) -> None:
        """Make contents ahead, while the node starts."""
        while len(self._planned) < PLANNED:
            _, least, most = self._source.choices(SIZES, [weight for weight, _, _ in SIZES])[0]
            self._seed += 1
            size = self._source.randint(least, most)
            payload = content(self._seed, size)
            now_ms = self._clock.wall_ms()
            expires_at_ms = self._source.choice((NEVER_MS, now_ms + DAY_MS))
            blob_id = BlobId.make(
                kind=IdKind.SIMPLE,
                datacenter=DATACENTER_ID,
                account=1,
                container=1,
                partition=self._source.randrange(PARTITIONS),
                uuid=uuid7(self._clock.wall_ms(), self._source),
            )
            sent = BlobState(0, False, expires_at_ms)
            blob = Blob(id=blob_id.raw, seed=self._seed, size=size, digest=digest(payload), sent=sent)
            self._planned.append((blob, payload))

    async def _kill_under_load(self) -> None:
        await self._load(self.node.kill, [MIXED, UNSYNCED])
        for blob in self._blobs:
            if blob.in_memory:
                blob.owed = blob.sent  # class `memory` survives a kill
        self._start()
        await self._check_running(self._recent_and_some())
        self.counts["kills before cuts"] += 1

    async def _load(self, end: Callable[[], None], flavours: Sequence[Flavour]) -> None:
        """Put and change as much as the node takes; at some moment `end` it."""
        self._ended = False
        self._flavour = self._source.choice(flavours)
        self._loads += 1
        connection = await self.node.connect()
        clients = [asyncio.create_task(self._client(connection)) for _ in range(CLIENTS)]
        try:
            await asyncio.sleep(self._source.uniform(*MOMENTS_S))
            self._ended = True
            end()
            # What it answered before it died counts, and is still on its way.
            await asyncio.gather(*clients)
        finally:
            connection.abort()
        self.counts["compactions"] += len(self.node.logged("compacted"))

    async def _client(self, connection: RpcConnection) -> None:
        while not self._ended:
            try:
                await self._call(connection)
            except PeerConnectionLost:
                if not self._ended:
                    raise

    async def _call(self, connection: RpcConnection) -> None:
        if self._source.random() < self._flavour.changes:
            owed = [blob for blob in self._source.choices(self._blobs, k=4) if blob.owed] if self._blobs else []
            if owed:
                await self._change(connection, owed[0])
                return
        if self._again:
            blob = self._again.popleft()
            await self._put(connection, blob, content(blob.seed, blob.size))
            return
        if not self._planned:
            self._plan()
        blob, payload = self._planned.popleft()
        self._blobs.append(blob)
        await self._put(connection, blob, payload)

    async def _put(self, connection: RpcConnection, blob: Blob, payload: bytes) -> None:
        in_memory = self._source.random() < self._flavour.memory
        blob.touched = self._loads
        created_at_ms = self._clock.wall_ms()
        request = PutRequest(
            "power-cut",
            blob.id,
            RecordKind.BLOB,
            created_at_ms,
            blob.sent.expires_at_ms,
            b"\x01\x80",
            b"",
            blob.digest,
            not in_memory,
        )
        put = BlobState(0, False, blob.sent.expires_at_ms)
        await ask(connection, MessageType.PUT, request, payload)
        if in_memory:
            blob.in_memory = True
            self.counts["puts of class memory"] += 1
        else:
            blob.owed = join(blob.owed or put, put)
            self.counts["puts acknowledged"] += 1

    async def _change(self, connection: RpcConnection, blob: Blob) -> None:
        owed = blob.owed or blob.sent
        if COMPACTION and blob.sent.deleted:
            return  # its bytes may be gone, and itself forgotten
        if owed.deleted:
            state = BlobState(owed.life_version + 1, False, owed.expires_at_ms)
        elif self._source.random() < 0.5:
            state = BlobState(owed.life_version, True, owed.expires_at_ms)
        else:
            state = BlobState(0, False, NEVER_MS)
        blob.sent = join(blob.sent, state)
        blob.touched = self._loads
        frame = await ask(
            connection, MessageType.UPDATE, UpdateRequest("power-cut", blob.id, state, self._clock.wall_ms())
        )
        blob.owed = join(blob.owed or state, messages.decode(frame.header, UpdateReply).state)
        self.counts["changes acknowledged"] += 1

    # --- judging ---

    def _recent_and_some(self) -> list[Blob]:
        recent = [blob for blob in self._blobs if blob.touched > self._loads - RECENT_LOADS]
        older = [blob for blob in self._blobs if blob.touched <= self._loads - RECENT_LOADS]
        return recent + self._source.sample(older, min(len(older), OLDER_SAMPLE))

    async def _check_running(self, blobs: list[Blob]) -> None:
        """Wait until the node that was started is ready, and compare what it holds with what it owes."""
        self.node.wait_ready()
        async with self.node.reader() as reader:
            found = await asyncio.gather(*(self._judge(reader, blob) for blob in blobs))
        faults = [*filter(None, found), *self._faults_in_opening()]
        shown = "\n  ".join(faults[:12])
        assert not faults, f"cut {self.counts['cuts']}: {len(faults)} of {len(blobs)} blobs are wrong:\n  {shown}"
        self.counts["blobs checked"] += len(blobs)

    async def _judge(self, reader: ReplicaReader, blob: Blob) -> str:
        copy = await reader.read(blob.id)
        fault = fault_in(blob, copy, compacted=COMPACTION)
        if not fault:
            self._learn(blob, copy)
        return fault

    def _faults_in_opening(self) -> list[str]:
        found: list[str] = []
        for opened in self.node.logged("replica open"):
            self.counts["records replayed"] += opened["replayed"]
            self.counts["gaps in the log"] += opened["gaps"]
            if opened["rebuilt"] and self._was_ready:
                found.append(f"INDEX LOST: {opened}")
        self._was_ready = True
        return found

    def _learn(self, blob: Blob, copy: Copy) -> None:
        """What was read after a restart is owed from now on; what is not there is put again."""
        if copy.held is not Held.ABSENT:
            blob.owed = copy.state if blob.owed is None else join(blob.owed, copy.state)
        elif blob.owed is None and blob.touched == self._loads:
            self._again.append(blob)
        self.lost_in_memory += copy.held is Held.ABSENT and blob.in_memory
        blob.in_memory = False


# --- tests ---


@pytest.fixture(scope="module")
def power(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where no power can be cut."""
    reason = why_impossible(tmp_path_factory.mktemp("trial"))
    if reason:
        pytest.skip(reason)


@pytest.fixture
def node(power: None, tmp_path: Path) -> Iterator[PoweredNode]:
    compaction = COMPACTING if COMPACTION else NOT_COMPACTING
    with powered_node(tmp_path / "n", partitions=PARTITIONS, settings=[*SMALL, *compaction]) as it:
        yield it


def test_two_power_cuts_lose_nothing_acknowledged(node: PoweredNode) -> None:
    asyncio.run(Cutter(node, seed_of("two power cuts"), flavours=[MIXED], checkpoints_s=[OFTEN_S]).run(2))


@pytest.mark.fault
def test_power_cuts_lose_nothing_acknowledged(node: PoweredNode) -> None:
    cutter = Cutter(
        node,
        seed_of("power cuts"),
        flavours=[MIXED, MIXED, SYNCED, UNSYNCED],
        checkpoints_s=[OFTEN_S, SOMETIMES_S, SELDOM_S],
        kills=0.1,
        starts=0.1,
    )
    asyncio.run(cutter.run(rounds(300)))


@pytest.mark.fault
def test_power_cuts_are_real_class_memory_loses_blobs(node: PoweredNode) -> None:
    """Without this the tests above might pass because nothing was ever cut."""
    cutter = Cutter(node, seed_of("class memory"), flavours=[UNSYNCED], checkpoints_s=[SELDOM_S])
    asyncio.run(cutter.run(5))
    assert cutter.lost_in_memory > 0


ALIVE, DELETED = BlobState(0, False, NEVER_MS), BlobState(0, True, NEVER_MS)
BYTES = b"abc"


@pytest.mark.parametrize(
    ("owed", "sent", "held", "state", "payload", "found"),
    [
        (ALIVE, ALIVE, Held.PRESENT, ALIVE, BYTES, ""),
        (ALIVE, DELETED, Held.PRESENT, ALIVE, BYTES, ""),
        (ALIVE, DELETED, Held.PRESENT, DELETED, BYTES, ""),
        (None, ALIVE, Held.ABSENT, BlobState(), b"", ""),
        (None, ALIVE, Held.PRESENT, ALIVE, BYTES, ""),
        (ALIVE, ALIVE, Held.ABSENT, BlobState(), b"", "LOST"),
        (DELETED, DELETED, Held.ABSENT, BlobState(), b"", "LOST"),
        (ALIVE, ALIVE, Held.UNSURE, BlobState(), b"", "unsure"),
        (None, ALIVE, Held.DAMAGED, BlobState(), b"", "damaged"),
        (None, ALIVE, Held.UNREACHABLE, BlobState(), b"", "unreachable"),
        (ALIVE, ALIVE, Held.STATE_ONLY, ALIVE, b"", "BYTES LOST"),
        (ALIVE, ALIVE, Held.PRESENT, ALIVE, b"abd", "WRONG BYTES"),
        (None, ALIVE, Held.PRESENT, ALIVE, b"ab", "WRONG BYTES"),
        (DELETED, DELETED, Held.PRESENT, ALIVE, BYTES, "STATE LOST"),
        (BlobState(1, False, NEVER_MS), BlobState(1, False, NEVER_MS), Held.PRESENT, DELETED, BYTES, "STATE LOST"),
        (ALIVE, ALIVE, Held.PRESENT, BlobState(0, False, 5), BYTES, "STATE LOST"),
        (ALIVE, ALIVE, Held.PRESENT, DELETED, BYTES, "STATE NEVER SENT"),
    ],
)
def test_the_judge_of_power_cuts_flags_what_is_wrong_and_nothing_else(
    owed: BlobState | None, sent: BlobState, held: Held, state: BlobState, payload: bytes, found: str
) -> None:
    blob = Blob(id=b"", seed=1, size=len(BYTES), digest=digest(BYTES), sent=sent, owed=owed)
    copy = Copy(node="n", id="x", held=held, state=state, payload=payload)
    fault = fault_in(blob, copy, compacted=False)
    assert fault.startswith(found) and bool(fault) == bool(found)
