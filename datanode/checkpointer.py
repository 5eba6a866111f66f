"""Checkpoints: when the index of which replica is made durable, and one at a time for each.

A replica of which something changed has its next checkpoint within `store.checkpoint_interval_s`, and what comes meanwhile goes
with it. Where little changed it waits for its turn after that: one in a second has it, more only where all would not come
round in QUIET_ROUND_S. So a few puts into many partitions do not cost a checkpoint each. One of which nothing changed is not
looked at: a node costs what happens in it, however many partitions it has.

What a start has to replay is bounded for all replicas together, in entries and in bytes of their logs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol

from ambry.clock import Clock
from ambry.errors import AmbryError, InsufficientStorage, Overloaded
from ambry.service.logs import get_logger
from datanode.config import StoreSection
from datanode.disk import HANGS_AFTER_S, Disk
from datanode.replicas import Replica, Replicas
from datanode.store.blob_store import BlobStore, PendingCheckpoint, StoreState
from datanode.store.index import FindToken
from datanode.store.trouble import passes

log = get_logger()

TICK_S = 1.0
LOOK_EVERY_S = 5.0
"""Between two looks at how full the partitions are that take records, and how much waits for their checkpoints."""
FEW_ENTRIES = 100
FEW_BYTES = 1 << 20
"""Little changed since the last checkpoint where no more entries wait than this, of so many bytes of the log."""
QUIET_ROUND_S = 600.0
REPLAY_BYTES_MAX = 256 << 20
"""Of all logs behind their checkpoints, about: a start reads and verifies them."""
ROOM_BYTES = 4 << 20
ROOM_BYTES_PER_ENTRY = 1024
"""Room that a checkpoint wants to see: LMDB copies every page that an entry's change touches."""

Tokens = Mapping[str, FindToken]
"""Per peer: what of its log is here, and durable at the next checkpoint."""


class TokenBook(Protocol):
    """How far the replicas of a node have followed their peers."""

    def tokens_of(self, partition: int) -> Tokens:
        """What a checkpoint of a partition may claim about its peers."""
        ...

    def note_durable(self, partition: int) -> None:
        """A checkpoint with such tokens was written."""
        ...


class _Load(NamedTuple):
    """What of a replica waits for its checkpoint: entries, and bytes of its log."""

    entries: int
    bytes: int

    def share(self, entries_max: int) -> float:
        """Of what may wait in all."""
        return max(self.entries / entries_max, self.bytes / REPLAY_BYTES_MAX)


def _little_changed(store: BlobStore) -> bool:
    """Whether the next checkpoint may wait for its turn."""
    return store.recent_count <= FEW_ENTRIES and store.bytes_from(store.checkpoint.lsn) <= FEW_BYTES


