"""A request's body that is JSON, and short."""

from __future__ import annotations

from typing import Any

import msgspec

from ambry.errors import InvalidRequest, MediaTypeUnsupported, TooLarge
from frontend.http.body import body_of
from frontend.http.exchange import Exchange
from frontend.router.budget import Need
from frontend.router.context import RouterContext

SIZE_MAX = 1 << 20
MEMBERS_MAX = 64
"""No request of ours has so many; the audit tells each of them."""
_object = msgspec.json.Decoder(dict[str, Any]).decode


async def json_object(
    exchange: Exchange, router: RouterContext, *, size_max: int = SIZE_MAX, may_be_empty: bool = False
) -> dict[str, Any]:
    """The object that the body is; one without members where the body `may_be_empty` and is.

    Raises MediaTypeUnsupported, TooLarge, InvalidRequest, and what reading it raises.
    """
    if may_be_empty and exchange.size == 0:
        return {}
    said = exchange.headers.get("content-type", "application/json").partition(";")[0].strip(" \t").lower()
    if said != "application/json":
        raise MediaTypeUnsupported(f"the body is JSON: say so with Content-Type: application/json, not {said[:80]!r}")
    raw = await whole_body(exchange, router, size_max=size_max)
    if may_be_empty and not raw:
        return {}
    try:
        found = _object(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise InvalidRequest(f"the body is no JSON object: {cause}") from cause
    if len(found) > MEMBERS_MAX:
        raise InvalidRequest(
            f"the object that is the body has {len(found)} members, and at most {MEMBERS_MAX} mean anything"
        )
    exchange.context.asked = found
    return found


async def whole_body(exchange: Exchange, router: RouterContext, *, size_max: int, what: str = "the body") -> bytes:
    """A short body, all of it; memory is taken for what it may have. Raises TooLarge, Overloaded, and what reading raises."""
    if exchange.body is not None:
        return exchange.body
    size = exchange.body_size
    if size is not None and size > size_max:
        raise TooLarge(f"{what} has at most {size_max} bytes")
    wait_s = router.config.memory_wait_ms / 1000
    room = size_max if size is None else size
    await router.budget.take(room, Need.LARGE, timeout_s=wait_s)
    body = body_of(exchange, budget=router.budget, wait_s=wait_s, digests=None)
    try:
        await exchange.continue_if_expected()
        pieces: list[bytes] = []
        left = room
        async for piece in body:
            if piece is not None:
                left -= len(piece)
                if left < 0:
                    raise TooLarge(f"{what} has at most {size_max} bytes")
                pieces.append(piece)
        return b"".join(pieces)
    finally:
        body.close()
        router.budget.give_back(room)
