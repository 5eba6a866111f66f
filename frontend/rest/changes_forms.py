"""The forms in which changes are told: a page of JSON, lines of JSON (NDJSON), events of a stream that browsers read (SSE).

A stream tells its token behind each page: a line of the type `token`, or the id of the page's last event (HTML, section 9.2).
Lines say with the token, as a page does, that something is delayed. What reads events sees no pages: an event `delayed` says
whether something is, with each page as long as it is, and once when it is no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec

from frontend.feed.events import FeedEvent
from frontend.feed.reader import FeedPage
from frontend.http.exchange import Exchange
from frontend.http.fields import list_of
from frontend.http.inert import GUARDS
from frontend.rest.batch_forms import ManyParts

_encode = msgspec.json.encode


class ChangesPage(msgspec.Struct, rename="camel", omit_defaults=True):
    """An answer that is no stream."""

    changes: Sequence[FeedEvent]
    token: str
    """What `since` says to go on."""
    at_end: bool
    """Whether there was no more."""
    delayed: bool = False
    """Whether some changes cannot be told now, as replicas are away; they come with a later page."""
    restarted: bool = False
    """Whether some are told again, as nobody knows any more how far they were told."""


class _TokenLine(msgspec.Struct, rename="camel", omit_defaults=True):
    """What is behind the changes of a page, in lines: fields as of a page."""

    type: str
    token: str
    at_end: bool
    delayed: bool = False


class Form(Enum):
    """By its media type."""

    PAGE = "application/json"
    LINES = "application/x-ndjson"
    EVENTS = "text/event-stream"

    def begin(self) -> ManyParts:
        """The head of a stream."""
        # Proxies that gather answers would keep changes from whoever waits for them.
        headers: Mapping[str, str] = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", **GUARDS}
        return ManyParts(status=200, headers={**headers, "Content-Type": self.value})

    def encode(self, page: FeedPage, token: str, *, was_delayed: bool = False) -> bytes:
        """What is sent of a page. `was_delayed`: whether the page before it in the stream had something delayed."""
        if self is Form.PAGE:
            told = ChangesPage(page.events, token, page.at_end, bool(page.held), page.restarted)
            return _encode(told) + b"\n"
        return _lines(page, token) if self is Form.LINES else _events(page, token, was_delayed)


def form_of(exchange: Exchange) -> Form:
    """What `Accept` names; a page where it names no stream."""
    wanted = [element.partition(";")[0].strip(" \t").lower() for element in list_of(exchange.headers.get("accept", ""))]
    return next((form for form in (Form.EVENTS, Form.LINES) if form.value in wanted), Form.PAGE)


def _lines(page: FeedPage, token: str) -> bytes:
    lines: list[bytes] = [b'{"type":"restarted"}'] if page.restarted else []
    lines += map(_encode, page.events)
    lines.append(_encode(_TokenLine("token", token, page.at_end, bool(page.held))))
    return b"\n".join(lines) + b"\n"


def _events(page: FeedPage, token: str, was_delayed: bool) -> bytes:
    blocks = [b"event: restarted\ndata: {}\n"] if page.restarted else []
    blocks += [b"event: %b\ndata: %b\n" % (event.type.encode(), _encode(event)) for event in page.events]
    if page.held or was_delayed:
        blocks.append(b"event: delayed\ndata: %b\n" % _encode({"delayed": bool(page.held)}))
    # Without data nothing is dispatched, and the id counts all the same.
    last = blocks.pop() if blocks else b""
    return b"\n".join([*blocks, last + b"id: %b\n\n" % token.encode()])
