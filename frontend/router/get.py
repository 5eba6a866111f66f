"""Getting a blob: it is found, its head read, and its bytes begun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

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
from frontend.router.plan import ReadUnit, units_of_chunks, units_of_record
from frontend.router.quorum_read import Fetch, found, head_of
from frontend.router.reading import LEAST_BYTES
from frontend.router.values import RangeSpec, Span


class FirstRead:
    """The beginning of a blob of one record, which was read before anybody knew that more is to be done with it.

    It holds the memory for it, `held` bytes of the budget of downloads, which its owner gives back.
    """

    __slots__ = ("_budget", "_outcome", "held")

    def __init__(self, outcome: ReadOutcome | AmbryError, budget: MemoryBudget, held: int) -> None:
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


async def open_blob(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    *,
    wanted: RangeSpec | None,
    any_state: bool = False,
    resolve_empty: bool = False,
    begun: FirstRead | None = None,
    held_list: HeldList | None = None,
) -> Download:
    """Find a blob and begin to read it. Raises BlobNotFound, BlobGone, RangeNotSatisfiable, Unavailable.

    `resolve_empty` answers any range of an empty blob with nothing instead of RangeNotSatisfiable. `begun` is the first read
    where there was one already, of the whole blob; `held_list` has the list of chunks where a request reads many ranges.
    """
    if blob_id.kind is IdKind.COMPOSITE:
        if held_list is None:
            whole = await read_composite(request, context, blob_id, of=_at_most(wanted), any_state=any_state)
        else:
            whole = await held_list.read(request, blob_id, of=_at_most(wanted), any_state=any_state)
        try:
            span = _resolve(wanted, whole.head.properties.size, resolve_empty)
        except BaseException:
            context.reading.budget.give_back(whole.charged)
            raise
        return _download_of(request, context, whole, (span,))
    if begun is None:
        reading = _first_read(request, context, blob_id, wanted, any_state=any_state)
        if any_state or not is_strict(request):
            begun = await reading
        else:
            begun = await confirmed(request, context, blob_id, reading, FirstRead.give_back)
    charged = begun.held
    outcome = begun.take_over()
    try:
        record = found(blob_id, outcome)
        head = head_of(blob_id, record.reply)
        span = _resolve(wanted, head.properties.size, resolve_empty)
        beginning = record.data
        size = span.end - span.first
        if len(beginning) < size and context.reading.budget.scarce:
            # Its client has taken nothing yet; the rest is read again.
            beginning = bytes(beginning[:LEAST_BYTES])
        # What is streamed has some memory of its own until its end.
        held = len(beginning) if len(beginning) == size else max(LEAST_BYTES, len(beginning))
        if held > charged:
            await context.reading.take(held - charged, of=size)
            charged = held
    except BaseException:
        context.reading.budget.give_back(charged)
        raise
    context.reading.budget.give_back(charged - held)
    rest: Iterator[ReadUnit] = iter(())
    if len(beginning) < size:
        rest = units_of_record(blob_id.raw, span.first + len(beginning), span.end, context.reading.stretch_bytes)
    return Download(request, context, head, spans=(span,), beginning=beginning, charged=held, units=rest)


async def open_ranges(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    ranges: Sequence[RangeSpec],
    held_list: HeldList,
) -> Download:
    """Begin to read these ranges of a composite blob, as one download: it reads ahead over their ends.

    Those that the blob does not have are left out; what `RangeSpec.resolve` says of each tells which. Raises BlobNotFound,
    BlobGone, Unavailable.
    """
    whole = await held_list.read(request, blob_id, of=sum(map(_at_most, ranges)))
    spans = []
    for wanted in ranges:
        with suppress(RangeNotSatisfiable):
            spans.append(wanted.resolve(whole.head.properties.size))
    return _download_of(request, context, whole, spans)


def _download_of(
    request: RequestContext, context: RouterContext, whole: CompositeBlob, spans: Sequence[Span]
) -> Download:
    """These bytes of a composite blob, as one download. What `whole` holds is its own from now on."""
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
        return FirstRead(await fetch.start(), context.reading.budget, charged)
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


def _resolve(wanted: RangeSpec | None, size: int, resolve_empty: bool) -> Span:
    if wanted is None or (resolve_empty and not size):
        return Span(0, size)
    return wanted.resolve(size)
