"""Which segments a replica has at start: opening them, setting aside what a compaction replaced, naming what is missing.

Every LSN was once covered by a segment, and compaction keeps that so. What no segment covers any more was in a file that is
gone, or whose header cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ambry.errors import DataCorrupt, StoreMismatch
from ambry.service.logs import get_logger
from datanode.store.files import Files
from datanode.store.log import Log
from datanode.store.segment import UNFINISHED_SUFFIX, Segment, segment_name, segment_number

log = get_logger()

LOST_SEGMENT_LSNS = 1 << 32
"""LSNs skipped for a segment that is gone: more than any segment's capacity."""


@dataclass(slots=True)
class Inventory:
    """`replaced`: segments that a compaction replaced and that are still there. `beyond`: LSNs above it are gone."""

    replaced: dict[int, Segment] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)
    damaged: set[int] = field(default_factory=set)
    beyond: int | None = None


def take_inventory(files: Files, directory: Path, log_: Log, partition: int) -> Inventory:
    """Open the segments and put those that count into the log. Blocking.

    Raises OSError, FormatUnknown, StoreMismatch when a file is of another partition.
    """
    inventory = Inventory()
    for name in files.list_directory(directory):
        number = segment_number(name)
        if number is None:
            if name.endswith(UNFINISHED_SUFFIX):
                files.unlink(directory / name)  # a crash while it was written: it never counted
            continue
        try:
            segment = Segment.open(files, directory, number)
        except DataCorrupt as error:
            log.error("segment header damaged", partition=partition, segment=number, error=str(error))
            inventory.unreadable.append(number)
            continue
        if segment.header.partition != partition:
            segment.close()
            raise StoreMismatch(f"{name} in {directory} is of partition {segment.header.partition}")
        if segment.footer_damaged:
            log.error("segment footer damaged", partition=partition, segment=number)
            inventory.damaged.add(number)
        log_.adopt(segment)
    _set_replaced_aside(log_, inventory, partition)
    for number in inventory.unreadable:
        log_.skip(number, 0)
    _note_missing_end(log_, inventory)
    return inventory


def _set_replaced_aside(log_: Log, inventory: Inventory, partition: int) -> None:
    """Where files cover the same LSNs an interrupted compaction left both: only the highest generation counts."""
    winner: Segment | None = None
    for segment in log_.in_order():
        if winner is None or segment.base_lsn >= winner.header.end_lsn:
            winner = segment
            continue
        loser, winner = sorted((winner, segment), key=lambda either: (either.header.generation, either.number))
        inventory.replaced[loser.number] = log_.retire([loser.number])[0]
        log.warning("compaction was interrupted", partition=partition, kept=winner.number, left=loser.number)


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
