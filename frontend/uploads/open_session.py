"""An upload session as it was read: what is gone on with, and held against what stands there when that is written."""

from __future__ import annotations

import msgspec

from frontend.uploads.row_seal import RowSeal
from frontend.uploads.rows import Session, decode_session, encode_session
from frontend.uploads.sealing import SessionSealing


class OpenSession(msgspec.Struct, frozen=True):
    """A session as it was read. `row` is what stands there: the condition of every change of it."""

    id: bytes
    session: Session
    row: bytes
    sealing: SessionSealing | None = None
    """Of a session whose blob will be encrypted; with it, `session` is open."""

    @property
    def seal(self) -> RowSeal | None:
        return None if self.sealing is None else self.sealing.rows

    def over(self, session: Session) -> bytes:
        """The row of what becomes of it."""
        return encode_session(session, self.seal)


class SessionRow(msgspec.Struct, frozen=True):
    """A session as it stands there, unread."""

    id: bytes
    row: bytes
    idle: bool
    """Whether nobody went on with it for so long that it is over, where it is open."""

    def read(self) -> OpenSession:
        """As it stands there: one that is sealed can be ended, and gone on with when it is open (Sessions.opened).

        Raises DataCorrupt, FormatUnknown.
        """
        return OpenSession(self.id, decode_session(self.row), self.row)
