"""A container's key that is open: it wraps data keys in memory, and asks nobody."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ambry.errors import KeyMismatch
from frontend.encryption.key_rows import shown

NONCE_SIZE = 12


class OpenKey:
    """One version. A wrapped data key is a nonce of chance and what AES-256-GCM makes under it, with its tag.

    With nonces of chance a key must not wrap more than 2 ** 32 times (NIST SP 800-38D, 8.3): a container with so many blobs and
    chunks is to get another one before.
    """

    __slots__ = ("_chance", "_cipher", "until", "used", "version")

    def __init__(self, version: int, key: bytes, *, until: float, chance: Callable[[int], bytes]) -> None:
        """`until`, on the monotonic clock: its time is over then."""
        self.version = version
        self.until = until
        self.used = False
        """Whether it was, since that was last asked."""
        self._cipher = AESGCM(key)
        self._chance = chance

    def wrap(self, data_key: bytes, about: bytes) -> bytes:
        nonce = self._chance(NONCE_SIZE)
        return nonce + self._cipher.encrypt(nonce, data_key, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Raises KeyMismatch."""
        try:
            return self._cipher.decrypt(wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:], about)
        except (InvalidTag, ValueError):
            raise KeyMismatch(
                f"a data key was not wrapped by the container's key {shown(self.version)}, or not for this blob"
            ) from None
