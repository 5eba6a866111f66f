"""Asking the frontends how they are, and what was asked of them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ambry.client import wire
from ambry.client.aio.calls import AsyncCalls
from ambry.client.aio.waiting import together
from ambry.client.model import ClusterHealth, EndpointHealth, Timeout
from ambry.errors import AmbryError

if TYPE_CHECKING:
    from ambry.client.usage import UsageReport


class AsyncHealthChecks(AsyncCalls):
    """The calls that ask about the cluster itself."""

    async def health(self, *, timeout: Timeout | None = None) -> ClusterHealth:
        """Ask every endpoint how it is, once each. Never raises for an endpoint that is not well.

        >>> health = await client.health()
        >>> health.ok, len(health.endpoints)
        (True, 1)
        """
        probes = (self._probe(endpoint, timeout) for endpoint in self.endpoints)
        return ClusterHealth(endpoints=await together(probes))

    async def usage(self, *, timeout: Timeout | None = None) -> UsageReport:
        """What is stored and what was asked for, by account, container and key: as far as it concerns the key that asks.

        >>> report = await client.usage()
        >>> report.at_ms > 0
        True
        """
        return await self._ask(wire.usage.usage_request(), None, wire.usage.parse_usage, timeout)

    async def store_time(self, *, timeout: Timeout | None = None) -> datetime:
        """Now, as most of the cluster's clocks have it, to the millisecond: the time by which the store dates what it holds.

        One short request that needs no key. What is old enough to go is never said by a clock of this machine.

        >>> (await client.store_time()).tzinfo
        datetime.timezone.utc
        """
        return await self._ask(wire.health.time_request(), None, wire.health.parse_store_time, timeout)

    async def _probe(self, endpoint: str, timeout: Timeout | None) -> EndpointHealth:
        request = wire.health.health_request()
        try:
            response = await self._exchange(endpoint, request, timeout, None)
        except AmbryError as error:
            return EndpointHealth(endpoint=endpoint, ok=False, detail=error.message)
        await response.done()
        return wire.health.endpoint_health(endpoint, response.headers)
