"""What the router needs of whoever keeps the keys of containers: one version of one, to wrap data keys with.

A data key is wrapped and unwrapped in memory: nothing is asked of anybody for a record whose container's key is known.
"""

from __future__ import annotations

from typing import Protocol

from ambry.errors import KeysUnavailable
from frontend.container import Container


class WrappingKey(Protocol):
    """One version of a container's key."""

    @property
    def version(self) -> int: ...

    def wrap(self, data_key: bytes, about: bytes) -> bytes:
        """The data key, encrypted and bound to `about`; alike each time."""

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Raises KeyMismatch for what this key has not wrapped, or not about this."""


class ContainerKeys(Protocol):
    """Those of all containers. `scope` is a container's (frontend/container.py)."""

    @property
    def offered(self) -> bool:
        """Whether a container can be encrypted here at all: there is somebody who keeps keys."""

    def current(self, container: Container) -> WrappingKey | None:
        """The version that new blobs are sealed with; None where it is not known now, or not fresh enough: ask."""

    async def current_soon(self, container: Container) -> WrappingKey:
        """As `current`, asked for. Raises KeysUnavailable, EncryptionKeyDeleted."""

    def find(self, scope: int, version: int) -> WrappingKey | None:
        """A version that a blob names; None where it is not known now, or not fresh enough: ask."""

    async def find_soon(self, scope: int, version: int) -> WrappingKey:
        """As `find`, and asked for where that is None. Raises KeysUnavailable, EncryptionKeyDeleted."""


class NoKeys:
    """Of a frontend where nobody keeps keys: nothing is encrypted, and what was is not read."""

    offered = False

    def current(self, container: Container) -> WrappingKey | None:
        return None

    async def current_soon(self, container: Container) -> WrappingKey:
        raise KeysUnavailable(
            f"the container {container} is encrypted, and this frontend is not told who keeps keys: see [encryption]"
        )

    def find(self, scope: int, version: int) -> WrappingKey | None:
        return None

    async def find_soon(self, scope: int, version: int) -> WrappingKey:
        raise KeysUnavailable("the blob is encrypted, and this frontend is not told who keeps keys: see [encryption]")
