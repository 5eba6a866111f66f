"""What peers ask to copy whole segments of this node's logs."""

from __future__ import annotations

from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.segments import SegmentBytesRequest, SegmentRecordsRequest, SegmentsRequest
from datanode.replication.bootstrap_source import BootstrapSource

RECORDS_SIZE = 100_000
"""About what an answer with a thousand records takes."""

_read_segments = messages.reader(SegmentsRequest)
_read_records = messages.reader(SegmentRecordsRequest)
_read_bytes = messages.reader(SegmentBytesRequest)


class SegmentHandlers:
    """Answers to the peers that copy from this node."""

    def __init__(self, source: BootstrapSource, *, later: Later) -> None:
        self._source = source
        self._later = later

    def table(self) -> dict[int, Handler]:
        return {
            MessageType.SEGMENTS: self._send_segments,
            MessageType.SEGMENT_RECORDS: self._send_records,
            MessageType.SEGMENT_BYTES: self._send_bytes,
        }

    def _send_segments(self, frame: Frame, responder: Responder) -> None:
        responder.reply(self._source.segments(_read_segments(frame.header)))

    def _send_records(self, frame: Frame, responder: Responder) -> None:
        request = _read_records(frame.header)

        async def answer() -> None:
            await responder.admit(RECORDS_SIZE)
            responder.reply(await self._source.records(request))

        self._later.answer(responder, answer())

    def _send_bytes(self, frame: Frame, responder: Responder) -> None:
        request = _read_bytes(frame.header)

        async def answer() -> None:
            await responder.admit(request.size)
            responder.reply(*await self._source.bytes_of(request))

        self._later.answer(responder, answer())
