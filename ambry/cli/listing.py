"""What an argument of `ambry cp`, `mv`, `sync` and `verify` stands for: the files or the blobs that are there now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ambry.cli.local_files import is_folder, matching, scan, size_of
from ambry.cli.output import printable, safe_name
from ambry.cli.planning import Blocked, CopyItem, last_part
from ambry.cli.sides import PIPE, Blob, Here, Pattern, Pipe, Side, There
from ambry.client.names import NameEntry
from ambry.client.refs import NameRef
from ambry.errors import AccessDenied, BlobNotFound
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient

Origin = str | NameEntry | BlobId
"""What is copied: a file by its path (or PIPE), a name of a store, or a blob."""


@dataclass(frozen=True, slots=True)
class CopySource:
    """`items` by their paths below a folder called `name`, or one item, whose path is its own name.

    `contents`: what the folder holds is meant, and not the folder. `itself`: the name that the folder is, too.
    """

    name: str
    items: Sequence[CopyItem[Origin]]
    is_folder: bool
    contents: bool = False
    blocked: Sequence[Blocked] = ()
    itself: CopySource | None = None


def sources_of(side: Side, connect: Callable[[], AmbryClient], *, recursive: bool) -> list[CopySource]:
    """Raises BlobNotFound, OSError, click.UsageError; asks the store only where it must."""
    if isinstance(side, Pipe):
        return [CopySource("", [CopyItem("", 0, PIPE)], is_folder=False)]
    if isinstance(side, Here):
        return [_here(path, recursive=recursive) for path in matching(side.path)]
    client = connect()
    if isinstance(side, Blob):
        info = client.head(side.id)
        return [CopySource(safe_name(info), [CopyItem(safe_name(info), info.size, side.id)], is_folder=False)]
    if isinstance(side, Pattern):
        found = [each for each in names_below(client, side.folder) if side.rest.fullmatch(each.path)]
        if not found:
            raise BlobNotFound(f"no name fits {side.text}; in quotes the pattern is read here, and not by the shell")
        return [CopySource("", found, is_folder=True, contents=True)]
    return [_there(client, side, recursive=recursive)]


def _here(path: str, *, recursive: bool) -> CopySource:
    if is_folder(path) and recursive:
        items, blocked = scan(path)
        contents = Here(path).says_folder
        return CopySource(last_part(path), [CopyItem(i.path, i.size, i.what) for i in items], True, contents, blocked)
    try:
        return CopySource(last_part(path), [CopyItem(last_part(path), size_of(path), path)], is_folder=False)
    except FileNotFoundError as error:
        error.strerror = f"{error.strerror}; a name of a store is written ambry://account/container/name"
        raise


def _there(client: AmbryClient, side: There, *, recursive: bool) -> CopySource:
    place = side.place
    if recursive:
        folder = folder_of(place)
        found = names_below(client, folder)
        if found or side.says_folder:
            if not found:
                raise BlobNotFound(f"there is no name in {folder}")
            own = itself(client, place)
            alone = None if own is None else _one(own)
            return CopySource(last_part(folder.name), found, is_folder=True, contents=side.says_folder, itself=alone)
    if side.says_folder:
        raise click.UsageError(f"{printable(str(place))} is a folder of names; -r copies all that is in it")
    return _one(_entry(client, place))


def _one(entry: NameEntry) -> CopySource:
    name = last_part(entry.name)
    return CopySource(name, [CopyItem(name, entry.size or 0, entry)], is_folder=False)


def _entry(client: AmbryClient, place: NameRef) -> NameEntry:
    """Raises BlobNotFound, AccessDenied."""
    info = client.head(place)
    return NameEntry(ref=place, id=info.id, size=info.size, modified=info.created, expires=info.expires)


def itself(client: AmbryClient, place: NameRef) -> NameEntry | None:
    """The name that a folder of names is, too; None where there is none, and for a text that ends with a slash or is empty."""
    if not place.name or place.name.endswith("/"):
        return None
    try:
        return _entry(client, place)
    except (AccessDenied, BlobNotFound):  # A key for what is below has no right to the name.
        return None


def folder_of(place: NameRef) -> NameRef:
    """The folder that a name means where a folder must stand: `a` is `a/`."""
    if not place.name or place.name.endswith("/"):
        return place
    return NameRef(place.name + "/", place.account, place.container)


def names_below(client: AmbryClient, folder: NameRef) -> list[CopyItem[Origin]]:
    """All names that begin with `folder`, by the paths that follow it."""
    start = len(folder.name)
    return [
        CopyItem(entry.name[start:], entry.size or 0, entry)
        for entry in client.list(str(folder))
        if not entry.is_prefix
    ]


def below_folder(folder: NameRef, path: str) -> NameRef:
    """A name in a folder of names."""
    return NameRef(folder_of(folder).name + path, folder.account, folder.container)
