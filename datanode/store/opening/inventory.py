"""Which segments a replica has at start: opening them, taking out what a compaction replaced, naming what is missing.

A segment is deleted only where a compaction's receipt proves that it was replaced (compaction/receipt.py); what else does not
belong here is set aside. Every LSN was once covered by a segment, and compaction keeps that so: what no segment covers any
more was in a file that is gone, or whose header cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path

from ambry.errors import DataCorrupt
from ambry.service.logs import get_logger
from datanode.store.compaction.receipt import UNFINISHED_RECEIPT_SUFFIX, read_all
from datanode.store.files import Files
from datanode.store.log import Log
from datanode.store.opening import strays
from datanode.store.segment import UNFINISHED_SUFFIX, Segment, segment_name, segment_number

log = get_logger()

LOST_SEGMENT_LSNS = 1 << 32
"""LSNs skipped for a segment that is gone: more than any segment's capacity."""


@dataclass(slots=True)
class Inventory:
    """`replaced`: segments that a compaction replaced, as its receipt proves, and that are still there; `into`: by what.

    `set_aside`: names of files that do not belong to this log, or that others cover and nobody knows why. `ambiguous`: two
    segments of this log covered the same LSNs, so the index may be about the other one. `beyond`: LSNs above it are gone.
    """

    replaced: dict[int, Segment] = field(default_factory=dict)
    into: set[int] = field(default_factory=set)
    unreadable: list[int] = field(default_factory=list)
    damaged: set[int] = field(default_factory=set)
    set_aside: list[str] = field(default_factory=list)
    ambiguous: bool = False
    beyond: int | None = None

    def note_end(self, log_: Log, *, known_lsn: int) -> None:
        """Whether it ends before `known_lsn`, where an earlier opening found its end: no file or index may be left to tell."""
        if max((segment.end_lsn for segment in log_.in_order()), default=0) < known_lsn:
            self.beyond = max(self.beyond or 0, known_lsn)


def take_inventory(
    files: Files,
    directory: Path,
    log_: Log,
    partition: int,
    *,
    incarnations: Container[bytes] | None = None,
    before_doubt: Callable[[], None] = lambda: None,
) -> Inventory:
    """Open the segments and put those that count into the log. Blocking. Raises OSError, FormatUnknown.

    `incarnations` are those by which this replica ever went; None: its identity was lost, and all count. A file of another
    replica or partition, or one that others cover without a compaction's receipt, is set aside (strays.py). `before_doubt` is
    called before the latter, which the next opening does not see any more.
    """
    inventory = Inventory()
    for name in files.list_directory(directory):
        number = segment_number(name)
        if number is None:
            if name.endswith((UNFINISHED_SUFFIX, UNFINISHED_RECEIPT_SUFFIX)):
                files.unlink(directory / name)  # a crash while it was written: it never counted
            continue
        try:
            segment = Segment.open(files, directory, number)
        except DataCorrupt as error:
            log.error("segment header damaged", partition=partition, segment=number, error=str(error))
            inventory.unreadable.append(number)
            continue
        foreign = _foreign(segment, partition, incarnations)
        if foreign:
            _set_aside(files, directory, log_, inventory, segment, foreign)
            continue
        if segment.footer_damaged:
            log.error("segment footer damaged", partition=partition, segment=number)
            inventory.damaged.add(number)
        log_.adopt(segment)
    _settle_overlaps(files, directory, log_, inventory, before_doubt)
    for number in inventory.unreadable:
        log_.skip(number, 0)
    _note_missing_end(log_, inventory)
    return inventory


def _foreign(segment: Segment, partition: int, incarnations: Container[bytes] | None) -> str:
    """Why a segment is not of this log; empty where it is."""
    header = segment.header
    if header.partition != partition:
        return f"it is of partition {header.partition}"
    if incarnations is not None and header.incarnation not in incarnations:
        return f"it is of another replica, {header.incarnation.hex()}"
    return ""


def _set_aside(files: Files, directory: Path, log_: Log, inventory: Inventory, segment: Segment, why: str) -> None:
    """Move a file away, durably; nothing is deleted that nobody knows the place of."""
    segment.close()
    moved = strays.set_aside(files, directory, directory / segment_name(segment.number))
    log_.skip(segment.number, 0)
    inventory.set_aside.append(moved)
    lsns = f"{segment.base_lsn} to {segment.header.end_lsn}"
    log.error("segment set aside", partition=log_.partition, file=str(directory / moved), why=why, lsns=lsns)


def _settle_overlaps(
    files: Files, directory: Path, log_: Log, inventory: Inventory, before_doubt: Callable[[], None]
) -> None:
    """Where files cover the same LSNs the highest generation counts, then the lowest number.

    An interrupted compaction left both, if its receipt says so; else nobody knows, and what does not count is kept.
    """
    receipts = read_all(files, directory)
    inventory.into = {number for number in receipts if number in log_.segments}
    winner: Segment | None = None
    for segment in log_.in_order():
        if winner is None or segment.base_lsn >= winner.header.end_lsn:
            winner = segment
            continue
        loser, winner = sorted((winner, segment), key=lambda either: (either.header.generation, -either.number))
        log_.retire([loser.number])
        receipt = receipts.get(winner.number)
        if receipt is not None and receipt.proves(winner, loser):
            inventory.replaced[loser.number] = loser
            log.warning("compaction was interrupted", partition=log_.partition, kept=winner.number, left=loser.number)
        else:
            inventory.ambiguous = True
            before_doubt()
            why = f"{segment_name(winner.number)} covers the same LSNs, and no compaction says why"
            _set_aside(files, directory, log_, inventory, loser, why)


def _note_missing_end(log_: Log, inventory: Inventory) -> None:
    """Whether there was a segment behind the last one that can be read.

    A segment gets its footer when the next one exists, and only then is it compacted. And one with a damaged header that no
    hole explains can only be the last.
    """
    segments = log_.in_order()
    followed = bool(segments) and (segments[-1].footer is not None or segments[-1].header.generation > 0)
    if followed or len(inventory.unreadable) > len(log_.holes()):
        inventory.beyond = segments[-1].header.end_lsn if segments else 0


def name_holes(log_: Log) -> str:
    """The missing LSNs as a sentence for an operator: each range with the segments on its two sides."""
    segments = log_.in_order()
    said = []
    for start, end in log_.holes():
        before = [segment for segment in segments if segment.header.end_lsn <= start]
        after = [segment for segment in segments if segment.base_lsn >= end]
        left = f"behind {segment_name(before[-1].number)}" if before else "at the start"
        said.append(f"{start} to {end} ({left}, in front of {segment_name(after[0].number)})")
    return ", ".join(said)
