"""What peers ask for their housekeeping: what became of blobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ambry.errors import AmbryError
from ambry.ids import BlobId
from ambry.network.serving import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.upkeep import Fate, FatesReply, FatesRequest
from datanode.replicas import Replicas
from datanode.store.retention import Retention
from datanode.upkeep.fates import KnownFate, fate_of

_read_fates = messages.reader(FatesRequest)


class UpkeepHandlers:
    """Answers from the indexes of this node, without reading a blob.

    `certain_retention` says what is over for sure: nothing, while there is a doubt about the clock (datanode/upkeep/skew.py).
    """

    def __init__(self, replicas: Replicas, *, certain_retention: Callable[[], Retention]) -> None:
        self._replicas = replicas
        self._certain_retention = certain_retention

    def table(self) -> dict[int, Handler]:
        return {MessageType.FATES: self._fates}

    def _fates(self, frame: Frame, responder: Responder) -> None:
        responder.reply(self.fates(_read_fates(frame.header).ids))

    def fates(self, ids: Sequence[bytes]) -> FatesReply:
        """What became of blobs, as far as this node knows (datanode/upkeep/fates.py)."""
        # In doubt about the clock nobody is dead: a chunk rather stays too long.
        retention = self._certain_retention()
        found: list[KnownFate] = []
        for blob_id in ids:
            try:
                replica = self._replicas[BlobId(blob_id).partition]
                entry = replica.store.lookup(blob_id)
                found.append(fate_of(entry, serving=replica.store.authority, retention=retention))
            except AmbryError:
                found.append(KnownFate(Fate.UNSURE))
        return FatesReply([known.fate for known in found], [known.since_ms for known in found])
