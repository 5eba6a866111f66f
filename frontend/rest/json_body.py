"""A request's body that is JSON, and short."""

from __future__ import annotations

from typing import Any

import msgspec

from ambry.errors import InvalidRequest, MediaTypeUnsupported, TooLarge
from frontend.http.body import body_of
from frontend.http.exchange import Exchange
from frontend.router.context import RouterContext

SIZE_MAX = 1 << 20
_object = msgspec.json.Decoder(dict[str, Any]).decode


async def json_object(exchange: Exchange, router: RouterContext, *, size_max: int = SIZE_MAX) -> dict[str, Any]:
    """The object that the body is. Raises MediaTypeUnsupported, TooLarge, InvalidRequest, and what reading it raises."""
    said = exchange.headers.get("content-type", "application/json").partition(";")[0].strip(" \t").lower()
    if said != "application/json":
        raise MediaTypeUnsupported(f"the body is JSON: say so with Content-Type: application/json, not {said[:80]!r}")
    try:
        found = _object(await _whole(exchange, router, size_max))
    except (msgspec.DecodeError, RecursionError) as cause:
        raise InvalidRequest(f"the body is no JSON object: {cause}") from cause
    return found


async def _whole(exchange: Exchange, router: RouterContext, size_max: int) -> bytes:
    if exchange.body is not None:
        return exchange.body
    size = exchange.body_size
    if size is not None and size > size_max:
        raise TooLarge(f"the body has {size} bytes, and at most {size_max} are taken here")
    reader = body_of(exchange, budget=router.budget, wait_s=router.config.memory_wait_ms / 1000, digests=None)
    try:
        await exchange.continue_if_expected()
        whole = b""
        async for piece in reader:
            whole += piece or b""
            if len(whole) > size_max:
                raise TooLarge(f"at most {size_max} bytes are taken here")
        return whole
    finally:
        reader.close()
