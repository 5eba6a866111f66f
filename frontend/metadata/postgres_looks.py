"""Look-ups of registers in a metadata database: those that come while others are under way share one query."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ambry.errors import AmbryError, DataCorrupt, MetadataUnavailable
from frontend.metadata.plan import RegisterKey
from frontend.metadata.store import Version

Found = Mapping[RegisterKey, Version | DataCorrupt]

Asked = tuple[Sequence[RegisterKey], asyncio.Future[Found]]

CLOSED = "the metadata database is closed"
FLIGHTS_MAX = 2
"""Queries under way; what comes meanwhile gathers for the next."""
FLIGHT_PLACES_MAX = 2_000


class PostgresLooks:
    """`fetch` finds the newest versions of some registers with one query."""

    def __init__(self, fetch: Callable[[Sequence[RegisterKey]], Awaitable[Found]]) -> None:
        self._fetch = fetch
        self._wanted: list[Asked] = []
        self._flights: set[asyncio.Task[None]] = set()
        self._closed = False

    async def newest(self, places: Sequence[RegisterKey]) -> list[Version | None]:
        """In order. What was written before this was called is seen.

        Raises DataCorrupt, MetadataUnavailable after a close, and as `fetch`.
        """
        if self._closed:
            raise MetadataUnavailable(CLOSED)
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        # Never into a query that is under way already: it may have looked before.
        self._wanted.append((places, answer))
        if len(self._flights) < FLIGHTS_MAX:
            flight = asyncio.create_task(self._fly(), name="metadata looks")
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)
        found = await answer
        versions = []
        for place in places:
            version = found.get(place)
            if isinstance(version, DataCorrupt):
                raise version
            versions.append(version)
        return versions

    async def close(self) -> None:
        """End what is under way; whoever waits is told so."""
        self._closed = True
        for flight in self._flights:
            flight.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        waiting, self._wanted = self._wanted, []
        _fail(waiting, MetadataUnavailable(CLOSED))

    async def _fly(self) -> None:
        while self._wanted:
            taken, count = 0, 0
            for places, _ in self._wanted:
                if taken and count + len(places) > FLIGHT_PLACES_MAX:
                    break
                taken += 1
                count += len(places)
            asked, self._wanted = self._wanted[:taken], self._wanted[taken:]
            # Whoever was cancelled wants nothing any more.
            some = {place: None for places, answer in asked if not answer.done() for place in places}
            try:
                found = await self._fetch(list(some))
            except asyncio.CancelledError:
                _fail(asked, MetadataUnavailable(CLOSED))
                raise
            except Exception as error:
                _fail(asked, error)
                continue
            for _, answer in asked:
                if not answer.done():
                    answer.set_result(found)


def _fail(asked: Sequence[Asked], error: Exception) -> None:
    """Tell each that still waits, with an error of its own."""
    for _, answer in asked:
        if not answer.done():
            answer.set_exception(type(error)(error.message) if isinstance(error, AmbryError) else error)
