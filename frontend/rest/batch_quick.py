"""The parts of a batch that few questions answer: each data node is asked at once for all that it may have.

What it tells becomes pieces of the answer right away, of many parts each, so that nothing is done for each of them that may be
done for all. Whatever it does not tell is read for itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Protocol

from ambry.checksum import BLOCK_SIZE, Buffer
from ambry.errors import AmbryError, must_have
from ambry.ids import IdKind
from ambry.network.pool import Peer
from ambry.protocol.messages.blobs import WantedBytes
from frontend.request import RequestContext
from frontend.rest.batch_forms import Form
from frontend.rest.batch_parts import Part, PartsShare, Unit, lines_of_part
from frontend.router.batch_reads import ASKED_MAX, ROOM_BYTES, ToldBytes, by_peer, read_from
from frontend.router.context import RouterContext
from frontend.router.quorum_read import head_of
from frontend.router.values import span_of

SMALL_PART_BYTES = BLOCK_SIZE
PIECE_BYTES = 128 << 10
"""Parts that are told together leave in pieces of about so much, each made in a turn of the event loop: some hundred us."""


class Sink(Protocol):
    """Where parts go."""

    def put(self, part: Part) -> None: ...
    def put_alone(self, unit: Unit) -> None: ...
    def put_large(self, unit: Unit) -> None: ...
    def fail(self, unit: Unit, error: AmbryError) -> None: ...


class QuickReads:
    """Those of one batch."""

    def __init__(self, request: RequestContext, router: RouterContext, form: Form, sink: Sink, *, bodies: bool) -> None:
        self._request = request
        self._router = router
        self._form = form
        self._sink = sink
        self._bodies = bodies

    def begin(self, units: Sequence[Unit]) -> list[Coroutine[Any, Any, None]]:
        """The work that asks data nodes for many at once; what is not asked so is put to be read alone."""
        quick: list[Unit] = []
        for unit in units:
            if self._is_quick(unit):
                quick.append(unit)
            else:
                self._sink.put_alone(unit)
        shares = by_peer(self._router, [unit.id for unit in quick if unit.id is not None])
        if sum(len(share.numbers) for share in shares) < len(quick):
            asked = {number for share in shares for number in share.numbers}
            self._put_alone(unit for number, unit in enumerate(quick) if number not in asked)
        return [self._read_from(share.peer, deque([quick[number] for number in share.numbers])) for share in shares]

    def _is_quick(self, unit: Unit) -> bool:
        """Whether one question is enough."""
        container = unit.container
        if unit.id is None or container is None or container.settings.strict_reads:
            return False
        if not self._bodies:
            return True
        if unit.id.kind is not IdKind.SIMPLE:
            return False
        wanted = unit.wanted
        if wanted is None:
            return True
        return wanted.first is not None and wanted.last is not None and wanted.last - wanted.first < SMALL_PART_BYTES

    def _asked(self, unit: Unit) -> WantedBytes:
        raw = must_have(unit.id, "the id of a blob that one question brings").raw
        wanted = unit.wanted
        if not self._bodies:
            return WantedBytes(raw, 0, 0)
        if wanted is None or wanted.first is None or wanted.last is None:
            return WantedBytes(raw, 0, SMALL_PART_BYTES)
        return WantedBytes(raw, wanted.first, wanted.last + 1)

    async def _read_from(self, peer: Peer, left: deque[Unit]) -> None:
        """Ask one data node for its share, as much at a time as it may hold, until it has told what it would."""
        reading = self._router.reading
        while left:
            units = [left.popleft() for _ in range(min(ASKED_MAX, len(left)))]
            asked = [self._asked(unit) for unit in units]
            room = min(ROOM_BYTES, sum([each.end - each.first for each in asked]))
            try:
                await reading.take(room, of=room)
            except AmbryError:
                left.extend(units)
                break
            share = PartsShare(reading.budget, room)
            try:
                told = await read_from(self._request, self._router.keys, peer, asked, room=room)
                share.keep(sum([len(each.data) for each in told if each is not None]))
                missed = await self._tell(units, told, share)
                del told  # the pieces are what is held now
            finally:
                share.let_go()
            if len(missed) == len(units) or not self._bodies:
                self._put_alone(missed)
            else:
                left.extendleft(reversed(missed))  # it may have run out of room
            # What is not sent yet is all that this one may hold.
            await share.gone.wait()
        self._put_alone(left)

    def _put_alone(self, some: Iterable[Unit]) -> None:
        for unit in some:
            self._sink.put_alone(unit)

    async def _tell(self, units: Sequence[Unit], told: Sequence[ToldBytes | None], share: PartsShare) -> list[Unit]:
        """Put what was told; those of which nothing was."""
        form, bodies = self._form, self._bodies
        missed: list[Unit] = []
        pieces: list[Buffer] = []
        count = held = 0
        for unit, each in zip(units, told, strict=True):
            if each is None or unit.id is None:
                missed.append(unit)
                continue
            try:
                head = head_of(unit.id, each.reply)
            except AmbryError:
                missed.append(unit)  # another replica may know better
                continue
            data = each.data
            size = len(data)
            if bodies and unit.wanted is None and size < head.properties.size:
                self._sink.put_large(unit)
                continue
            try:
                begin = form.head(lines_of_part(unit, head, span_of(unit.wanted, head.properties.size)), size)
            except AmbryError as error:
                self._sink.fail(unit, error)
                continue
            pieces += (begin, data)
            count += 1
            held += len(begin) + size
            if held >= PIECE_BYTES:
                self._put(pieces, count, share)
                pieces, count, held = [], 0, 0
                await asyncio.sleep(0)
        if count:
            self._put(pieces, count, share)
        return missed

    def _put(self, pieces: Sequence[Buffer], count: int, share: PartsShare) -> None:
        share.add()
        self._sink.put(Part(b"".join(pieces), count, share.let_go))
