"""What names pointed to when they were last looked up on this machine: for clients that are offline, and for nobody else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from ambry.checksum import digest
from ambry.client.locked_file import listed
from ambry.client.state_file import read_text, replace_text
from ambry.errors import MALFORMED
from ambry.ids import BlobId

NAMES_MAX = 10_000
"""Names that are remembered; those that were not seen for the longest time go."""


class RememberedNames:
    """A file for each, called by the digest of the name: `{"name": ..., "id": ...}`. It changes when the name is seen."""

    def __init__(self, directory: Path, entering: Callable[[], AbstractContextManager[None]]) -> None:
        """`entering` makes the directory if it is not there, and keeps those apart who write."""
        self.directory = directory
        self._entering = entering

    def remember(self, name: str, blob: BlobId) -> None:
        """What a name points to now. Where nothing can be written it is not remembered."""
        path = self._path(name)
        with suppress(OSError):
            if self.recall(name) == blob:
                os.utime(path)
                return
            with self._entering():
                replace_text(path, json.dumps({"name": name, "id": str(blob)}) + "\n")
                self._forget()

    def recall(self, name: str) -> BlobId | None:
        """What it pointed to when it was last seen."""
        with suppress(*MALFORMED, OSError):
            found: Any = json.loads(read_text(self._path(name)))
            if found["name"] == name:
                return BlobId.parse(found["id"])
        return None

    def _path(self, name: str) -> Path:
        return self.directory / digest(name.encode("utf-8", "surrogatepass")).hex()

    def _forget(self) -> None:
        names = listed(self.directory)
        if len(names) <= NAMES_MAX:
            return
        seen: dict[Path, int] = {}
        for each in names:
            with suppress(FileNotFoundError):
                seen[self.directory / each] = (self.directory / each).lstat().st_mtime_ns
        for path in sorted(seen, key=seen.__getitem__)[: len(seen) - NAMES_MAX]:
            path.unlink(missing_ok=True)
