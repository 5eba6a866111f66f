"""Which ranges of a blob are asked for as one, since what lies between them is less than another range would cost. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ambry.client.model import ByteRange
from ambry.errors import RangeNotSatisfiable


@dataclass(frozen=True, slots=True)
class Cutting:
    """Where one range is found: in the answer to span number `span`, from its byte `offset` on; `size` None is all of it."""

    span: int
    offset: int
    size: int | None


@dataclass(frozen=True, slots=True)
class Coalesced:
    """What is asked for, and where in it each range is, in the order in which they were wanted."""

    spans: Sequence[ByteRange]
    cuttings: Sequence[Cutting]


def coalesced(wanted: Sequence[ByteRange], gap: int) -> Coalesced:
    """Ranges that overlap, touch or have at most `gap` bytes between them become one.

    Those that count from the end of the blob, or go on to it, are asked for as they are.
    """
    spans: list[ByteRange] = []
    cuttings: dict[int, Cutting] = {}
    last: int | None = None
    """Of the spans, the one that others may still join."""
    for number in sorted(range(len(wanted)), key=lambda each: wanted[each].start):
        each = wanted[number]
        if each.stop is None:
            same = next((place for place, span in enumerate(spans) if span == each), None)
            if same is None:
                spans.append(each)
                same = len(spans) - 1
            cuttings[number] = Cutting(same, 0, None)
            continue
        stop = None if last is None else spans[last].stop
        if last is None or stop is None or each.start > stop + gap:
            spans.append(each)
            last = len(spans) - 1
        elif each.stop > stop:
            spans[last] = ByteRange(spans[last].start, each.stop)
        cuttings[number] = Cutting(last, each.start - spans[last].start, each.stop - each.start)
    return Coalesced(spans, [cuttings[number] for number in range(len(wanted))])


def cut_out(cutting: Cutting, data: bytes, size: int) -> bytes:
    """One range of the answer to its span; the blob has `size` bytes. Raises RangeNotSatisfiable where it begins behind it."""
    if cutting.size is None or (not cutting.offset and cutting.size >= len(data)):
        return data
    if cutting.offset >= len(data):
        error = RangeNotSatisfiable(f"a range begins behind the end of the blob, which has {size} bytes")
        error.size = size
        raise error
    return data[cutting.offset : cutting.offset + cutting.size]
