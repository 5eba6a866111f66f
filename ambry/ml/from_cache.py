"""What lies in the cache of this machine, used before it goes: a path alone is good only until its room is needed.

Somebody who makes room may come between a path and its use, and the files of one model or checkpoint may be more than the cache
holds. So each file is opened, or linked, as soon as it is there: a hard link keeps the bytes of an entry that goes, as an open
file does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ambry.client.refs import Ref
from ambry.client.scratch import scratch_directory
from ambry.client.sync.client import AmbryClient
from ambry.errors import TooLarge
from ambry.shown_urls import shown_place

TRIES = 10
HELD = "held"
_Used = TypeVar("_Used")


def used_at_once(
    client: AmbryClient, ref: Ref, use: Callable[[Path], _Used], *, verify: bool = True, sha256: str | None = None
) -> _Used:
    """What `use` makes of the file of a blob, which it is to open or to link; it is called again where that went meanwhile.

    Raises TooLarge where it goes each time, and what `cached_path` and `use` raise.
    """
    was_there = False
    for _ in range(TRIES):
        path = client.cached_path(ref, verify=verify, sha256=sha256)
        try:
            return use(path)
        except FileNotFoundError:
            is_there = path.exists()
            if is_there and was_there:  # Once it may have gone and come again; it is another file that is not there.
                raise
            was_there = is_there
    raise TooLarge(
        f"{shown_place(ref)} went {TRIES} times from the cache {path.parent.parent} before it was opened: others make room "
        "there; AMBRY_CACHE_MAX (CacheConfig(max_bytes=)) makes the cache larger"
    )


def link_to(target: Path, path: Path) -> None:
    """Let `target` be a file of the cache, which is not to be written: by a hard link, or a copy where there can be none, as on
    another disk. Raises FileExistsError, OSError.
    """
    try:
        target.hardlink_to(path)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        copy_to(target, path)


def copy_to(target: Path, path: Path) -> None:
    """Let `target` have the bytes of a file of the cache, which may go once it is open. Raises OSError."""
    shutil.copyfile(path, target)


@contextmanager
def held_directory(client: AmbryClient, kind: str) -> Iterator[Path]:
    """A directory that is gone in the end, on the disk of the cache, so that links can lead there; where nothing can be written
    beside it, one for temporary files. Raises OSError.
    """
    cache = client._cache_in(None).directory  # pyright: ignore[reportPrivateUsage]
    beside = cache / HELD
    with suppress(OSError):
        for each in (cache, beside):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
    with scratch_directory(kind, beside if os.access(beside, os.W_OK) else None) as made:
        yield made
