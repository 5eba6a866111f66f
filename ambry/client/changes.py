"""What users of the client see of a container's changes: frozen values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ambry.client.state_file import TEXT_BYTES_MAX, check_writable, remove_left_texts, replace_text
from ambry.errors import InvalidRequest
from ambry.ids import BlobId

ANOTHER_STATE = "name another one (--state), or remove it and say where to begin (--since)"
"""What to do about a state that nobody can go on with."""

SAY_ANOTHER = "say beginning, now, or a whole token that was told"
"""What to do about a first token that the store does not take."""

SINCE_WORDS = ("beginning", "now")
"""What says where to begin, and is no token."""

TOKEN_SIZE_MAX = 16_000
"""Characters: a frontend tells no longer one, and its header would take none."""

RESTARTED = "restarted"
"""Of a change that says that what follows may have been told before: the server does not know any more how far it told."""

NOT_ALL = "some changes cannot be told now, since no replica of theirs answers"
"""Of the end of a feed that is none."""


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
        """The token in it; None where there is no file. What processes that were killed left beside it goes.

        Raises OSError, also where `write` could not, so before the first change is told, and InvalidRequest where it holds no
        token.
        """
        check_writable(self.path)
        remove_left_texts(self.path)
        try:
            with self.path.open("rb") as file:
                text = file.read(TEXT_BYTES_MAX + 1)
            words = text.decode().split() if len(text) <= TEXT_BYTES_MAX else []
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            words = []
        if len(words) != 1 or len(words[0]) > TOKEN_SIZE_MAX:
            raise InvalidRequest(f"the state {self.path} is no token of changes alone; {ANOTHER_STATE}")
        return words[0]

    def write(self, token: str) -> None:
        """Replace it by one with this token, whole at every moment; durable on return. Raises OSError."""
        replace_text(self.path, token + "\n")


def naming_state(said: object) -> AbstractContextManager[None]:
    """What a store refuses about a token that a state had names that, and what to do."""
    return _naming(f"the token of the state {said}", ANOTHER_STATE)


def naming_since() -> AbstractContextManager[None]:
    """As `naming_state`, of a token that a user gave."""
    return _naming("the token of --since", SAY_ANOTHER)


@contextmanager
def _naming(token: str, instead: str) -> Iterator[None]:
    try:
        yield
    except InvalidRequest as error:
        if error.status == InvalidRequest.status:  # Else it is about the cluster.
            error.message = f"{token} is refused ({error.message}); {instead}"
        raise


def change_fields(change: ToldChange) -> dict[str, object]:
    """What a change says, as JSON has it: a line of `ambry changes --output json`, and a message on Kafka.

    What it does not say is left out: no null, no empty text, no false.
    """
    fields: dict[str, object] = {
        "type": change.type,
        "time": None if change.time is None else change.time.isoformat(),
        "id": None if change.id is None else str(change.id),
        "size": change.size,
        "expires": None if change.expires is None else change.expires.isoformat(),
        "life_version": change.life_version or None,
        "name": change.name,
        "dataset": change.dataset,
        "version": change.version,
        "alias": change.alias,
        "who": change.who or None,
        "why": change.why or None,
        "datacenter": change.datacenter,
        "late": change.late or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
