"""Install what Debian's packages bring and is not here: `python -m tools.system_packages java maven postgresql`.

`make engines` and `make services` run it. As root it asks apt-get, else sudo for it; where neither is, it says what to run, or
what to install on a system that has no apt-get. Nothing is asked of anybody for what is here. Exit code 1 with a sentence.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

SERVERS = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class SystemPackage:
    """`is_here` looks for what is used of it, whoever installed that."""

    debian: str
    what: str
    is_here: Callable[[], bool]


PACKAGES: Mapping[str, SystemPackage] = {
    "java": SystemPackage(
        "default-jdk-headless", "a JDK (java, javac)", lambda: _on_path("java") and _on_path("javac")
    ),
    "maven": SystemPackage("maven", "Maven (mvn)", lambda: _on_path("mvn")),
    "postgresql": SystemPackage(
        "postgresql", f"PostgreSQL ({SERVERS}/*/bin/postgres)", lambda: any(SERVERS.glob("*/bin/postgres"))
    ),
}


def main(names: list[str]) -> int:
    """The exit code."""
    if unknown := [name for name in names if name not in PACKAGES] or not names:
        return _failed(
            f"{unknown} is none of {', '.join(PACKAGES)}" if names else f"name some of {', '.join(PACKAGES)}"
        )
    lacking = [PACKAGES[name] for name in names if not PACKAGES[name].is_here()]
    if not lacking:
        return 0
    debian = " ".join(each.debian for each in lacking)
    what = " and ".join(each.what for each in lacking)
    if not _on_path("apt-get"):
        return _failed(f"{what}: not here, and neither is apt-get; install it as this system does, and try again")
    alone = os.geteuid() == 0
    if not alone and not _on_path("sudo"):
        return _failed(
            f"{what}: not here, and you are neither root nor have sudo; let who may run "
            f"`apt-get install --no-install-recommends {debian}`, and try again"
        )
    prefix = [] if alone else ["sudo"]
    install = [*prefix, "apt-get", "install", "--yes", "--no-install-recommends", *debian.split()]
    print(f"installing {debian}", flush=True)
    # A new machine has no list of what there is, and an old one's has versions that are gone: then, once, with a new list.
    if _run(install) and (_run([*prefix, "apt-get", "update"]) or _run(install)):
        return _failed(
            f"apt-get did not install {debian}: it says why above; without a network let it find them on a mirror"
        )
    if still := [each.what for each in lacking if not each.is_here()]:
        return _failed(f"apt-get has installed {debian}, and {' and '.join(still)} is still not to be found")
    return 0


def _run(command: list[str]) -> int:
    return subprocess.run(command, stdin=None, check=False).returncode  # nosec B603 # apt-get, with names of our own


def _on_path(program: str) -> bool:
    return shutil.which(program) is not None


def _failed(why: str) -> int:
    print(f"tools.system_packages: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
