"""Who keeps the master keys: a provider wraps the keys of containers, and opens what it wrapped. Several, behind one protocol.

    provider                       where the master keys are
    file, environment              with the frontend (frontend/encryption/held.py)
    command                        with whoever a command asks (frontend/encryption/command.py)
    vault                          in the transit engine of HashiCorp Vault or OpenBao (frontend/encryption/transit.py)

A master key has versions, which its provider names. What one version wrapped says so; a new version wraps what comes, and the
old ones open what there is until it was wrapped anew. Whatever is wrapped is bound to `about`, and opens with it alone.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

KEY_SIZE = 32
"""Of a container's key, bytes."""
WRAPPED_BYTES_MAX = 4_096
"""Of what a provider makes of one."""
VERSION_SIZE_MAX = 64
"""Characters of a version's name."""


class ProviderFailed(Exception):
    """A provider did not do what was asked, and the message says why, without anything secret in it.

    `away`: it did not answer, or not as one. Else it answered, and the answer is no.
    """

    def __init__(self, message: str, *, away: bool) -> None:
        super().__init__(message)
        self.away = away


class Wrapped(msgspec.Struct, frozen=True):
    """What a provider made of a key."""

    version: str
    """Of the master key."""
    text: bytes


class Provider(Protocol):
    """One of them. Nothing here blocks the event loop, and all of it may be cancelled. Raises ProviderFailed."""

    @property
    def name(self) -> str:
        """By which it stands beside what it wrapped: what one wrapped no other opens."""

    async def newest(self) -> str:
        """The version that wraps now."""

    async def wrap(self, key: bytes, about: bytes) -> Wrapped: ...

    async def unwrap(self, wrapped: Wrapped, about: bytes) -> bytes: ...


def check_version(version: object) -> str:
    """The name of a version as a provider says it. Raises ProviderFailed."""
    if not isinstance(version, str) or not 0 < len(version) <= VERSION_SIZE_MAX or not version.isprintable():
        raise ProviderFailed("it does not say which version of its master key that is", away=True)
    return version
