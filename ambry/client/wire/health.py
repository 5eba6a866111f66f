"""Asking a frontend how it is."""

from __future__ import annotations

from datetime import datetime

import msgspec

from ambry.client.model import EndpointHealth
from ambry.client.wire.json_answer import UNREADABLE
from ambry.client.wire.message import ApiRequest, Headers, moment, violation
from ambry.rest import names


class _Version(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    at_ms: int


_version = msgspec.json.Decoder(_Version).decode


def health_request() -> ApiRequest:
    return ApiRequest("GET", "/healthCheck", {}, "the health check")


def time_request() -> ApiRequest:
    """The least there is to ask: it needs no key and no data node."""
    return ApiRequest("GET", "/version", {}, "the time of the store")


def parse_store_time(headers: Headers, body: bytes) -> datetime:
    """To the millisecond. By no `Date`: a proxy on the way may have written that. Raises ProtocolViolation."""
    try:
        return moment(_version(body).at_ms)
    except UNREADABLE as cause:
        raise violation(headers, f"the answer has no time: {cause}") from cause


def endpoint_health(endpoint: str, headers: Headers) -> EndpointHealth:
    """What a frontend that answered its health check well says of itself."""
    return EndpointHealth(
        endpoint=endpoint,
        ok=True,
        datacenter=headers.get(names.DATACENTER, ""),
        frontend=headers.get(names.FRONTEND, ""),
    )
