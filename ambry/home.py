"""Who this process is and where its home lies, also where the system does not say it: in a container whose user is a number."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from ambry.errors import ConfigInvalid


def home_of(env: Mapping[str, str]) -> Path:
    """The user's home; `/`, as in a container, where nobody says one."""
    try:
        return Path(env.get("HOME") or "~").expanduser()
    except RuntimeError:
        return Path("/")


def user_cache(env: Mapping[str, str]) -> Path:
    """Where what we keep of the user's own, and can have again, lies if nobody says another place (XDG Base Directory)."""
    return Path(env.get("XDG_CACHE_HOME") or home_of(env) / ".cache") / "ambry"


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path that somebody said, of which `~` and `~user` are homes. Raises ConfigInvalid where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigInvalid(
            f"{os.fspath(path)!r} begins with a home that this machine does not know: write the whole path, or set HOME"
        ) from None


def login_name() -> str:
    """The name of the user that this process runs as; empty where its number has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""
