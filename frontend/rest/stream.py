"""The body of a request as it streams in, through its digests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from frontend.http.body import body_of
from frontend.http.digests import ExpectedDigests
from frontend.http.exchange import Exchange
from frontend.router.context import RouterContext


@asynccontextmanager
async def streamed(
    exchange: Exchange, router: RouterContext, digests: ExpectedDigests | None
) -> AsyncIterator[AsyncIterator[bytes | None]]:
    """The body as it comes, through its digests; the client is told to send it now."""
    if exchange.body is not None:
        yield _at_once(exchange.body, digests)
        return
    body = body_of(exchange, budget=router.budget, wait_s=router.config.memory_wait_ms / 1000, digests=digests)
    if "expect" in exchange.headers:
        await exchange.continue_if_expected()
    try:
        yield body
    finally:
        body.close()


async def _at_once(body: bytes, digests: ExpectedDigests | None) -> AsyncIterator[bytes | None]:
    if digests is not None:
        await digests.update(body)
    if body:
        yield body
