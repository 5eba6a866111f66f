"""What peers ask to follow this node: what changed, whole records, and how what they hold compares."""

from __future__ import annotations

from ambry.checksum import Buffer
from ambry.errors import AmbryError, Overloaded
from ambry.network.identity import check_sender
from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.replication import (
    ChangesRequest,
    DigestsRequest,
    EntriesRequest,
    FetchReply,
    FetchRequest,
)
from datanode.handlers.reading import Reading
from datanode.replicas import Replica, Replicas
from datanode.replication.digest_reader import DigestReader
from datanode.replication.feed import CHANGE_SIZE, ChangeFeed
from datanode.store.entry import IndexEntry

FETCH_BYTES_MAX = 32 << 20

_read_changes = messages.reader(ChangesRequest)
_read_fetch = messages.reader(FetchRequest)
_read_digests = messages.reader(DigestsRequest)
_read_entries = messages.reader(EntriesRequest)


class ReplicationHandlers:
    """Answers to the peers that replicate from this node."""

    def __init__(
        self, replicas: Replicas, *, feed: ChangeFeed, reading: Reading, digests: DigestReader, later: Later
    ) -> None:
        self._replicas = replicas
        self._feed = feed
        self._reading = reading
        self._digests = digests
        self._later = later

    def table(self) -> dict[int, Handler]:
        return {
            MessageType.CHANGES: self._changes,
            MessageType.FETCH: self._fetch,
            MessageType.DIGESTS: self._send_digests,
            MessageType.ENTRIES: self._send_entries,
        }

    def _changes(self, frame: Frame, responder: Responder) -> None:
        request = _read_changes(frame.header)
        check_sender(responder.shown, request.name)

        async def answer() -> None:
            responder.reply(await self._feed.changes(request, responder.admit))

        self._later.answer(responder, answer())

    def _send_digests(self, frame: Frame, responder: Responder) -> None:
        request = _read_digests(frame.header)

        async def answer() -> None:
            responder.reply(await self._digests.answer_digests(self._replicas[request.partition], request))

        self._later.answer(responder, answer())

    def _send_entries(self, frame: Frame, responder: Responder) -> None:
        request = _read_entries(frame.header)

        async def answer() -> None:
            await responder.admit(request.limit * CHANGE_SIZE)
            responder.reply(await self._digests.answer_entries(self._replicas[request.partition], request))

        self._later.answer(responder, answer())

    def _fetch(self, frame: Frame, responder: Responder) -> None:
        request = _read_fetch(frame.header)
        self._later.answer(responder, self._send_records(self._replicas[request.partition], request, responder))

    async def _send_records(self, replica: Replica, request: FetchRequest, responder: Responder) -> None:
        sizes: list[int] = []
        missing: set[bytes] = set()
        images: list[Buffer] = []
        entries: list[IndexEntry] = []
        room = min(request.bytes_max, FETCH_BYTES_MAX)
        async with replica.lookups.hold(request.ids) as here:
            for blob_id in request.ids:
                entry = here.get(blob_id)
                if entry is None or not entry.present or blob_id in replica.store.damaged:
                    missing.add(blob_id)
                    continue
                if entries and entry.size > room:
                    break
                entries.append(entry)
                room -= entry.size
        # The images, and the body that they are joined into.
        await responder.admit((2 if len(entries) > 1 else 1) * sum(entry.size for entry in entries))
        for entry in entries:
            try:
                images.append(await self._reading.image(replica, entry))
            except Overloaded:
                raise  # it is here: a peer that is told otherwise looks for it elsewhere
            except AmbryError:
                missing.add(entry.id)
                continue
            sizes.append(entry.size)
        body = images[0] if len(images) == 1 else b"".join(images)
        responder.reply(FetchReply(sizes, [blob_id for blob_id in request.ids if blob_id in missing]), body)
