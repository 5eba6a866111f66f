"""Getting a blob: it is found, its head read, and its bytes begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ambry.blob import ChunkRef
from ambry.checksum import BLOCK_SIZE
from ambry.errors import AmbryError, RangeNotSatisfiable
from ambry.format.record import PAYLOAD_SIZE_MAX
from ambry.ids import BlobId, IdKind
from frontend.request import RequestContext
from frontend.router.answers import ReadOutcome
from frontend.router.budget import MemoryBudget
from frontend.router.composite import CompositeBlob, read_composite
from frontend.router.confirm import confirmed, is_strict
from frontend.router.context import RouterContext
from frontend.router.download import Download
from frontend.router.held_lists import HeldList
from frontend.router.plan import units_of_chunks
from frontend.router.quorum_read import Fetch, found, head_of
from frontend.router.reading import LEAST_BYTES
from frontend.router.values import BlobHead, RangeSpec, Span, span_of


class FirstRead:
    """Bytes of a blob of one record, from `first` on, which were read before anybody knew what is to be done with it.

    It holds the memory for it, `held` bytes of the budget of downloads, which its owner gives back.
    """

    __slots__ = ("_budget", "_outcome", "first", "held")

    def __init__(self, outcome: ReadOutcome | AmbryError, budget: MemoryBudget, held: int, first: int = 0) -> None:
        self.first = first
        self._outcome = outcome
        self._budget = budget
        self.held = held

    def take_over(self) -> ReadOutcome:
        """How it ended; what it holds is the caller's to give back from now on. Raises the error that it ended with."""
        if isinstance(self._outcome, AmbryError):
            raise self._outcome
        self.held = 0
        return self._outcome

    def give_back(self) -> None:
        """Nobody wants it; may be called twice."""
        held, self.held = self.held, 0
        if held:
            self._budget.give_back(held)


Resolved = Span | RangeNotSatisfiable
"""What a range is of a blob whose size is known."""
SpansOf = Callable[[BlobHead], Sequence[Span]]
"""Says what is read of a blob when its head is here. What it raises is what opening the blob raises."""


async def open_blob(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    *,
    wanted: RangeSpec | None,
    any_state: bool = False,
    held_list: HeldList | None = None,
) -> Download:
    """Find a blob, and begin to read it or a range of it. Raises also RangeNotSatisfiable."""

    def the_one(head: BlobHead) -> Sequence[Span]:
        return (span_of(wanted, head.properties.size),)

    return await open_spans(
        request, context, blob_id, the_one, likely=(wanted,), any_state=any_state, held_list=held_list
    )


async def open_ranges(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    ranges: Sequence[RangeSpec | None],
    *,
    held_list: HeldList | None = None,
) -> tuple[Download, list[Resolved]]:
    """Begin to read these ranges of a blob, as one download, and tell what each of them is; None is the whole blob.

    It streams those that the blob has.
    """
    resolved: list[Resolved] = []

    def those_there(head: BlobHead) -> Sequence[Span]:
        for wanted in ranges:
            try:
                resolved.append(span_of(wanted, head.properties.size))
            except RangeNotSatisfiable as error:
                resolved.append(error)
        return [each for each in resolved if isinstance(each, Span)]

    download = await open_spans(request, context, blob_id, those_there, likely=ranges, held_list=held_list)
    return download, resolved


