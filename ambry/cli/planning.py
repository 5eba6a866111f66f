"""What a copy or a sync is to do, decided before anything is done. No I/O.

Invariants: nothing is written outside of the folder that is the target, whatever names say; no two steps write to one place;
what is the same on both sides is left alone; only what a plan lists is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ambry.client.beside import LEFT_OUT, is_ours

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class CopyItem(Generic[S]):
    """One thing that can be copied: where it stands below its folder, its size in bytes, and what it is."""

    path: str
    size: int
    what: S


@dataclass(frozen=True, slots=True)
class Blocked:
    """What cannot be copied, and why."""

    path: str
    why: str

    @property
    def is_ours(self) -> bool:
        """Whether nothing went wrong: most likely it is not the user's."""
        return self.why == LEFT_OUT


@dataclass(frozen=True, slots=True)
class ComparedFolders:
    """Two folders by what their lists tell. Paths are sorted; `asked` is there twice with one size: digests decide."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    asked: tuple[str, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The steps of a sync, in their order: `cleared` makes room for copies, and `deleted` comes when all copies succeeded."""

    cleared: tuple[str, ...]
    copied: tuple[str, ...]
    deleted: tuple[str, ...]
    same: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.cleared or self.copied or self.deleted)


def compare(source: Mapping[str, int], target: Mapping[str, int]) -> ComparedFolders:
    """Both by path, with sizes."""
    both = sorted(path for path in source if path in target)
    return ComparedFolders(
        new=tuple(sorted(path for path in source if path not in target)),
        changed=tuple(path for path in both if source[path] != target[path]),
        asked=tuple(path for path in both if source[path] == target[path]),
        extra=tuple(sorted(path for path in target if path not in source)),
    )


def sync_plan(compared: ComparedFolders, same: Iterable[str], *, delete: bool) -> SyncPlan:
    """`same` are those of `asked` whose bytes are known to be alike; what is not known is copied."""
    alike = frozenset(same)
    copied = tuple(sorted([*compared.new, *compared.changed, *(path for path in compared.asked if path not in alike)]))
    gone = compared.extra if delete else ()
    in_the_way = frozenset(_in_the_way(copied, gone))
    return SyncPlan(
        cleared=tuple(path for path in gone if path in in_the_way),
        copied=copied,
        deleted=tuple(path for path in gone if path not in in_the_way),
        same=tuple(path for path in compared.asked if path in alike),
    )


def folders_of(path: str) -> list[str]:
    """`a/b/c` lies in `a` and `a/b`."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _in_the_way(copied: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Of `extra` the files where a folder must be, and those in a folder where a file must be."""
    folders = {folder for path in copied for folder in folders_of(path)}
    files = frozenset(copied)
    return [path for path in extra if path in folders or any(folder in files for folder in folders_of(path))]


def why_no_path(name: str) -> str:
    """Why a name of the store cannot be a path below a folder here; empty where it can."""
    if "\0" in name:
        return "a file's name has no zero byte"
    parts = name.split("/")
    if not all(parts):
        return "it begins or ends with a slash, or has two in a row"
    if any(part in (".", "..") for part in parts):
        return "it has a part . or .."
    if any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in parts):
        return "a part of it is longer than 255 bytes"
    return ""


FOLDER_TOO = "it is a folder of names too, and no file can be both; copy it alone, to another place"
NOT_BELOW = (
    "it is a name, too, and not below the folder that is synced: `ambry cp` copies it; with a slash the folder is meant"
)


def fit_here(paths: Iterable[str]) -> tuple[list[str], list[Blocked]]:
    """Those of several names that can be files of one folder, and the others: a name cannot be a file and a folder at once."""
    good: list[str] = []
    blocked: list[Blocked] = []
    given = sorted(paths)
    files = frozenset(given)
    for path in given:
        why = why_no_path(path)
        if not why and (folder := next((each for each in folders_of(path) if each in files), None)) is not None:
            why = f"{folder!r} is a name too, and cannot be a file and a folder at once"
        if not why and is_ours(path):
            why = "downloads and uploads keep files of this kind beside others; copy it alone, to a name of its own"
        if why:
            blocked.append(Blocked(path, why))
        else:
            good.append(path)
    return good, blocked


def joined(folder: str, path: str) -> str:
    """A path below a folder, which may be empty, or end with a slash."""
    return path if not folder else f"{folder.rstrip('/') or ''}/{path}"


def last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def below(target: str, source: str, *, into: bool, contents: bool) -> str:
    """What the paths of a source folder are put in front of: a folder of its name, where that goes `into` another one."""
    return joined(target, last_part(source)) if into and not contents and last_part(source) else target


def twice(places: Iterable[str]) -> str | None:
    """The first place that two steps would write to."""
    seen: set[str] = set()
    for place in places:
        if place in seen:
            return place
        seen.add(place)
    return None
