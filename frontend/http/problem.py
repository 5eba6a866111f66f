"""Errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from ambry.errors import AmbryError, RangeNotSatisfiable

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


def problem(error: AmbryError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body that tell a user about an error."""
    code = type(error).__name__
    status = error.status
    headers = {"Content-Type": CONTENT_TYPE, "x-ambry-error-code": code, "Cache-Control": "no-store"}
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s or RETRY_AFTER_S)))
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": error.message or HTTPStatus(status).phrase,
        "request_id": request_id,
    }
    return status, headers, msgspec.json.encode(body) + b"\n"
