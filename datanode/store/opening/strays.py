"""What stands in a replica's directory under one of its names and is no file, or no directory, as it must be.

A directory called `00000099.segment`, a pipe, a link that leads nowhere, a plain file called `index`: somebody put it there,
or a repair of the file system did. None holds anything of the replica, and none keeps it from opening: they are moved to
SET_ASIDE_NAME and named, never deleted. Where a file of the replica is missing for one, the steps behind this find that. The
replica's directory itself may be such a file: then there is no replica, as on an empty disk.
"""

from __future__ import annotations

from pathlib import Path

from ambry.service.logs import get_logger
from datanode.store.compaction.receipt import SUFFIX as RECEIPT_SUFFIX
from datanode.store.files import FileKind, Files
from datanode.store.index_file import FILE_NAMES, INDEX_NAME
from datanode.store.opening.identity import FILE_NAME as IDENTITY_NAME
from datanode.store.opening.replay import QUARANTINE_NAME
from datanode.store.segment import segment_number

log = get_logger()

LOCK_NAME = "lock"
SET_ASIDE_NAME = "set-aside"
"""In a replica's directory: what does not belong to it, for an operator to look at."""
NO_DIRECTORY_SUFFIX = ".was-no-directory"
_DIRECTORIES = (INDEX_NAME, QUARANTINE_NAME, SET_ASIDE_NAME)
_FILES = (LOCK_NAME, IDENTITY_NAME)
_UNFINISHED_SUFFIX = ".tmp"


def set_aside(files: Files, directory: Path, path: Path) -> str:
    """Move `path`, somewhere in a replica's directory, away; durable on return. Its name in the directory from then on.

    Blocking. Raises OSError.
    """
    aside = directory / SET_ASIDE_NAME
    files.make_directory(aside)
    files.sync_directory(directory)
    taken = set(files.list_directory(aside))
    target = next(f"{path.name}.{count}" for count in range(1, 1 << 30) if f"{path.name}.{count}" not in taken)
    files.rename(path, aside / target)
    files.sync_directory(aside)
    files.sync_directory(path.parent)
    return f"{SET_ASIDE_NAME}/{target}"


def clear_the_way(files: Files, directory: Path) -> None:
    """Rename what is no directory and has the name of the replica's; `set_strays_aside` takes it from there.

    Blocking. Raises OSError.
    """
    if files.kind(directory) is not FileKind.NOTHING and not files.is_directory(directory):
        files.rename(directory, _beside(directory))
        files.sync_directory(directory.parent)


def _beside(directory: Path) -> Path:
    return directory.with_name(directory.name + NO_DIRECTORY_SUFFIX)


def set_strays_aside(files: Files, directory: Path, partition: int) -> list[str]:
    """Their names from then on. The directory is there; nobody else opens it. Blocking. Raises OSError."""
    return [_move(files, directory, partition, place) for place in find_strays(files, directory)]


def find_strays(files: Files, directory: Path) -> list[Path]:
    """Where they are. Blocking. Raises OSError."""
    names = set(files.list_directory(directory))
    # That one first: the others go there.
    directories = sorted(names & set(_DIRECTORIES), key=lambda name: name != SET_ASIDE_NAME)
    strays = [directory / name for name in directories if not files.is_directory(directory / name)]
    strays += [
        directory / name for name in sorted(names) if _is_ours(name) and not files.is_regular_file(directory / name)
    ]
    if files.is_directory(directory / INDEX_NAME):
        inside = set(files.list_directory(directory / INDEX_NAME))
        places = [directory / INDEX_NAME / name for name in FILE_NAMES if name in inside]
        strays += [place for place in places if not files.is_regular_file(place)]
    if files.kind(_beside(directory)) is not FileKind.NOTHING:
        strays.append(_beside(directory))
    return strays


def _is_ours(name: str) -> bool:
    """Whether a file of the replica may have this name."""
    return name in _FILES or segment_number(name) is not None or name.endswith((RECEIPT_SUFFIX, _UNFINISHED_SUFFIX))


def _move(files: Files, directory: Path, partition: int, place: Path) -> str:
    if place == directory / SET_ASIDE_NAME:
        renamed = directory / f"{SET_ASIDE_NAME}{NO_DIRECTORY_SUFFIX}"
        files.rename(place, renamed)
        place = renamed
    moved = set_aside(files, directory, place)
    log.error("not a file of ours, set aside", partition=partition, file=str(place), moved=moved)
    return moved
