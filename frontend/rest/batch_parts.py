"""The parts of a batch of reads: what is asked for, what is ready, and whose memory it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from ambry.errors import AmbryError, InvariantBroken
from ambry.ids import BlobId
from ambry.rest import names
from frontend.container import Container
from frontend.http.ranges import content_range
from frontend.rest.batch_forms import Form
from frontend.rest.blob import lines_of
from frontend.router.budget import MemoryBudget
from frontend.router.values import BlobHead, RangeSpec, Span


class Unit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One part that is to be answered: a blob, or one range of it. With an `error` that is the answer."""

    index: int
    text: str
    """The id as it was given, or found by a name; empty where there is none."""
    named: bool = False
    """Whether it was asked for by its name."""
    container: Container | None = None
    as_everybody: bool = False
    """As in RequestContext."""
    id: BlobId | None = None
    range_index: int | None = None
    wanted: RangeSpec | None = None
    error: AmbryError | None = None


class Part(msgspec.Struct, frozen=True, gc=False):
    """Some that are ready: so many, with their heads, as they are sent, and what gives their memory back when they were."""

    data: bytes
    count: int = 1
    release: Callable[[], None] | None = None


class PartsShare:
    """Memory of the budget that several parts hold together: it goes back when the last of them, and we, let go."""

    def __init__(self, budget: MemoryBudget, held: int) -> None:
        """`held` bytes were taken."""
        self.gone = asyncio.Event()
        self._budget = budget
        self._held = held
        self._owners = 1

    def keep(self, held: int) -> None:
        """Hold no more than so many bytes."""
        surplus, self._held = self._held - held, held
        self._budget.give_back(surplus)

    def add(self) -> None:
        """One owner more."""
        self._owners += 1

    def let_go(self) -> None:
        self._owners -= 1
        if not self._owners:
            self.gone.set()
            self._budget.give_back(self._held)


def first_lines(unit: Unit, status: int) -> str:
    """The first lines of a part's head."""
    place = "" if unit.range_index is None else f"{names.BATCH_RANGE}: {unit.range_index}\r\n"
    about = f"{names.BLOB_ID}: {unit.text}\r\n" if unit.text else ""
    if unit.named and about:
        about += f"Content-Location: /{unit.text}\r\n"
    return f"{names.BATCH_INDEX}: {unit.index}\r\n{place}{names.BATCH_STATUS}: {status}\r\n{about}"


def failed(unit: Unit, error: AmbryError, form: Form) -> Part:
    """One that says why there is no other."""
    kind = type(error).__name__
    said = {"code": kind, "detail": error.message, "status": error.status}
    lines = f"Content-Type: application/problem+json\r\n{names.ERROR_CODE}: {kind}\r\n"
    body = msgspec.json.encode(said)
    return Part(form.head(f"{first_lines(unit, error.status)}{lines}", len(body)) + body)


def lines_of_part(unit: Unit, head: BlobHead, span: Span) -> str:
    """The lines of a part's head, without the length; `span` is what it brings of the blob."""
    if unit.container is None:
        raise InvariantBroken("a part was read before it was known of which container it is")
    told = lines_of(head, unit.container)
    if unit.wanted is None:
        return first_lines(unit, 200) + told
    place = content_range(span.first, span.end, head.properties.size)
    return f"{first_lines(unit, 206)}{told}Content-Range: {place}\r\n"
