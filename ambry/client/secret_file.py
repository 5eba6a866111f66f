"""A new file that its owner alone reads, there before a secret is made that nobody could be shown again."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ambry.client.locked_parts import naming


class NewSecretFile:
    """Enter it before the secret is made; it raises OSError where the file is there, or cannot be. Without one it goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = False

    def __enter__(self) -> Self:
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._written:
            self.path.unlink(missing_ok=True)

    def write(self, text: str) -> None:
        """Durable when this returns. Raises OSError that names the file."""
        with naming(self.path), self.path.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._written = True
