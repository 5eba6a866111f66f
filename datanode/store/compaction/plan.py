"""Giving the space of dead blobs back: which segments are worth rewriting, and what of them is kept. Pure.

A few neighbouring segments are read, every record verified, and what is still needed is written, in the same order and with the
same LSNs, into one new segment of a higher generation. The steps, and what a crash leaves at each:

    1  copy into a file under another name; sync it          a leftover that the next start removes
    2  look once more whether what was left out is dead      the same
    3  rename the file, sync the directory                   both are there: the higher generation counts (format/segment.py)
    4  point the index to the new places, checkpoint         the same
    5  delete the old files, sync the directory              the new file alone, or some old ones that the next start deletes

Steps 1, 3 and 5 block and run on a disk thread (copy.py, switch.py), 2 and 4 on the event loop. Up to step 3 a
compaction can be given up and nothing happened. What comes back to life after step 2 is a blob whose undelete was
acknowledged by other replicas: this one refuses undeletes of what it may drop. Its state is kept, and its bytes are fetched.

Invariants: a record that the index points to is copied or its blob is dead past retention. A tombstone goes only when every
peer has seen it and its own retention is over. Only segments that the last checkpoint covers whole are compacted, and nothing
goes because of a record that the last checkpoint does not cover: a power cut may still take that one. Segments with a hole
between them are never made one: only the missing LSNs tell the next opening that records are gone, maybe the only ones of
deletes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from ambry.blob import BlobState
from ambry.format.record import Record, RecordKind
from ambry.format.segment import HEADER_SIZE
from ambry.ids import ID_SIZE
from datanode.store.entry import IndexEntry, Location
from datanode.store.pieces import Pieces
from datanode.store.retention import Retention
from datanode.store.segment import Segment
from datanode.store.stored_entries import ENTRY_BYTES, PAGE_ENTRIES

UPDATE_BYTES = Record(kind=RecordKind.UPDATE, id=bytes(ID_SIZE), state=BlobState(), written_at_ms=0).size


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One segment as the planner sees it. Bytes; `live_bytes` is what a copy of it would keep at most.

    `damaged`: it holds bytes that are no record, and a copy would not. `behind_hole`: what came before it in the log is gone.
    `waiting`: tombstones in it that stay until some peer has seen them.
    """

    number: int
    used_bytes: int
    live_bytes: int
    damaged: bool = False
    behind_hole: bool = False
    waiting: int = 0


class Keep(StrEnum):
    """What a compaction keeps of a whole record, and what the index makes of that."""

    MOVE = "it, and the index follows it to its new place"
    COPY = "it"
    STATE = "a record of its state: its bytes are dead, and its tombstone is needed"
    DROP = "nothing: its bytes are dead"
    FORGET = "nothing: its tombstone has been seen by everybody"
    NOTHING = "nothing: a later record, or none, speaks for its blob"


def kept(
    kind: int,
    lsn: int,
    at: Location,
    entry: IndexEntry | None,
    *,
    written_at_ms: int,
    durable_lsn: int,
    retention: Retention,
) -> Keep:
    """What is kept of the record of `kind` and `lsn` that stands `at`, given what the index says of its blob. Pure.

    Records from `durable_lsn` on may not outlast a power cut: where the latest change of a blob is one of them, all is kept.
    """
    if entry is None:
        return Keep.NOTHING
    here = entry.segment == at.segment and entry.offset == at.offset
    if entry.lsn >= durable_lsn:
        return Keep.MOVE if here else Keep.COPY
    if kind == RecordKind.UPDATE and entry.lsn != lsn:
        # A put that came under a tombstone carries it, but not when the blob was deleted: its retention would count from its
        # creation once the index is rebuilt.
        tells_when = entry.state.deleted and entry.present and entry.changed_at_ms == written_at_ms
        return Keep.COPY if tells_when and not retention.bytes_dead(entry) else Keep.NOTHING
    if kind == RecordKind.UPDATE:
        return Keep.FORGET if may_forget(entry, retention) else Keep.COPY
    if not here:
        return Keep.NOTHING  # a repaired copy stands elsewhere
    if not retention.bytes_dead(entry):
        return Keep.MOVE
    # A put that came under a tombstone carries it: that much of it stays.
    return Keep.STATE if entry.lsn == lsn and entry.state.deleted else Keep.DROP


def kept_of_lost(entry: IndexEntry, retention: Retention) -> Keep:
    """The same of the latest change of a blob whose record cannot be read any more: the index alone knows its state. Pure."""
    if may_forget(entry, retention):
        return Keep.FORGET
    return Keep.STATE if entry.state.deleted or not retention.bytes_dead(entry) else Keep.NOTHING


