"""Which rights of others a file with a secret may show."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_DIRECTORY = "CREDENTIALS_DIRECTORY"


def of_others(path: Path) -> int:
    """The bits of a mode by which others than its owner could use a file, where it lies.

    In the directory of credentials that systemd makes for a unit (LoadCredential), the bit of the group that may read is the
    mask of an access list which lets the unit's user in: systemd keeps everybody else out (systemd.exec(5), its issue 29435).
    """
    whole = stat.S_IRWXG | stat.S_IRWXO
    directory = os.environ.get(_DIRECTORY, "")
    return whole & ~stat.S_IRGRP if directory and path.parent == Path(directory) else whole
