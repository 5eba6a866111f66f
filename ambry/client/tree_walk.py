"""What lies below a directory of this machine, for whoever stores all of it: nothing is left out because it cannot be listed.

The directory of a local cluster (`ambry cluster up`) is no part of it: it has the keys of an administrator, and of containers
that are encrypted.

pathlib's rglob and glob, and os.walk without `onerror`, take a directory that may not be read for an empty one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ambry.errors import InvalidRequest

OF_CLUSTER = "the directory of a local cluster, with its keys"
_SHAPE = "shape.json"
_BESIDE = frozenset(("lock", "cluster.json", "admin.key", "admin.header", "master.keys"))
"""At least one of them lies beside that: as `ambry cluster up` leaves its directory (deploy/local_directory.py)."""


def walk_tree(
    root: Path, *, skip: Callable[[str], bool] | None = None, cluster: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """All below `root` but for directories, in no order; a link to a directory is given as it is, and not followed.

    `skip` says of the name of a directory whether to pass over it. That of a local cluster is passed over, and `cluster` told.
    Raises OSError for one that cannot be listed, and InvalidRequest for that of a cluster where nobody is told.
    """
    for folder, folders, names in os.walk(root, onerror=_raised):
        here = Path(folder)
        if _SHAPE in names and not _BESIDE.isdisjoint(names):
            if cluster is None:
                raise InvalidRequest(
                    f"{here} is {OF_CLUSTER}, and is never stored; keep it elsewhere, or store other files"
                )
            cluster(here)
            folders.clear()
            continue
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in linked and not (skip and skip(name))]
        yield from (here / name for name in (*names, *linked))


def _raised(error: OSError) -> None:
    raise error
