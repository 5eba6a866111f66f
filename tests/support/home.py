"""The configuration directory of the user, for tests: never the real one."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_CLIENT = (
    *("KEY", "KEY_FILE", "CA", "CERT", "CERT_KEY", "PROFILE", "CONFIG", "ENDPOINTS", "ACCOUNT", "CONTAINER"),
    *("CACHE_DIR", "CACHE_MAX", "OFFLINE"),
)


def leave_home() -> None:
    """From here on this process and those that it starts have an empty home for what is configured and what is cached, and no
    client's options in AMBRY_*."""
    directory = tempfile.mkdtemp(prefix="ambry-home-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.environ["XDG_CONFIG_HOME"] = directory
    os.environ["XDG_CACHE_HOME"] = f"{directory}/cache"
    for name in _CLIENT:
        os.environ.pop(f"AMBRY_{name}", None)
