"""Reading a request body: with a deadline for each piece, and with the digests that the client asked to be verified."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import StreamReader
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from ambry.errors import ChecksumMismatch, InvalidRequest, RequestTimeout
from ambry.rest import values

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]+):", re.ASCII)


class ClientGone(Exception):
    """The client ended the connection before its body was whole; there is nobody to answer."""


class ExpectedDigests:
    """The digests that a client sent along. MD5 and SHA-256 are computed only when asked for."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Raises InvalidRequest for a digest that cannot be one."""
        self._xxh: bytes | None = None
        self._hashes: list[tuple[str, Any, bytes]] = []
        xxh = headers.get("x-ambry-digest")
        if xxh is not None:
            self._xxh = values.digest(xxh)
        md5 = headers.get("Content-MD5")
        if md5 is not None:
            self._add("Content-MD5", hashlib.md5(usedforsecurity=False), md5, 16)
        sha256 = _SHA256.search(headers.get("Content-Digest", ""))
        if sha256 is not None:
            self._add("Content-Digest", hashlib.sha256(), sha256[1], 32)

    def _add(self, name: str, running: Any, text: str, size: int) -> None:
        try:
            expected = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            expected = b""
        if len(expected) != size:
            raise InvalidRequest(f"{name} must hold {size} bytes in base64")
        self._hashes.append((name, running, expected))

    @property
    def hashing(self) -> bool:
        """Whether the body's bytes must go through `update`."""
        return bool(self._hashes)

    async def update(self, data: bytes) -> None:
        """Take in body bytes; large ones are hashed in a thread."""
        for _, running, _ in self._hashes:
            if len(data) > 32 << 10:
                await asyncio.to_thread(running.update, data)
            else:
                running.update(data)

    async def verify(self, xxh: bytes) -> None:
        """Compare with what the body really was; `xxh` is its xxh3-128. Raises ChecksumMismatch."""
        if self._xxh is not None and self._xxh != xxh:
            raise ChecksumMismatch(
                f"the body's xxh3-128 is {xxh.hex()}, x-ambry-digest says {self._xxh.hex()}; nothing was stored, send it again"
            )
        for name, running, expected in self._hashes:
            if running.digest() != expected:
                raise ChecksumMismatch(f"the body does not match its {name}; nothing was stored, send it again")


async def read_body(content: StreamReader, *, stall_timeout_s: float, digests: ExpectedDigests) -> AsyncIterator[bytes]:
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
        if digests.hashing:
            await digests.update(data)
        yield data
