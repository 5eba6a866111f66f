"""What made a model, in a line: `sources:ID environment:ID git:COMMIT`, as its manifest says under `code`."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import ambry
from ambry.errors import MALFORMED

GIT_TIMEOUT_S = 20.0
_PACKAGE = Path(ambry.__file__).parent


def code_text(**told: str) -> str:
    """What is known of it, each with its name before it."""
    return " ".join(f"{name}:{value}" for name, value in told.items() if value)


def code_of_ambry() -> str:
    """Of a model that this library made by itself: its release, and the commit that it is installed from or checked out."""
    return code_text(ambry=ambry.__version__, git=_commit_installed() or commit_of(_PACKAGE, holding="__init__.py"))


def commit_of(directory: Path, *, holding: str = "") -> str:
    """The commit that git has checked out there, with -dirty where files differ; empty where git has none.

    Also empty where git does not know the file `holding` of the directory, which then lies in somebody else's checkout.
    """
    if holding and not _git(directory, "ls-files", "--error-unmatch", holding):
        return ""
    return _git(directory, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def _git(directory: Path, *arguments: str) -> str:
    """What it says; nothing where it fails, or is not there."""
    git = shutil.which("git")
    if git is None:
        return ""
    said: dict[str, Any] = {"capture_output": True, "text": True, "timeout": GIT_TIMEOUT_S, "check": False}
    try:
        done = subprocess.run([git, "-C", str(directory), *arguments], **said)  # nosec B603 # git, asked what it has
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _commit_installed() -> str:
    """As pip wrote it down (direct_url.json, PEP 610); empty for a release, and for what runs from elsewhere."""
    with suppress(PackageNotFoundError, *MALFORMED):
        return commit_in(distribution("ambry"), _PACKAGE)
    return ""


def commit_in(installed: Distribution, package: Path) -> str:
    """The commit that a package was installed from, if it is the one that lies at `package`. Raises MALFORMED."""
    told = installed.read_text("direct_url.json")
    if told is None or Path(str(installed.locate_file(package.name))).resolve() != package.resolve():
        return ""
    return str(json.loads(told).get("vcs_info", {}).get("commit_id", ""))
