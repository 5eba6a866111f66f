"""Sealing what is put (ambry/format/sealed.py): the key of the container is asked for once in an upload.

A payload is encrypted in its place, so that it takes no more memory than before; one that may not be written to, at most some
hundred KiB, in a copy.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from ambry.blob import BlobProperties
from ambry.checksum import Buffer
from ambry.errors import Unavailable
from ambry.format import sealed
from ambry.format.properties import encode_properties
from ambry.format.sealed import SealedSection, Secrets
from frontend.container import Container
from frontend.router.context import RouterContext
from frontend.router.sealing_keys import WrappingKey

NO_DIGEST = bytes(16)
"""In the plain properties of a sealed record: what the digest is tells who has the same bytes."""


class Sealing(msgspec.Struct, frozen=True):
    """What the records of an upload are sealed with: each with a data key of its own, wrapped by this one."""

    key: WrappingKey
    data_key: bytes | None = None
    """Of one record alone, that may be put several times and alike each time; None: a new one for each."""

    def __repr__(self) -> str:
        return f"Sealing(version={self.key.version})"


class SealedParts(msgspec.Struct, frozen=True):
    """What a sealed record has beside its bytes, but for its id."""

    key: WrappingKey
    data_key: bytes
    secrets: bytes
    """Encrypted."""
    tags: bytes

    def section(self, blob_id: bytes) -> bytes:
        """Its user metadata section under this id."""
        wrapped = self.key.wrap(self.data_key, sealed.about_key(blob_id))
        return sealed.encode_section(SealedSection(self.key.version, wrapped, self.secrets))

    def __repr__(self) -> str:
        return f"SealedParts(version={self.key.version})"


class SealedContent(msgspec.Struct, frozen=True):
    """A record's content as it is stored."""

    properties: bytes
    data: Buffer
    parts: SealedParts


def seal(sealing: Sealing, kind: int, properties: BlobProperties, metadata: bytes, data: Buffer) -> SealedContent:
    """Seal what a record is made of. `data` is not the caller's any more: it may be encrypted where it stands."""
    secrets = Secrets(properties.digest, properties.filename, metadata)
    plain = encode_properties(replace(properties, digest=NO_DIGEST, filename=""))
    data_key = sealed.new_data_key() if sealing.data_key is None else sealing.data_key
    key = sealed.DataKey(data_key)
    payload = memoryview(data)
    if payload.readonly:
        payload = memoryview(bytearray(payload))
    tags = sealed.seal_payload(key, kind, payload)
    text = sealed.seal_secrets(key, kind, len(payload), plain, secrets)
    return SealedContent(plain, payload, SealedParts(sealing.key, data_key, text, tags))


def sealing_now(context: RouterContext, container: Container) -> Sealing | None:
    """What new blobs of a container are sealed with, None where they are not. Raises Unavailable where that must be asked."""
    if not container.settings.encrypted:
        _check_certain(context, container)
        return None
    key = context.keys.current(container)
    if key is None:
        raise Unavailable(f"the key of the container {container} must be asked for")
    return Sealing(key)


async def sealing_soon(context: RouterContext, container: Container) -> Sealing | None:
    """As `sealing_now`; asks. Raises KeysUnavailable, EncryptionKeyDeleted; Unavailable where nobody knows whether it is
    encrypted."""
    if not container.settings.encrypted:
        _check_certain(context, container)
        return None
    return Sealing(context.keys.current(container) or await context.keys.current_soon(container))


def _check_certain(context: RouterContext, container: Container) -> None:
    if not container.certain and context.keys.offered:
        raise Unavailable(
            f"whether the container {container} is encrypted is not known here yet; retry", retry_after_s=1
        )
