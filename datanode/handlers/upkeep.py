"""What is asked for housekeeping: what became of blobs, what containers have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from ambry.errors import AmbryError
from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.upkeep import Fate, FatesReply, FatesRequest, UsageRequest
from datanode.handlers.reading import by_replica
from datanode.replicas import Replicas
from datanode.replication.digest_reader import DigestReader
from datanode.store.retention import Retention
from datanode.upkeep.fates import KnownFate, fate_of

_read_fates = messages.reader(FatesRequest)
_read_usage = messages.reader(UsageRequest)
USAGE_SIZE = 64
"""Bytes that one container takes of an answer, about."""


class UpkeepHandlers:
    """Answers from the indexes of this node, without reading a blob.

    `certain_retention` says what is over for sure: nothing, while there is a doubt about the clock (datanode/upkeep/skew.py).
    """

    def __init__(
        self, replicas: Replicas, digests: DigestReader, *, later: Later, certain_retention: Callable[[], Retention]
    ) -> None:
        self._replicas = replicas
        self._digests = digests
        self._later = later
        self._certain_retention = certain_retention

    def table(self) -> dict[int, Handler]:
        return {MessageType.FATES: self._fates, MessageType.USAGE: self._usage}

    def _usage(self, frame: Frame, responder: Responder) -> None:
        request = _read_usage(frame.header)

        async def answer() -> None:
            await responder.admit(request.limit * USAGE_SIZE)
            responder.reply(await self._digests.answer_usage(self._replicas[request.partition], request))

        self._later.answer(responder, answer())

    def _fates(self, frame: Frame, responder: Responder) -> None:
        ids = _read_fates(frame.header).ids

        async def answer() -> None:
            responder.reply(await self.fates(ids))

        self._later.answer(responder, answer())

    async def fates(self, ids: Sequence[bytes]) -> FatesReply:
        """What became of blobs, as far as this node knows (datanode/upkeep/fates.py)."""
        # In doubt about the clock nobody is dead: a chunk rather stays too long.
        retention = self._certain_retention()
        found = dict.fromkeys(ids, KnownFate(Fate.UNSURE))
        for replica, some in by_replica(self._replicas, ids):
            with contextlib.suppress(AmbryError):
                async with replica.lookups.hold(some) as here:
                    serving = replica.store.authority
                    for blob_id in some:
                        found[blob_id] = fate_of(here.get(blob_id), serving=serving, retention=retention)
        return FatesReply([found[blob_id].fate for blob_id in ids], [found[blob_id].since_ms for blob_id in ids])
