"""What rows about an encrypted container's blobs must not show, encrypted with AES-256-SIV (RFC 5297) under a key of their own.

The same text in the same place is encrypted alike each time: whoever repeats a step writes the same row, and is known by it. A
text is bound to its place, so that none can be moved to another one. The key stands in a row too, wrapped by a version of the
container's key.
"""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ambry.errors import DataCorrupt
from frontend.router.sealing_keys import WrappingKey

SEAL_KEY_SIZE = 64
"""In bytes."""


class WrappedBy(msgspec.Struct, frozen=True, array_like=True):
    """A key that a version of the container's key wrapped."""

    version: int
    wrapped: bytes


def new_seal_key() -> bytes:
    return AESSIV.generate_key(8 * SEAL_KEY_SIZE)


def new_row_seal(key: WrappingKey, about: bytes) -> tuple[WrappedBy, RowSeal]:
    """One for rows that are not written yet. `about` is what its key is bound to."""
    own = new_seal_key()
    return WrappedBy(key.version, key.wrap(own, about)), RowSeal(own)


def open_row_seal(key: WrappingKey, made: WrappedBy, about: bytes) -> RowSeal:
    """Raises KeyMismatch."""
    return RowSeal(key.unwrap(made.wrapped, about))


class RowSeal:
    """That of some rows."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def close(self, plain: bytes, place: bytes) -> bytes:
        """The text encrypted, 16 bytes longer."""
        return self._cipher.encrypt(plain, [place])

    def open(self, closed: bytes, place: bytes) -> bytes:
        """Raises DataCorrupt for what was not encrypted with this key, for this place."""
        try:
            return self._cipher.decrypt(closed, [place])
        except InvalidTag:
            raise DataCorrupt("a row about a blob of an encrypted container is not what was written") from None
