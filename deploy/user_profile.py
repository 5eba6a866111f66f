"""The profile `local` in the user's configuration file, by which clients find the cluster that runs on this machine.

Only lines of that profile are ever written or taken out, and only those that `ambry cluster up` wrote, which its key
`directory` tells: whatever else stands in the file is the user's, and so are lines that he has added to that profile.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ambry.client.profiles import LOCAL, PROFILES
from deploy.local_profile import LocalProfile
from deploy.whole_file import replace

HEADER = f"[{PROFILES}.{LOCAL}]"
ABOUT = "# written by `ambry cluster up`"
_WRITTEN = re.compile(r"\s*(endpoints|trusted|key_file|ca|directory)\s*=")


class UserProfile:
    """That of the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, profile: LocalProfile, runs: Callable[[Path], bool]) -> bool:
        """Let `local` be this cluster, if there is no such profile yet, or that of a cluster which is gone or does not run.

        `runs` tells that of the cluster in a directory. False where the profile is another one, and stays. Raises OSError, and
        ValueError for a file that is no TOML; nothing is changed then.
        """
        path = self.path.resolve()  # it may be a link into somebody's collection of such files
        text = path.read_text("utf-8") if path.exists() else ""
        tree = tomllib.loads(text)
        found: Any = tree.get(PROFILES, {})
        found = found.get(LOCAL) if isinstance(found, dict) else {}
        if found is not None:
            directory = found.get("directory") if isinstance(found, dict) else None
            if not isinstance(directory, str):
                return False
            if Path(directory) != profile.directory and Path(directory).exists() and runs(Path(directory)):
                return False
        split = (text, "") if found is None else without_profile(text)
        if split is None:
            return False
        kept, added = split
        block = f"{HEADER}  {ABOUT}\n{profile.text()}{added}"
        changed = f"{kept.rstrip()}\n\n{block}" if kept.strip() else block
        try:
            after = tomllib.loads(changed)
        except tomllib.TOMLDecodeError:  # Its lines are none of those that are written here.
            return False
        if not _differ_only_in_local(tree, after) or not _has_all(found or {}, after[PROFILES][LOCAL]):
            return False
        if changed != text:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
            replace(path, changed.encode(), mode=mode)
        return True


def without_profile(text: str) -> tuple[str, str] | None:
    """The text without the table of the profile, and what somebody has added to that; None where it is written in another way
    than here.
    """
    lines = text.splitlines(keepends=True)
    starts = [place for place, line in enumerate(lines) if line.partition("#")[0].strip() == HEADER]
    if len(starts) != 1:
        return None
    end = starts[0] + 1
    while end < len(lines) and not lines[end].lstrip().startswith(("[", "#")):
        end += 1
    added = [line for line in lines[starts[0] + 1 : end] if line.strip() and not _WRITTEN.match(line)]
    return "".join(lines[: starts[0]] + lines[end:]), "".join(added)


def _has_all(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether all that is not written here is as it was."""
    return all(after.get(name) == value for name, value in before.items() if not _WRITTEN.match(f"{name} ="))


def _differ_only_in_local(before: dict[str, Any], after: dict[str, Any]) -> bool:
    def rest(tree: dict[str, Any]) -> dict[str, Any]:
        profiles = {name: value for name, value in tree.get(PROFILES, {}).items() if name != LOCAL}
        others = {name: value for name, value in tree.items() if name != PROFILES}
        return {**others, **({PROFILES: profiles} if profiles else {})}

    return rest(before) == rest(after)
