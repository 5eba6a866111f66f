"""The master key of a local cluster, so that containers can be encrypted: master.keys, which its owner alone reads.

A file of lines as frontend/encryption/held.py reads it; a version that is added to it wraps what comes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ambry.clock import system_secret
from deploy.whole_file import write_once

KEY_SIZE = 32


class LocalMasterKey:
    """That of the cluster in one directory. Where it is lost, so is everything that was encrypted."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "master.keys"

    def prepare(self) -> None:
        """Make it, unless it is there. Raises OSError."""
        write_once(self.file, f"1 {system_secret(KEY_SIZE).hex()}")

    def sections(self) -> dict[str, Sequence[str]]:
        """What a frontend is told of it."""
        return {"encryption": ['provider = "file"', f"path = {json.dumps(str(self.file))}"]}
