"""Requests whose body is JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ambry.client.wire.message import ApiRequest
from ambry.errors import InvalidRequest


def json_request(
    method: str, path: str, value: object, subject: str, headers: Mapping[str, str] | None = None
) -> tuple[ApiRequest, bytes]:
    """A request and its body. Raises InvalidRequest for what no JSON holds: bytes that are no text, objects."""
    try:
        body = msgspec.json.encode(value)
    except UnicodeEncodeError as cause:
        raise InvalidRequest(f"what is said of {subject} has text that UTF-8 cannot hold: {cause.object!r}") from cause
    except TypeError as cause:
        raise InvalidRequest(f"what is said of {subject} cannot be sent: {cause}") from cause
    said = {**(headers or {}), "content-type": "application/json", "content-length": str(len(body))}
    return ApiRequest(method, path, said, subject), body
