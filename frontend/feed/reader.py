"""One page of a container's changes: those of its blobs, and behind them those of its metadata.

The metadata is looked at first, and then the blobs, up to where their logs end by then. Whoever named a blob did so when its
replicas had acknowledged it: so it has been told before its name, where the replica that is read has it. Where that one
lacks it yet, or nobody can be asked, its put is told by the name's own account of it. Where a partition was not
told to its end, the metadata waits for a later page.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ambry.errors import Unavailable
from ambry.ids import partition_of
from frontend.container import Container
from frontend.feed.blobs import BlobChanges, BlobPage
from frontend.feed.events import FeedEvent, blob_events, put_event
from frontend.feed.registers import RegisterChanges, RegisterPage
from frontend.feed.token import PartitionPosition, Position
from frontend.metadata.store import MetadataStore
from frontend.router.context import RouterContext

PAGE_MAX = 1_000


class FeedPage(msgspec.Struct, frozen=True):
    """What was told. `at_end`: that is all. `held`: partitions that cannot tell now, as replicas are away; they do later."""

    events: list[FeedEvent]
    position: Position
    at_end: bool
    held: frozenset[int] = frozenset()
    restarted: bool = False
    """Whether some of it is told again from the beginning, as nobody knows any more how far it was told."""


class FeedReader:
    """Reads pages, and keeps nothing of who reads them."""

    def __init__(self, store: MetadataStore, router: RouterContext) -> None:
        self._registers = RegisterChanges(store, router.map)
        self._blobs = BlobChanges(router)
        self._partitions = frozenset(router.replicas)

    async def now(self, container: Container) -> Position:
        """Where all logs end. Raises Unavailable where a partition cannot tell."""
        logs = await self._registers.now()
        raw = container_bytes(container)
        found = await self._blobs.read(raw, {}, self._partitions, limit=1, ids={}, beginning=False)
        if found.held:
            raise Unavailable(f"partitions {sorted(found.held)[:10]} cannot tell now where they are; retry")
        return Position(logs, found.positions)

    async def page(
        self, container: Container, position: Position, *, limit: int, only: Collection[int] | None = None
    ) -> FeedPage:
        """What changed after a position: about `limit` blobs and names, at least one where there is one.

        `only`: other partitions than these have nothing to tell. Raises MetadataUnavailable and the like.
        """
        scope = container.account_id << 32 | container.container_id
        registers = await self._registers.page(scope, position.logs, max(1, limit // 2))
        ids: dict[int, list[bytes]] = {}
        for change in registers.changes:
            if change.blob is not None and (number := partition_of(change.blob.id)) in self._partitions:
                ids.setdefault(number, []).append(change.blob.id)
        asked = self._partitions if only is None else (self._partitions & set(only)) | ids.keys()
        room = max(1, limit - len(registers.changes))
        blobs = await self._blobs.read(container_bytes(container), position.partitions, asked, limit=room, ids=ids)
        return self._joined(position, registers, blobs, ids.keys())

    def _joined(self, before: Position, registers: RegisterPage, blobs: BlobPage, named: Collection[int]) -> FeedPage:
        events = [event for change in blobs.changes for event in blob_events(change)]
        waits = any(number not in blobs.ended and number not in blobs.held for number in named)
        if not waits:
            told: set[bytes] = set()
            for change in registers.changes:
                blob = change.blob
                if blob is not None and blob.id in blobs.lacking and blob.id not in told:
                    told.add(blob.id)
                    events.append(put_event(blob, change.event.time_ms))
                events.append(change.event)
        partitions: dict[int, PartitionPosition] = {
            number: place for number, place in before.partitions.items() if number in self._partitions
        }
        partitions |= blobs.positions
        at_end = registers.at_end and not waits and blobs.ended >= blobs.positions.keys()
        return FeedPage(
            events,
            Position(before.logs if waits else registers.logs, partitions),
            at_end,
            held=frozenset(blobs.held),
            restarted=blobs.restarted or (registers.started_over and not waits),
        )


def container_bytes(container: Container) -> bytes:
    """As it stands in blob ids."""
    return container.account_id.to_bytes(4, "big") + container.container_id.to_bytes(4, "big")
