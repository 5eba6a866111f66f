"""Secrets and where they lie: rights that others may have to their files, what systemd makes, what texts hold one."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+]*://[^\s/@:]*:[^\s/@]+@|[?&]password=[^&\s]")
_API_KEY = re.compile(r"ambry_[a-z0-9]+_[A-Za-z0-9_-]{20,}")
_DIRECTORY = "CREDENTIALS_DIRECTORY"
CREDENTIALS = Path("/run/credentials")
"""Where systemd gives each unit that runs its copies of what LoadCredential= names (systemd.exec(5))."""
STATE = (Path("/var/lib/ambry-datanode"), Path("/var/lib/ambry-frontend"))
"""Where StateDirectory= of deploy/systemd makes the directory of each unit that starts."""


def is_of_systemd(path: Path) -> bool:
    """Whether it is for systemd to make, when the unit of a process starts."""
    return not {CREDENTIALS, *STATE}.isdisjoint(path.parents)


def of_others(path: Path) -> int:
    """The bits of a mode by which others than its owner could use a file, where it lies.

    In the directory of credentials that systemd makes for a unit (LoadCredential), the bit of the group that may read is the
    mask of an access list which lets the unit's user in: systemd keeps everybody else out (systemd.exec(5), its issue 29435).
    """
    whole = stat.S_IRWXG | stat.S_IRWXO
    directory = os.environ.get(_DIRECTORY, "")
    given = CREDENTIALS in path.parents or (directory and path.parent == Path(directory))
    return whole & ~stat.S_IRGRP if given else whole


def secret_in(text: str) -> str:
    """What secret a text holds, in words; empty for none. The text itself is never told."""
    if _API_KEY.search(text):
        return "a key of the API"
    return "a password" if _PASSWORD_IN_URL.search(text) else ""
