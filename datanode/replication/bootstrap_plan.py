"""When a replica is copied whole, from whom, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import NamedTuple

from ambry.format.record import ALIGNMENT
from ambry.protocol.messages.segments import RecordOffer, SegmentOffer

SOURCES_MAX = 3
"""Peers that one replica is copied from at the same time: what more of them give, one network card does not take."""
PIECE_BYTES = 8 << 20
"""Of a segment in one request, but for a larger record."""
GAP_BYTES = 64 << 10
"""Bytes that nobody wants are fetched with those around them when they are no more."""
SAMPLES = 8
SAMPLE_RECORDS = 50
"""Looks into a segment that seems to be here, and records in each."""


class CopyVerdict(Enum):
    FOLLOW = "its peers are followed as ever"
    WAIT = "not all have been heard that may give more: nothing is taken in until they were, or had their time"
    COPY = "segments are copied first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A peer as the decision sees it; `gives`: connected, of a release that gives segments, and sure of what it holds."""

    name: str
    near: bool
    answered: bool
    gives: bool
    behind_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    verdict: CopyVerdict
    sources: tuple[str, ...] = ()


def behind_bytes(*, next_lsn: int, covered_lsn: int, end_lsn: int, own_end_lsn: int, followed: bool) -> int:
    """How many bytes of a peer's log may be missing here.

    That is all behind the place up to which it was followed, or copied before (`covered_lsn`). But of a log that was not
    `followed` to its end before, most may be here already, from other peers or by ourselves: as much as our own log has.
    """
    seen = max(next_lsn, covered_lsn)
    return max(0, end_lsn - (seen if followed else max(seen, own_end_lsn)))


def decide_copy(peers: Sequence[Source], *, behind_bytes_min: int, waited: bool, designated: bool) -> Decision:
    """What a replica does that hears of its peers: `waited`, they have had their time to say where they stand.

    Replicas of the own datacenter come first, those that have most first. From others only the designated one copies, and its
    siblings take it from there: so each blob crosses once.
    """
    giving = [peer for peer in peers if peer.answered and peer.gives and peer.behind_bytes >= behind_bytes_min]
    near = [peer for peer in giving if peer.near]
    chosen = near or (giving if designated else [])
    if not chosen:
        return Decision(verdict=CopyVerdict.FOLLOW)
    if not waited and not all(peer.answered for peer in peers):
        return Decision(verdict=CopyVerdict.WAIT)
    chosen = sorted(chosen, key=lambda peer: (-peer.behind_bytes, peer.name))[:SOURCES_MAX]
    return Decision(verdict=CopyVerdict.COPY, sources=tuple(peer.name for peer in chosen))


def samples(size: int) -> list[int]:
    """Offsets to look at in a segment of so many bytes whose first records are here: evenly spread over the rest."""
    step = size // (SAMPLES + 1) & ~(ALIGNMENT - 1)
    return [step * number for number in range(1, SAMPLES + 1)]


class Share(NamedTuple):
    """Of `peers` that give at the same time it is the one with this `number`, from 0."""

    number: int
    peers: int


def rotated(offers: Sequence[SegmentOffer], share: Share) -> list[SegmentOffer]:
    """All segments, beginning with the share's of as many equal parts of their bytes as there are peers.

    Logs of peers are alike in their order, so those who begin at different places meet little that another has brought; and
    each goes round, so what one peer cannot give comes from the next.
    """
    total = sum(offer.size for offer in offers)
    before = accumulate((offer.size for offer in offers), initial=0)
    begin = next((at for at, size in enumerate(before) if size * share.peers >= total * share.number), 0)
    return [*offers[begin:], *offers[:begin]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceOfSegment:
    """Bytes of a segment that are fetched at once, from `start` up to `end`, for the sake of some records."""

    start: int
    end: int
    records: Sequence[RecordOffer]

    @property
    def size(self) -> int:
        return self.end - self.start


def spans(records: Sequence[RecordOffer]) -> list[PieceOfSegment]:
    """How to fetch these records, which stand in the order of their offsets."""
    found: list[PieceOfSegment] = []
    taken: list[RecordOffer] = []
    start = end = 0
    for record in records:
        record_end = record.offset + record.size
        if taken and (record.offset - end > GAP_BYTES or record_end - start > PIECE_BYTES):
            found.append(PieceOfSegment(start=start, end=end, records=taken))
            taken = []
        if not taken:
            start = record.offset
        taken.append(record)
        end = record_end
    if taken:
        found.append(PieceOfSegment(start=start, end=end, records=taken))
    return found
