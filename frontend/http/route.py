"""What an API on top of frontend/http offers: its routes as values, and the words in which it answers.

A route says all that the pipeline must know before a handler runs: which headers and query keys it understands, whether it
takes a body, whether it changes something, and how to find what its conditions are about.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from ambry.errors import AmbryError
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.http.target import Target
from frontend.request import RequestContext

Handle = Callable[[Exchange], Awaitable[web.StreamResponse]]
"""Answers, or raises AmbryError."""
Enter = Callable[[Exchange], Awaitable[None]]
"""Finds out what a request is about, and whether it may be at all. Raises AmbryError."""
Select = Callable[[Exchange], Awaitable[Selected | None]]
"""Finds what a request's conditions are about; None where there is nothing yet. Raises AmbryError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation."""

    op: str
    """In metrics and logs."""
    methods: tuple[str, ...]
    target: str
    """The path, with names in braces where it varies: `{name}` is one segment, `{name...}` all that follow, one at least."""
    handle: Handle
    needs: object
    """What whoever asks must be allowed, in the words of the API. There is no default: a route without a rule is none."""
    enter: Enter | None = None
    """Called before the request's conditions are looked at. None where there is nothing to find out."""
    changes: bool = False
    changes_if: Callable[[Target], bool] | None = None
    """Of a route that changes something, or hands out leave for it, by what its target says."""
    takes_body: bool = False
    headers: frozenset[str] = frozenset()
    """The headers that it understands beyond those of HTTP itself, in lower case."""
    header_prefixes: tuple[str, ...] = ()
    query: frozenset[str] = frozenset()
    select: Select | None = None
    """None for a method that selects nothing, such as OPTIONS: conditions mean nothing there (RFC 9110 section 13.2.1)."""
    statuses: tuple[int, ...] = (200,)
    """Of its answers that are no errors, but for 304."""
    lacks: bool = False
    """Whether there are frontends that cannot do it, as they are set up: 501."""
    required: frozenset[str] = frozenset()
    """Those of its headers and query keys that it does not do without."""
    takes: tuple[str, ...] = ("application/json",)
    """Media types of the body that it takes, if it takes one."""
    body_schema: Mapping[str, Any] | None = None
    """What such a body is, as a JSON Schema; None: anything."""
    gives: tuple[str, ...] = ("application/json",)
    """Media types of its answers; none where they have no body."""


class Dialect(Protocol):
    """One API: which routes it has, and how it speaks."""

    @property
    def routes(self) -> Sequence[Route]:
        """All that it has; where one's target holds no name in braces, that stands for itself."""

    @property
    def own_prefix(self) -> str:
        """What the names of its own headers begin with, in lower case."""

    @property
    def common(self) -> Mapping[str, str]:
        """Headers that every response carries."""

    @property
    def request_id_header(self) -> str:
        """The header in which every response names its request."""

    @property
    def answered_header(self) -> str:
        """The header in which every response tells when it is, in milliseconds since 1970."""

    @property
    def refused_headers(self) -> Mapping[str, str]:
        """Headers that ask for what it does not do, whatever the route: name -> a sentence that says so."""

    @property
    def checked_headers(self) -> Mapping[str, Callable[[str, str], object]]:
        """Headers that any call may have, also where nothing is done with them: name -> called with name and value, raises
        InvalidRequest for a malformed one."""

    @property
    def find(self) -> Callable[[str, Target], Route]:
        """The route of a method and a target.

        Raises MethodNotAllowed with what is allowed there, InvalidRequest for a target that nothing stands at.
        """

    def authenticate(self, exchange: Exchange) -> None:
        """Find out who asks, by the target and the headers, before anything else is done for a request. Raises AmbryError.

        Where the target says what the request means, it is that from then on: with that target and those headers.
        """

    def authorize(self, exchange: Exchange, route: Route) -> None:
        """Whether they may; called when the route's `enter` has found out what the request is about. Raises AmbryError."""

    def check_standing(self, context: RequestContext) -> None:
        """What RequestContext.check_standing asks, of a request that was let in."""

    def refused(self, exchange: Exchange, error: AmbryError) -> AmbryError:
        """What is told of an error that came before it was decided whether whoever asks may hear of it."""

    def problem(self, error: AmbryError, request_id: str) -> web.Response:
        """An error as this API's users expect it; without the headers that every response carries."""
