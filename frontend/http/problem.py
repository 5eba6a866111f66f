"""What HTTP itself wants to stand in the answer to an error, in whatever words an API puts it."""

from __future__ import annotations

from ambry.errors import AmbryError, MethodNotAllowed, RangeNotSatisfiable

RETRY_AFTER_S = 1


def headers_of(error: AmbryError) -> dict[str, str]:
    """The headers that RFC 9110 sections 10.2.1, 10.2.3, 11.6.1 and 15.5.17 ask for; never to be cached."""
    headers = {"Cache-Control": "no-store"}
    if error.status in (429, 503):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s or RETRY_AFTER_S)))
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="ambry"'
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    return headers
