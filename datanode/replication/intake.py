"""Getting blobs and states from peers into this node's own logs: fetched, verified, appended, synced.

Both the replicator, which follows the peers' logs, and the healer, which looks for single blobs, come through here, so a blob
is fetched once however many ask for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from ambry.blob import DatedState, join
from ambry.checksum import Buffer
from ambry.errors import AmbryError, DataCorrupt, FormatUnknown, Overloaded
from ambry.format import record as record_format
from ambry.format.record import Record, RecordKind
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.replication import FetchReply, FetchRequest
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.replicas import Replica
from datanode.replication.decide import joined_state
from datanode.store.retention import Retention

log = get_logger()

OVERLOAD_TRIES = 100
OVERLOAD_WAIT_S = 0.05


class Intake:
    """Appends what peers sent, and what is found out about blobs here.

    `certain_retention` says what is over for sure: nothing, while there is a doubt about the clock (datanode/upkeep/skew.py).
    """

    def __init__(self, *, certain_retention: Callable[[], Retention], fetch_bytes_max: int, timeout_s: float) -> None:
        self._certain_retention = certain_retention
        self._fetch_bytes_max = fetch_bytes_max
        self._timeout_s = timeout_s
        self._fetching: dict[bytes, asyncio.Future[None]] = {}

    async def merge(self, replica: Replica, blob_id: bytes, dated: DatedState) -> None:
        """Record a joined state, durable on return. Raises AmbryError."""
        await self.merge_all(replica, {blob_id: dated})

    async def merge_all(self, replica: Replica, states: Mapping[bytes, DatedState]) -> None:
        """Record the joined states of blobs, by id, all durable on return. Raises AmbryError."""
        await self.append(replica, [_update(blob_id, dated) for blob_id, dated in states.items()])

    async def fetch(self, replica: Replica, peer: Peer, wanted: Mapping[bytes, DatedState]) -> set[bytes]:
        """Get blobs from one peer, durable on return; `wanted` has their joined states. Returns the ids that could not be had.

        A blob that somebody else is fetching already is waited for. Raises AmbryError when the peer cannot be asked at all.
        """
        mine = {blob_id: state for blob_id, state in wanted.items() if blob_id not in self._fetching}
        others = [self._fetching[blob_id] for blob_id in wanted if blob_id in self._fetching]
        loop = asyncio.get_running_loop()
        for blob_id in mine:
            self._fetching[blob_id] = loop.create_future()
        try:
            failed = await self._fetch_mine(replica, peer, mine)
        finally:
            for blob_id in mine:
                self._fetching.pop(blob_id).set_result(None)
        if others:
            await asyncio.wait(others)
            for blob_id, state in wanted.items():
                # Who fetched it may have known less about its state.
                if not await self.settle(replica, blob_id, state):
                    failed.add(blob_id)
        return failed

    async def settle(self, replica: Replica, blob_id: bytes, dated: DatedState) -> bool:
        """Bring a state into a blob whose bytes need no fetching; False when they do. Raises AmbryError.

        Those of a blob that expired so long ago that peers give them up as well do not.
        """
        async with replica.lookups.hold([blob_id]) as here:
            entry = here.get(blob_id)
        joined = joined_state(entry, dated)
        state = joined.state
        # A state that came before its bytes has no expiry yet.
        expires = not state.deleted and state.expires_at_ms > 0
        gone = state.deleted or (expires and self._certain_retention().state_dead(state, joined.changed_at_ms))
        if entry is None:
            return gone and not state.deleted
        if not gone and (not entry.present or blob_id in replica.store.damaged):
            return False
        if joined != entry.dated:
            await self.merge(replica, blob_id, joined)
        return True

    async def _fetch_mine(self, replica: Replica, peer: Peer, wanted: Mapping[bytes, DatedState]) -> set[bytes]:
        failed: set[bytes] = set()
        ids = list(wanted)
        while ids:
            request = FetchRequest(replica.partition.id, ids, self._fetch_bytes_max)
            frame = await peer.request(MessageType.FETCH, request, timeout_s=self._timeout_s)
            reply = messages.decode(frame.header, FetchReply)
            done = await self._take_images(replica, peer, reply, frame.body, wanted)
            answered = done | set(reply.missing)
            failed |= set(reply.missing)
            remaining = [blob_id for blob_id in ids if blob_id not in answered]
            if len(remaining) == len(ids):
                failed.update(remaining)  # nothing usable came: do not ask for ever
                break
            ids = remaining
        return failed

    async def _take_images(
        self, replica: Replica, peer: Peer, reply: FetchReply, body: Buffer, wanted: Mapping[bytes, DatedState]
    ) -> set[bytes]:
        view = memoryview(body)
        offset = 0
        records: list[Record] = []
        changes: list[Record] = []
        for size in reply.sizes:
            record = None
            try:
                record = record_format.decode(view[offset : offset + size])
            except FormatUnknown as error:
                # Intact, and nobody's fault: it counts as not had, and is asked for until this node is upgraded.
                log.warning(
                    "record of a newer release refused",
                    peer=peer.node.name,
                    partition=replica.partition.id,
                    error=error.message,
                )
            except DataCorrupt as error:
                log.error(
                    "corrupt record from peer", peer=peer.node.name, partition=replica.partition.id, error=str(error)
                )
                peer.health.record(False)
            offset += size
            if record is not None and record.id in wanted and record.kind != RecordKind.UPDATE:
                dated = wanted[record.id]
                records.append(msgspec.structs.replace(record, state=join(record.state, dated.state)))
                if dated.changed_at_ms > record.written_at_ms:
                    # The image knows when the blob was created, and not when it was last changed.
                    changes.append(_update(record.id, dated))
        await self.append(replica, records + changes)
        datacenter = peer.node.datacenter
        metrics.REPLICATED.labels(datacenter).inc(len(records))
        metrics.REPLICATED_BYTES.labels(datacenter).inc(offset)
        return {record.id for record in records}

    async def append(self, replica: Replica, records: Sequence[Record]) -> None:
        """Append and sync, all durable on return. Waits, bounded, while the write queue is full. Raises AmbryError."""
        for _ in range(OVERLOAD_TRIES):
            records = await self._append_once(replica, records)
            if not records:
                return
            await asyncio.sleep(OVERLOAD_WAIT_S)
        raise Overloaded("the write queue of this disk stays full; replication goes on later")

    @staticmethod
    async def _append_once(replica: Replica, records: Sequence[Record]) -> list[Record]:
        """Append all with one wait for all; returns those that found the queue full. Raises the last other failure."""
        if not records:
            return []
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused: list[Record] = []
        failures: list[AmbryError] = []
        left = len(records)

        def done(record: Record, error: AmbryError | None) -> None:
            nonlocal left
            left -= 1
            if isinstance(error, Overloaded):
                refused.append(record)
            elif error is not None:
                failures.append(error)
            if not left and not future.done():
                future.set_result(None)

        for record in records:
            replica.committer.append(record, sync=True, done=partial(done, record))
        await future
        if failures:
            raise failures[-1]
        return refused


def _update(blob_id: bytes, dated: DatedState) -> Record:
    return Record(kind=RecordKind.UPDATE, id=blob_id, state=dated.state, written_at_ms=dated.changed_at_ms)
