"""What an alias must remember, as a plain model: its moves, and the way back from what it points to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class MadeMove:
    """One that was answered. `version` None: the alias was deleted."""

    version: str | None
    who: str = ""
    why: str = ""


@dataclass
class ServedVersions:
    """`way` is what would be gone back to, the newest last: a roll back takes its end off, whatever was done before."""

    moves: list[MadeMove] = field(default_factory=list)
    """The newest first."""
    way: list[str] = field(default_factory=list)

    @property
    def now(self) -> str | None:
        return self.moves[0].version if self.moves else None

    @property
    def before(self) -> str | None:
        """Where a roll back goes; None where it is refused."""
        return self.way[-2] if len(self.way) > 1 and self.now is not None else None

    def point(self, version: str, who: str = "", why: str = "") -> None:
        """Somebody says which version it is. To say the one before is to go back."""
        self.moves.insert(0, MadeMove(version, who, why))
        if self.way[-2:-1] == [version]:
            self.way.pop()
        elif self.way[-1:] != [version]:
            self.way.append(version)

    def roll_back(self, who: str = "", why: str = "") -> None:
        """Somebody says that the last one was wrong."""
        self.way.pop()
        self.moves.insert(0, MadeMove(self.way[-1], who, why))

    def delete(self) -> None:
        self.moves.insert(0, MadeMove(None))