async def open_spans(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    spans_of: SpansOf,
    *,
    likely: Sequence[RangeSpec | None],
    any_state: bool = False,
    begun: FirstRead | None = None,
    held_list: HeldList | None = None,
) -> Download:
    """Find a blob and begin to read spans of it, as one download: it reads ahead over their ends.

    Raises BlobNotFound, BlobGone, Unavailable. `likely` are the ranges that were asked for, None for the whole: the first bytes
    come with the head where the first span is the first one of them. `begun` is the first read where there was one already, of
    the whole blob; `held_list` has the list of chunks where a request opens the blob more than once.
    """
    if blob_id.kind is IdKind.COMPOSITE:
        read = partial(read_composite, request, context) if held_list is None else partial(held_list.read, request)
        whole = await read(blob_id, of=sum(map(_at_most, likely)), any_state=any_state)
        return _download_of(request, context, whole, spans_of)
    if begun is None:
        reading = _first_read(request, context, blob_id, likely[0], any_state=any_state)
        if any_state or not is_strict(request):
            begun = await reading
        else:
            begun = await confirmed(request, context, blob_id, reading, FirstRead.give_back)
    charged = begun.held
    outcome = begun.take_over()
    try:
        record = found(blob_id, outcome)
        head = head_of(blob_id, record.reply)
        spans = spans_of(head)
        span, *others = spans or (Span(0, 0),)
        beginning = record.data[: span.size] if begun.first == span.first else b""
        if len(beginning) < len(record.data):
            # A view would hold all that was read, and its memory is given back below.
            beginning = bytes(beginning)
        is_here = len(beginning) == span.size and not others
        if not is_here and context.reading.budget.scarce:
            # Its client has taken nothing yet; the rest is read again.
            beginning = bytes(beginning[:LEAST_BYTES])
        # What is streamed has some memory of its own until its end.
        held = len(beginning) if is_here else max(LEAST_BYTES, len(beginning))
        if held > charged:
            await context.reading.take(held - charged, of=sum([each.size for each in spans]))
            charged = held
    except BaseException:
        context.reading.budget.give_back(charged)
        raise
    context.reading.budget.give_back(charged - held)
    rest = (Span(span.first + len(beginning), span.end), *others)
    itself = ChunkRef(blob_id.raw, head.properties.size, head.properties.digest)
    units = units_of_chunks((itself,), rest, context.reading.stretch_bytes)
    return Download(request, context, head, spans=spans, beginning=beginning, charged=held, units=units)


def _download_of(request: RequestContext, context: RouterContext, whole: CompositeBlob, spans_of: SpansOf) -> Download:
    """Spans of a composite blob, as one download. What `whole` holds is its own from now on."""
    try:
        spans = spans_of(whole.head)
    except BaseException:
        context.reading.budget.give_back(whole.charged)
        raise
    # The list was read; the first block is fetched beside that.
    held = BLOCK_SIZE + whole.listed
    context.reading.budget.give_back(whole.charged - held)
    units = units_of_chunks(whole.composite.chunks, spans, context.reading.stretch_bytes)
    return Download(
        request, context, whole.head, spans=spans, beginning=b"", charged=held, listed=whole.listed, units=units
    )


async def _first_read(
    request: RequestContext, context: RouterContext, blob_id: BlobId, wanted: RangeSpec | None, *, any_state: bool
) -> FirstRead:
    """Wait for memory, and read as much as that holds of what is wanted."""
    unit = context.reading.first_bytes()
    ask = Span(0, unit) if wanted is None else _guess(wanted, unit)
    charged = ask.end - ask.first
    await context.reading.take(charged, of=charged)
    try:
        fetch = Fetch(request, context, blob_id, first=ask.first, end=ask.end, any_state=any_state)
        return FirstRead(await fetch.start(), context.reading.budget, charged, ask.first)
    except BaseException:
        context.reading.budget.give_back(charged)
        raise


def _at_most(wanted: RangeSpec | None) -> int:
    """How many bytes are wanted of a blob whose size is not known yet, at most."""
    if wanted is None or (wanted.first is not None and wanted.last is None):
        return PAYLOAD_SIZE_MAX
    return (wanted.last or 0) - (wanted.first or 0) + 1


def _guess(wanted: RangeSpec, unit: int) -> Span:
    """The first bytes of what is wanted of a blob whose size is not known yet, at most to the end of a unit."""
    if wanted.first is None:
        return Span(0, 0)  # a suffix needs the size first
    end = (wanted.first // unit + 1) * unit
    return Span(wanted.first, end if wanted.last is None else min(end, wanted.last + 1))