def may_forget(entry: IndexEntry, retention: Retention) -> bool:
    """Only when its bytes went before: a put record still in the log would come back without its tombstone."""
    return not entry.present and retention.bytes_dead(entry) and retention.entry_dead(entry)


def plan(
    usages: Sequence[Usage],
    *,
    free_bytes: int,
    output_bytes_max: int,
    dead_share_min: float,
    pinned: Container[int] = (),
) -> list[int]:
    """The neighbouring segments to rewrite into one, by number; empty when none is worth it or there is no room.

    `usages` are in LSN order; those `pinned` stay as they are, and no run crosses a hole. Benefit is what comes back, cost is
    what must be copied; the run with the best ratio wins among those whose live bytes fit one segment and whose dead share is
    at least `dead_share_min`. A damaged one goes first, alone.
    """
    for usage in usages:
        if usage.damaged and usage.live_bytes <= free_bytes and usage.number not in pinned:
            return [usage.number]
    best: list[int] = []
    best_score = 0.0
    for start in range(len(usages)):
        live = used = 0
        for end in range(start, len(usages)):
            if usages[end].number in pinned or (end > start and usages[end].behind_hole):
                break
            live += usages[end].live_bytes
            used += usages[end].used_bytes
            if live > output_bytes_max:
                break
            dead = used - live
            if used <= 0 or dead / used < dead_share_min or live > free_bytes:
                continue
            score = dead / (live + HEADER_SIZE) * min(1.0, dead / output_bytes_max + 0.5)
            if score > best_score:
                best, best_score = [usage.number for usage in usages[start : end + 1]], score
    return best


def replaced(usages: Sequence[Usage], numbers: Sequence[int], output: Segment) -> list[Usage]:
    """The usages after a compaction: its output, all of it needed, in the place of its inputs, which are neighbours."""
    at = next(place for place, usage in enumerate(usages) if usage.number == numbers[0])
    used = output.end - HEADER_SIZE
    new = Usage(number=output.number, used_bytes=used, live_bytes=used, behind_hole=usages[at].behind_hole)
    return [*usages[:at], new, *usages[at + len(numbers) :]]


def usages(
    segments: Iterable[Segment],
    entries: Iterable[IndexEntry],
    retention: Retention,
    damaged: Container[int] = (),
    *,
    uncounted: Mapping[int, int] = MappingProxyType({}),
) -> Pieces[list[Usage]]:
    """How much of each segment is needed. `segments` in LSN order. It goes through all entries, in pieces.

    The index does not say whether a blob's latest change is an update record of its own, but where that would stand: it is
    counted there unless it is known to be none. Counting too much puts a compaction off; counting too little would repeat one
    that gives nothing back for ever. So `uncounted` says, by segment, how many bytes a compaction kept that no entry tells of.
    """
    segments = list(segments)
    bases = [segment.base_lsn for segment in segments]
    before = [0, *(segment.header.end_lsn for segment in segments)]
    live: dict[int, int] = {}
    waiting: dict[int, int] = {}
    for number, entry in enumerate(entries, start=1):
        if number % PAGE_ENTRIES == 0:
            yield PAGE_ENTRIES * ENTRY_BYTES
        dead = retention.bytes_dead(entry)
        if entry.present and not dead:
            live[entry.segment] = live.get(entry.segment, 0) + entry.size
        if dead and not entry.present and retention.entry_dead(entry):
            continue
        position = bisect_right(bases, entry.lsn) - 1
        if position >= 0 and entry.lsn < segments[position].header.end_lsn:
            changed_in = segments[position]
            if dead and retention.waits(entry):
                waiting[changed_in.number] = waiting.get(changed_in.number, 0) + 1
            put_in_place = changed_in.number == entry.segment and entry.lsn == changed_in.base_lsn + entry.offset
            if dead or changed_in.header.generation or not put_in_place:
                live[changed_in.number] = live.get(changed_in.number, 0) + UPDATE_BYTES
    return [
        Usage(
            number=segment.number,
            used_bytes=segment.end - HEADER_SIZE,
            live_bytes=min(live.get(segment.number, 0) + uncounted.get(segment.number, 0), segment.end - HEADER_SIZE),
            damaged=segment.number in damaged,
            behind_hole=segment.base_lsn > end_lsn_before,
            waiting=waiting.get(segment.number, 0),
        )
        for segment, end_lsn_before in zip(segments, before, strict=False)
    ]
