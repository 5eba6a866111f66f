"""Asking what is stored and what was asked for."""

from __future__ import annotations

import msgspec

from ambry.client.usage import UsageReport
from ambry.client.wire.message import ApiRequest, Headers, violation

_report = msgspec.json.Decoder(UsageReport).decode


def usage_request() -> ApiRequest:
    return ApiRequest("GET", "/usage", {}, "the usage")


def parse_usage(headers: Headers, body: bytes) -> UsageReport:
    """Raises ProtocolViolation."""
    try:
        return _report(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as cause:
        raise violation(headers, f"the answer is no usage: {cause}") from cause
