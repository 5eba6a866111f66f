"""What rows of an upload session must not show, encrypted with AES-256-SIV (RFC 5297) under a key of the session's own.

The same text in the same place is encrypted alike each time: whoever repeats a step of a session writes the same row, and is
known by it. A text is bound to its place, so that none can be moved to another one.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ambry.errors import DataCorrupt

SEAL_KEY_SIZE = 64
"""Bytes of a session's key."""


def new_seal_key() -> bytes:
    return AESSIV.generate_key(8 * SEAL_KEY_SIZE)


class RowSeal:
    """That of one session."""

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
            raise DataCorrupt("a row of an upload to an encrypted container is not what was written") from None
