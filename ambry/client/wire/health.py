"""Asking a frontend how it is."""

from __future__ import annotations

from ambry.client.model import EndpointHealth
from ambry.client.wire.message import ApiRequest, Headers
from ambry.rest import names


def health_request() -> ApiRequest:
    return ApiRequest("GET", "/healthCheck", {}, "the health check")


def endpoint_health(endpoint: str, headers: Headers) -> EndpointHealth:
    """What a frontend that answered its health check well says of itself."""
    return EndpointHealth(
        endpoint=endpoint,
        ok=True,
        datacenter=headers.get(names.DATACENTER, ""),
        frontend=headers.get(names.FRONTEND, ""),
    )
