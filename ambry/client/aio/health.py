"""Asking the frontends how they are."""

from __future__ import annotations

from ambry.client.aio.calls import AsyncCalls
from ambry.client.aio.waiting import together
from ambry.client.model import ClusterHealth, EndpointHealth, Timeout
from ambry.client.wire import health as wire
from ambry.errors import AmbryError


class AsyncHealthChecks(AsyncCalls):
    """The calls that ask about the cluster itself."""

    async def health(self, *, timeout: Timeout | None = None) -> ClusterHealth:
        """Ask every endpoint how it is, once each. Never raises for an endpoint that is not well."""
        probes = (self._probe(endpoint, timeout) for endpoint in self.endpoints)
        return ClusterHealth(endpoints=await together(probes))

    async def _probe(self, endpoint: str, timeout: Timeout | None) -> EndpointHealth:
        request = wire.health_request()
        try:
            response = await self._exchange(endpoint, request, timeout or self._timeout, None)
        except AmbryError as error:
            return EndpointHealth(endpoint=endpoint, ok=False, detail=error.message)
        await response.done()
        return wire.endpoint_health(endpoint, response.headers)
