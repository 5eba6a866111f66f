"""What users of the client see of a container's changes: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ambry.client.state_file import replace_text
from ambry.ids import BlobId

RESTARTED = "restarted"
"""Of a change that says that what follows may have been told before: the server does not know any more how far it told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldChange:
    """One change. `type` is what it is about, a dot, and what became of it: `blob.put`, `name.delete`; or RESTARTED."""

    type: str
    time: datetime | None = None
    """When it was made, by the clock of who made it."""
    id: BlobId | None = None
    size: int | None = None
    expires: datetime | None = None
    """None for ever."""
    life_version: int = 0
    """Of a blob: how often it was undeleted."""
    name: str | None = None
    dataset: str | None = None
    version: str | None = None
    alias: str | None = None
    who: str = ""
    why: str = ""
    datacenter: int | None = None
    """Of a change of the metadata, by its id: where it was made."""
    late: bool = False
    """Whether a newer change of the same was told before; it follows again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldChanges:
    """Some changes; `token` goes on behind them. `at_end`: there was no more. `delayed`: some cannot be told now."""

    changes: tuple[ToldChange, ...]
    token: str
    at_end: bool
    delayed: bool = False


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file that says how far changes were told."""

    path: Path

    def read(self) -> str | None:
        """The token in it; None where there is no file."""
        return self.path.read_text("utf-8").strip() if self.path.exists() else None

    def write(self, token: str) -> None:
        """Replace it by one with this token, whole at every moment; durable on return. Raises OSError."""
        replace_text(self.path, token + "\n")
