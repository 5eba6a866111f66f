"""What an upload session into an encrypted container is sealed with: one version of the container's key, from beginning to end.

It wraps the session's own key, which seals what rows must not show (frontend/uploads/row_seal.py), the data key of each chunk,
and that of the blob's own record. So a key that is deleted takes the whole session with it, and a session that can be completed
makes a blob that can be read.
"""

from __future__ import annotations

import msgspec

from ambry.errors import DataCorrupt, InvariantBroken
from ambry.format import sealed
from frontend.container import scope_of
from frontend.router.sealing import Sealing
from frontend.router.sealing_keys import ContainerKeys, WrappingKey
from frontend.uploads.row_seal import RowSeal, WrappedBy, new_row_seal, open_row_seal
from frontend.uploads.rows import Completion, Session


class SessionSealing(msgspec.Struct, frozen=True):
    """That of one session, open."""

    key: WrappingKey
    rows: RowSeal

    def __repr__(self) -> str:
        return f"SessionSealing(version={self.key.version})"

    def of_chunks(self) -> Sealing:
        return Sealing(self.key)

    def new_record_key(self, blob: bytes) -> WrappedBy:
        """A data key for the blob's own record, to be written down before anything is sealed with it."""
        wrapped = self.key.wrap(sealed.new_data_key(), sealed.about_key(blob))
        return WrappedBy(self.key.version, wrapped)

    def of_record(self, blob: bytes, completion: Completion) -> Sealing:
        """What makes the same record of a completion each time. Raises DataCorrupt, KeyMismatch."""
        made = completion.key
        if made is None or made.version != self.key.version:
            raise DataCorrupt("an upload to an encrypted container was completed without a data key")
        return Sealing(_Again(made), self.key.unwrap(made.wrapped, sealed.about_key(blob)))


class _Again:
    """Wraps one data key under one id as it was wrapped before."""

    def __init__(self, made: WrappedBy) -> None:
        self.version = made.version
        self._wrapped = made.wrapped

    def wrap(self, _data_key: bytes, _about: bytes) -> bytes:
        return self._wrapped

    def unwrap(self, _wrapped: bytes, _about: bytes) -> bytes:
        raise InvariantBroken("a key that is for one record to be put was to open one")


def _about(session: Session) -> bytes:
    """What the key of a session is bound to."""
    return b"ambry upload key 1" + session.blob


def with_key(session: Session, key: WrappingKey) -> tuple[Session, SessionSealing]:
    """A session that is not written yet, with a key of its own from now on."""
    made, rows = new_row_seal(key, _about(session))
    return msgspec.structs.replace(session, key=made), SessionSealing(key, rows)


async def find_sealing(keys: ContainerKeys, session: Session) -> SessionSealing | None:
    """None for a session that is not sealed. Raises KeysUnavailable, EncryptionKeyDeleted, KeyMismatch."""
    made = session.key
    if made is None:
        return None
    key = await keys.find_soon(scope_of(session.blob_id.account, session.blob_id.container), made.version)
    return SessionSealing(key, open_row_seal(key, made, _about(session)))
