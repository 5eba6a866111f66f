"""Keys of containers that are made up as they are asked for, and kept in memory: for tests of what is sealed with them."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ambry.errors import EncryptionKeyDeleted, KeyMismatch, KeysUnavailable
from frontend.container import Container
from frontend.router.sealing_keys import WrappingKey


class MemoryKey:
    def __init__(self, version: int) -> None:
        self.version = version
        self._key = AESGCM(os.urandom(32))

    def wrap(self, data_key: bytes, about: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + self._key.encrypt(nonce, data_key, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        try:
            return self._key.decrypt(wrapped[:12], wrapped[12:], about)
        except (InvalidTag, ValueError):
            raise KeyMismatch("the data key was not wrapped by this key") from None


class MemoryKeys:
    """`known` False: each must be asked for, and `away` refuses that."""

    offered = True

    def __init__(self, *, known: bool = True) -> None:
        self.known = known
        self.away = False
        self.deleted: set[int] = set()
        """Scopes."""
        self.asked = 0
        self._keys: dict[tuple[int, int], MemoryKey] = {}
        self._versions: dict[int, int] = {}

    def rotate(self, scope: int) -> None:
        self._versions[scope] = self._versions.get(scope, 1) + 1

    def replace(self, scope: int, version: int) -> None:
        """Put another key in the place of one."""
        self._keys[scope, version] = MemoryKey(version)

    def current(self, container: Container) -> WrappingKey | None:
        return self.find(container.scope, self._versions.get(container.scope, 1))

    async def current_soon(self, container: Container) -> WrappingKey:
        return await self.find_soon(container.scope, self._versions.get(container.scope, 1))

    def find(self, scope: int, version: int) -> WrappingKey | None:
        return self._key(scope, version) if self.known and scope not in self.deleted else None

    async def find_soon(self, scope: int, version: int) -> WrappingKey:
        self.asked += 1
        if scope in self.deleted:
            raise EncryptionKeyDeleted("the key of this container was deleted: its blobs are unreadable for ever")
        if self.away:
            raise KeysUnavailable("whoever keeps the keys does not answer")
        return self._key(scope, version)

    def _key(self, scope: int, version: int) -> MemoryKey:
        return self._keys.setdefault((scope, version), MemoryKey(version))
