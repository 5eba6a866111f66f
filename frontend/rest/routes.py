"""How a request finds its route among those of all resources.

The targets of all routes make a tree, and a request walks down it segment by segment: at each step by the name that stands
there, in any case as in Ambry, else by what may vary there (`{id}`), else into the rest of a path (`{name...}`), which is
taken exactly as it was sent. Nothing is matched by pattern, and what is not in the tree does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from aiohttp import web

from ambry.errors import InvalidRequest, InvariantBroken, MethodNotAllowed
from frontend.http.exchange import Exchange
from frontend.http.route import Route
from frontend.http.target import Target
from frontend.rest.resource import EVERYWHERE
from frontend.rest.upload import check_reserved
from frontend.who import OPEN

Preflight = Callable[[Exchange, Sequence[str]], dict[str, str]]
"""What a browser that asks for a page is told beside which methods are allowed. Raises AccessDenied."""

PATH_SHOWN = 80
"""Characters of a path that a message repeats."""


class _Place:
    """What stands at one path: its routes by method, none where it only leads on."""

    __slots__ = ("below", "methods", "rest", "varies")

    def __init__(self) -> None:
        self.methods: dict[str, Route] = {}
        self.below: dict[str, _Place] = {}
        """By a segment that is a name, in lower case."""
        self.varies: _Place | None = None
        """Below any other segment."""
        self.rest: _Place | None = None
        """All that follows, whatever it is."""

    def step(self, segment: str) -> _Place:
        """The place that a segment of a route's target leads to; made where it is the first to do so."""
        if segment.endswith("...}"):
            self.rest = self.rest or _Place()
            return self.rest
        if segment.startswith("{"):
            self.varies = self.varies or _Place()
            return self.varies
        return self.below.setdefault(segment.lower(), _Place())

    def all(self) -> Iterator[_Place]:
        """This one and all below it."""
        yield self
        for place in (*self.below.values(), self.varies, self.rest):
            if place is not None:
                yield from place.all()


class RouteFinder:
    """The routes, arranged to be searched."""

    def __init__(self, routes: Iterable[Route], preflight: Preflight) -> None:
        """Raises InvariantBroken where two routes answer the same."""
        self._top = _Place()
        for route in routes:
            place = self._top
            for segment in route.target[1:].split("/"):
                place = place.step(segment)
            for method in route.methods:
                if method in place.methods:
                    raise InvariantBroken(f"two routes answer {method} {route.target}")
                place.methods[method] = route
        places = [place for place in self._top.all() if place.methods]
        everything = sorted({method for place in places for method in place.methods} | {"OPTIONS"})
        for place in places:
            target = [route.target for route in place.methods.values()][-1]
            place.methods["OPTIONS"] = _options(target, sorted((*place.methods, "OPTIONS")), preflight)
        self._everything = _Place()
        self._everything.methods["OPTIONS"] = _options("*", everything, preflight)

    def find(self, method: str, target: Target) -> Route:
        """Raises MethodNotAllowed, InvalidRequest."""
        place = self._everything if target.path == "*" else self._walk(target)
        route = place.methods.get(method)
        if route is None:
            if method == "PUT" and len(target.segments) == 1:
                check_reserved(target.segments[0])
            allowed = sorted(place.methods)
            # Whole or not at all, so that what is said of two paths differs by the paths alone.
            shown = target.path if len(target.path) <= PATH_SHOWN else "what stands there"
            raise MethodNotAllowed(f"{shown} takes {', '.join(allowed)}, and not {method[:20]}", allowed=allowed)
        return route

    def _walk(self, target: Target) -> _Place:
        """The place of a target; something stands there."""
        place, rest, before_rest = self._top, None, 0
        for depth, segment in enumerate(target.segments):
            if place.rest is not None:
                rest, before_rest = place.rest, depth
            found = place.below.get(segment.lower(), place.varies)
            if found is None:
                break
            place = found
        else:
            if place.methods:
                target.check_segments()
                return place
            if len(target.segments) == 1 and self._top.varies is not None:
                # A name that only leads on is no more than any other where it stands alone.
                return self._top.varies
        if rest is not None:
            target.check_segments(before_rest)
            return rest
        target.check_segments()
        raise InvalidRequest(f"nothing stands at {target.path[:80]!r}; {_ways_on(place)}")


def _ways_on(place: _Place) -> str:
    below = {route.target for each in place.all() if each is not place for route in each.methods.values()}
    return f"what there is: {', '.join(sorted(below))}" if below else "nothing is below"


def _options(target: str, allowed: list[str], preflight: Preflight) -> Route:
    async def handle(exchange: Exchange) -> web.Response:
        return web.Response(status=204, headers={"Allow": ", ".join(allowed), **preflight(exchange, allowed)})

    return Route(op="options", methods=("OPTIONS",), target=target, handle=handle, needs=OPEN, headers=EVERYWHERE)
