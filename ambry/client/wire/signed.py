"""URLs that are good for one call: what is asked for them, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from numbers import Integral
from typing import Literal
from urllib.parse import urlencode, urlsplit

import msgspec

from ambry.client.model import check_type
from ambry.client.refs import NameRef, Place, VersionRef
from ambry.client.wire import blobs
from ambry.client.wire.message import ApiRequest, Headers, violation
from ambry.durability import Durability
from ambry.errors import InvalidRequest
from ambry.rest.text import media_type

SIGNED_URL = "/signedUrl"
Verb = Literal["GET", "PUT"]


class _Signed(msgspec.Struct):
    url: str
    target: str


_signed = msgspec.json.Decoder(_Signed)


def read_request(place: Place, expires: timedelta | int) -> ApiRequest:
    """For a URL that reads a blob."""
    return _sign("GET", blobs.blob_request("GET", place), {}, expires)


def upload_request(
    place: NameRef | VersionRef | None,
    target: Mapping[str, str],
    expires: timedelta | int,
    *,
    max_size: int | None,
    content_type: str | None,
    once: bool,
    ttl: timedelta | int | None,
    metadata: Mapping[str, str] | None,
    filename: str | None,
    durability: Durability | str | None,
    if_absent: bool,
) -> ApiRequest:
    """For a URL that takes a blob; `target` are the headers that say where one without a name belongs."""
    request = blobs.upload_request(
        size=None, digest="", ttl=ttl, content_type=None, metadata=metadata, filename=filename, durability=durability
    )
    if place is not None:
        request = blobs.put_request(place, request, if_absent=if_absent, if_match=None)
    elif if_absent:
        raise InvalidRequest("if_absent is about a name; a blob without one is always new")
    else:
        request.headers.update(target)
    said: dict[str, str] = {}
    if max_size is not None:
        check_type("max_size", max_size, int, "a number of bytes")
        said["max-size"] = str(max_size)
    if content_type is not None:
        said["content-type"] = media_type("content_type", content_type)
    if once:
        said["once"] = "true"
    return _sign("PUT", request, said, expires)


def part_request(part: ApiRequest, expires: timedelta | int) -> ApiRequest:
    """For a URL that takes one part of an upload, of which this is the request."""
    return _sign("PUT", ApiRequest("PUT", part.path, {}, part.subject), {}, expires)


def parse_url(endpoints: Sequence[str], headers: Headers, body: bytes) -> str:
    """The URL at the endpoint that signed it, as this client reaches that. Raises ProtocolViolation."""
    try:
        found = _signed.decode(body)
    except msgspec.MsgspecError as cause:
        raise violation(headers, f"the answer has no signed URL ({cause})") from None
    host = urlsplit(found.url).netloc
    base = next((each for each in endpoints if urlsplit(each).netloc == host), endpoints[0])
    return base + found.target


def _sign(verb: Verb, request: ApiRequest, said: Mapping[str, str], expires: timedelta | int) -> ApiRequest:
    check_type("expires", expires, (Integral, timedelta), "whole seconds or a timedelta, of at most a week")
    seconds = int(expires.total_seconds()) if isinstance(expires, timedelta) else expires
    path, _, query = request.path.partition("?")
    if query:
        raise InvalidRequest(f"no URL is signed for {request.path}")
    asked = {"verb": verb, "path": path, "expires-in": str(seconds), **said}
    headers = {name: value for name, value in request.headers.items() if name not in ("content-type", "content-length")}
    return ApiRequest("GET", f"{SIGNED_URL}?{urlencode(asked)}", headers, f"a URL for {request.subject}")
