"""The digests that a client sent along with a body, to be verified before anything of it counts."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from ambry.errors import ChecksumMismatch, InvalidRequest

DIGEST_HEADERS = frozenset({"content-md5", "content-digest", "repr-digest"})
"""Those that are understood, in lower case. An upload is the whole of a representation: both digests of RFC 9530 are of
the same bytes."""

_SIZES = {"sha-256": 32, "sha-512": 64}
_INLINE_MAX = 32 << 10


class ExpectedDigests:
    """Digests are computed only when asked for; xxh3-128 is computed in any case, by others."""

    def __init__(self, headers: Mapping[str, str], *, xxh: bytes | None = None) -> None:
        """`headers` by name in lower case; `xxh` is the xxh3-128 that the body must have.

        Raises InvalidRequest for a digest that cannot be one, or is of a kind that is not verified here: a digest that nobody
        compares would be taken for a proof.
        """
        self._xxh = xxh
        self._hashes: list[tuple[str, Any, bytes]] = []
        if DIGEST_HEADERS.isdisjoint(headers):
            return
        md5 = headers.get("content-md5")
        if md5 is not None:
            self._add("Content-MD5", hashlib.md5(usedforsecurity=False), md5, 16)
        for name in ("content-digest", "repr-digest"):
            if name in headers:
                self._add_all(name, headers[name])

    def _add_all(self, name: str, value: str) -> None:
        """A dictionary of digests (RFC 9530 section 2, RFC 8941 section 3.2)."""
        seen: set[str] = set()
        for member in value.split(","):
            kind, _, rest = member.strip(" \t").partition("=")
            if kind not in _SIZES or kind in seen:
                raise InvalidRequest(f"{name} may hold sha-256 and sha-512 once each, as sha-256=:<base64>:")
            seen.add(kind)
            text = rest.partition(";")[0].rstrip(" \t")
            if len(text) < 2 or text[0] != ":" or text[-1] != ":":
                raise InvalidRequest(f"{name} holds digests between colons, as {kind}=:<base64>:")
            self._add(f"{name} {kind}", hashlib.new(kind.replace("-", "")), text[1:-1], _SIZES[kind])

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
            if len(data) > _INLINE_MAX:
                await asyncio.to_thread(running.update, data)
            else:
                running.update(data)

    async def verify(self, xxh: bytes) -> None:
        """Compare with what the body really was; `xxh` is its xxh3-128. Raises ChecksumMismatch."""
        if self._xxh is not None and self._xxh != xxh:
            raise ChecksumMismatch(
                f"the body's xxh3-128 is {xxh.hex()}, expected was {self._xxh.hex()}; nothing was stored, send it again"
            )
        for name, running, expected in self._hashes:
            if running.digest() != expected:
                raise ChecksumMismatch(f"the body does not match its {name}; nothing was stored, send it again")
