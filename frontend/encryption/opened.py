"""A container's key that is open: it wraps data keys in memory, and asks nobody.

    offset  size  field  meaning
    0       1     form   2: AES-256-SIV
    1             text   16 bytes of its synthetic IV, and the data key encrypted (RFC 5297, which is made for wrapping keys)

The key of that cipher is derived from the container's key by HKDF-SHA-512. What was wrapped before is a nonce of chance of 12
bytes and what AES-256-GCM makes under it, with its tag; it is opened, and no more is made: with nonces of chance one key should
wrap no more than 2 ** 32 times (NIST SP 800-38D, 8.3), and nobody counts over all frontends. Without nonces there is nothing
to count: data keys are random, and bound to what they are for.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ambry.errors import KeyMismatch
from frontend.encryption.key_rows import shown

FORM_SIV = b"\x02"
NONCE_SIZE = 12
"""Of what was wrapped before there were forms."""
_SIV_KEY_SIZE = 64
_DERIVED_FOR = b"ambry wrapping key 2"


class OpenKey:
    """One version."""

    __slots__ = ("_before", "_cipher", "until", "used", "version")

    def __init__(self, version: int, key: bytes, *, until: float) -> None:
        """`until`, on the monotonic clock: its time is over then."""
        self.version = version
        self.until = until
        self.used = False
        """Whether it was, since that was last asked."""
        self._cipher = AESSIV(HKDF(SHA512(), _SIV_KEY_SIZE, salt=None, info=_DERIVED_FOR).derive(key))
        self._before = AESGCM(key)

    def wrap(self, data_key: bytes, about: bytes) -> bytes:
        return FORM_SIV + self._cipher.encrypt(data_key, [about])

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Raises KeyMismatch."""
        if wrapped[:1] == FORM_SIV:
            try:
                return self._cipher.decrypt(wrapped[1:], [about])
            except (InvalidTag, ValueError):
                pass  # a nonce of chance may begin like that
        try:
            return self._before.decrypt(wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:], about)
        except (InvalidTag, ValueError):
            raise KeyMismatch(
                f"a data key was not wrapped by the container's key {shown(self.version)}, or not for this blob"
            ) from None
