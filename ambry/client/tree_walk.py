"""What lies below a directory of this machine, for whoever stores all of it: nothing is left out because it cannot be listed.

pathlib's rglob and glob, and os.walk without `onerror`, take a directory that may not be read for an empty one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk_tree(root: Path, *, skip: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """All below `root` but for directories, in no order; a link to a directory is given as it is, and not followed.

    `skip` says of the name of a directory whether to pass over it. Raises OSError for one that cannot be listed.
    """
    for folder, folders, names in os.walk(root, onerror=_raised):
        here = Path(folder)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in linked and not (skip and skip(name))]
        yield from (here / name for name in (*names, *linked))


def _raised(error: OSError) -> None:
    raise error