class Checkpointer:
    """Writes the checkpoints of a node.

    `right_ms` tells the latest wall time that is known to be right. `on_written` hears of every replica that had a checkpoint.
    """

    def __init__(
        self,
        replicas: Replicas,
        *,
        disk: Disk,
        config: StoreSection,
        clock: Clock,
        tokens: TokenBook,
        right_ms: Callable[[], int],
        on_written: Callable[[Replica], None] = lambda _replica: None,
    ) -> None:
        self._replicas = replicas
        self._disk = disk
        self._config = config
        self._clock = clock
        self._tokens = tokens
        self._right_ms = right_ms
        self._on_written = on_written
        self._due: dict[int, float] = {}
        """When the next checkpoint is due, monotonic, in seconds: by partition, where something changed since the last."""
        self._urgent: dict[int, None] = {}
        """Partitions that are due at once."""
        self._quiet: dict[int, None] = {}
        """Those of `_due` whose time has come, and of which little changed, in the order in which they have their turns."""
        self._touched: dict[int, None] = {}
        """Those that changed since all that waits was bounded last."""
        self._loads: dict[int, _Load] = {}
        """What of each waited then."""
        self._notices: dict[int, Callable[[], None]] = {}
        self._changes = 0
        self._waited = 0
        """Entries that waited when all were counted last, and calls of `changed` since: each may be for a whole batch."""
        self._looked_at = float("-inf")
        self._tasks: dict[asyncio.Task[Any], None] = {}

    # --- what changed ---

    def opened(self, replica: Replica) -> None:
        """A replica was opened: look at it once, whatever changes."""
        self._reseal(replica.store)
        self.changed(replica.partition.id)

    def notice_of(self, partition: int) -> Callable[[], None]:
        """What its store calls after everything that it published; the same for each of its openings."""
        return self._notices.setdefault(partition, partial(self.changed, partition))

    def changed(self, partition: int) -> None:
        """Something changed that a checkpoint keeps: entries, how far peers were followed, authority."""
        self._changes += 1
        self._touched[partition] = None
        if partition not in self._due:
            self._due[partition] = self._clock.monotonic() + self._config.checkpoint_interval_s

    def _settled(self, partition: int) -> None:
        """Nothing of what changed so far waits for a checkpoint any more."""
        self._due.pop(partition, None)
        self._quiet.pop(partition, None)
        self._loads.pop(partition, None)

    def soon(self, partition: int) -> None:
        """It changed, and the next checkpoint is urgent."""
        self._urgent[partition] = None

    # --- on a schedule ---

    async def tick(self) -> float:
        """Checkpoint the replicas that need it; the tick of a worker."""
        urgent, self._urgent = self._urgent, {}
        for partition in [*urgent, *self._now_due(urgent)]:
            replica = self._available(partition)
            if replica is not None and self._differs(replica.store):
                await self._in_turn(replica)
        await self._bound_what_waits()
        return min(TICK_S, self._config.checkpoint_interval_s)

    def _now_due(self, urgent: Collection[int]) -> list[int]:
        """Those whose time has come, but for the `urgent`; of those of which little changed as many as have their turn."""
        now = self._clock.monotonic()
        due: list[int] = []
        for partition, at in list(self._due.items()):
            if at > now:
                break  # they stand in the order of their times
            if partition in urgent or partition in self._quiet:
                continue
            replica = self._available(partition)
            if replica is None or not self._differs(replica.store):
                continue
            if _little_changed(replica.store):
                self._quiet[partition] = None
            else:
                due.append(partition)
        turns = math.ceil(len(self._quiet) * TICK_S / QUIET_ROUND_S)
        return due + [partition for partition in islice(self._quiet, turns) if partition not in urgent]

    async def _bound_what_waits(self) -> None:
        """Look at what changed since the last look, now and then, and at once where too many entries may wait in memory."""
        config = self._config
        now = self._clock.monotonic()
        waiting = self._waited + self._changes * config.batch_records_max
        if waiting < config.checkpoint_records and now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at, self._changes = now, 0
        touched, self._touched = self._touched, {}
        for partition in touched:
            replica = self._available(partition)
            if replica is None or partition not in self._due:
                continue
            store = replica.store
            self._reseal(store)
            if partition in self._quiet and not _little_changed(store):
                await self._in_turn(replica)
            else:
                self._loads[partition] = _Load(store.recent_count, store.bytes_from(store.checkpoint.lsn))
        entries = sum(load.entries for load in self._loads.values())
        size = sum(load.bytes for load in self._loads.values())
        while self._loads and (entries >= config.checkpoint_records or size >= REPLAY_BYTES_MAX):
            # The largest first: the bounds are the node's, not a partition's.
            partition, load = max(self._loads.items(), key=lambda item: item[1].share(config.checkpoint_records))
            entries -= load.entries
            size -= load.bytes
            replica = self._available(partition)
            if replica is None or not await self._in_turn(replica):
                self._loads.pop(partition, None)
        self._waited = entries

    def _available(self, partition: int) -> Replica | None:
        """A replica that can have a checkpoint. One that cannot is noted again when it is opened."""
        replica = self._replicas.get(partition)
        if replica is None or replica.store.state is not StoreState.OPEN:
            self._settled(partition)
            return None
        return replica

    def _reseal(self, store: BlobStore) -> None:
        """Seal a partition that is nearly full, unseal one that has room again."""
        if store.reseal(self._config.capacity_bytes):
            log.warning("partition sealed or unsealed", partition=store.partition, sealed=store.sealed)

    def _differs(self, store: BlobStore) -> bool:
        """Whether there are new entries, or its authority or its tokens are not as they were written down.

        Peers keep tombstones until its durable tokens are past them.
        """
        written = store.checkpoint
        if (
            store.recent_count
            or written.serving != store.serving
            or written.tokens != self._tokens.tokens_of(store.partition)
        ):
            return True
        self._settled(store.partition)
        return False

    async def _in_turn(self, replica: Replica) -> bool:
        """Checkpoint one of several: where its disk hangs the others must not wait for it, nor one more of it begin."""
        if replica.checkpoint_lock.locked():
            return False
        task = asyncio.ensure_future(self.checkpoint(replica))
        await asyncio.wait((task,), timeout=HANGS_AFTER_S)
        return task.done() and task.result()

    async def checkpoint(self, replica: Replica, *, clean: bool = False) -> bool:
        """Make the index durable up to what is published now. A failure fences the replica.

        Returns whether that happened: on a full disk, and without memory for it, it is put off. The log has all of it, and the
        entries in memory stay few, as puts are refused by then.

        A checkpoint that began runs to its end even when the caller is cancelled: entries that were frozen for it and never
        written would be missing from the index.
        """
        task = asyncio.get_running_loop().create_task(self._one_at_a_time(replica, clean=clean))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Let the checkpoints on their way end, and make a clean one of every replica that has nothing in flight."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        idle = [replica for replica in self._replicas.all() if replica.committer.idle]
        for replica in idle:
            # What came behind a checkpoint that says so would not be read by the next start, and its LSNs given again.
            replica.store.leave()
        await asyncio.gather(*(self.checkpoint(replica, clean=True) for replica in idle))

    async def _one_at_a_time(self, replica: Replica, *, clean: bool) -> bool:
        async with replica.checkpoint_lock:
            done = await self._checkpoint(replica.store, clean=clean)
            if done:
                self._reseal(replica.store)
                self._on_written(replica)
            elif replica.store.state is StoreState.OPEN:
                self._settled(replica.partition.id)
                self.changed(replica.partition.id)  # what was urgent could not be done: not again at once
            return done

    async def _checkpoint(self, store: BlobStore, *, clean: bool) -> bool:
        if store.state is not StoreState.OPEN and not (clean and store.state is StoreState.CLOSING):
            return False
        try:
            tokens = dict(self._tokens.tokens_of(store.partition))
            store.right_ms = self._right_ms()
            self._settled(store.partition)  # what changes from here on is for the next one
            pending = store.begin_checkpoint(clean=clean, tokens=tokens)
            try:
                await self._disk.submit(_write, store, pending)
            except (Overloaded, InsufficientStorage) as error:
                store.put_off_checkpoint()
                log.warning("checkpoint put off", partition=store.partition, error=error.message)
                return False
            store.end_checkpoint(pending)
            self._tokens.note_durable(store.partition)
            return True
        except (OSError, AmbryError) as error:
            store.fence(f"checkpoint failed: {error}")
            return False


def _write(store: BlobStore, pending: PendingCheckpoint) -> None:
    """Write a checkpoint if there is room for it. Blocking. Raises as `BlobStore.write_checkpoint`."""
    try:
        free = store.free_bytes()
    except (OSError, MemoryError) as error:
        if not passes(error):
            raise
        raise Overloaded(f"the room on the disk cannot be asked for: {error!r}") from error
    if free < ROOM_BYTES + len(pending.frozen.entries) * ROOM_BYTES_PER_ENTRY:
        raise InsufficientStorage(f"the disk is full: {free} bytes are free")
    store.write_checkpoint(pending)
