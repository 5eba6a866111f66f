"""Reading a request body, with a deadline for each piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import StreamReader
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from ambry.errors import InvalidRequest, RequestTimeout
from frontend.http.digests import ExpectedDigests


class ClientGone(Exception):
    """The client ended the connection before its body was whole; there is nobody to answer."""


async def read_body(
    content: StreamReader, *, stall_timeout_s: float, digests: ExpectedDigests | None = None
) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises RequestTimeout when nothing comes for too long, ClientGone, InvalidRequest."""
    while True:
        try:
            data = content.read_nowait()
            if not data and not content.at_eof():
                async with asyncio.timeout(stall_timeout_s):
                    data = await content.readany()
        except TimeoutError:
            raise RequestTimeout(f"no byte of the body came for {stall_timeout_s:g} s; nothing was stored") from None
        except (ConnectionError, ClientError) as cause:
            raise ClientGone from cause
        except (HttpProcessingError, RequestPayloadError) as cause:
            raise InvalidRequest(f"the body is malformed: {cause}") from cause
        if not data:
            return
        if digests is not None and digests.hashing:
            await digests.update(data)
        yield data
