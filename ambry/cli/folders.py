"""`ambry tree`, `du` and `find`: the names of a container as folders, which a slash in a name makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import ChosenCluster, as_duration, as_size, connecting, shows
from ambry.cli.display import amount, counted
from ambry.cli.listing import folder_of, itself
from ambry.cli.names import as_listed, line_of
from ambry.cli.output import begun, printable, show_rows
from ambry.cli.planning import folders_of, last_part
from ambry.cli.sides import name_pattern
from ambry.client.names import NameEntry
from ambry.errors import BlobNotFound

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient


@dataclass(slots=True)
class FolderNode:
    """Names below a folder, by the order in which they came; `size` and `count` are of all of them.

    `itself`: the bytes of the name that the folder is, too.
    """

    size: int = 0
    count: int = 0
    itself: int | None = None
    folders: dict[str, FolderNode] = field(default_factory=dict[str, "FolderNode"])
    files: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, path: str | None, size: int) -> None:
        """A name by its path below this one; None is this one itself."""
        at = self
        if path is None:
            self.size, self.count, self.itself = self.size + size, self.count + 1, size
            return
        *parts, last = path.split("/")
        for part in parts:
            at.size += size
            at.count += 1
            at = at.folders.setdefault(part, FolderNode())
        at.size += size
        at.count += 1
        at.files[last] = size


def lines_of(node: FolderNode, depth: int | None, before: str = "") -> Iterator[str]:
    """A folder drawn as a tree: its names and its folders by their names, those deeper than `depth` as a number."""
    inside: list[tuple[str, FolderNode | int]] = [*node.files.items(), *((f"{k}/", v) for k, v in node.folders.items())]
    inside.sort(key=lambda each: each[0].encode("utf-8", "surrogatepass"))
    for place, (name, what) in enumerate(inside):
        last = place == len(inside) - 1
        line = f"{before}{'└── ' if last else '├── '}{printable(name)}"
        if isinstance(what, int):
            yield f"{line}  ({amount(what)})"
        elif depth is not None and depth <= 1:
            yield f"{line}  ({counted(what.count, 'name')}, {amount(what.size)})"
        else:
            yield line
            yield from lines_of(what, None if depth is None else depth - 1, before + ("    " if last else "│   "))


def totals_of(paths: Iterable[tuple[str, int]], depth: int) -> dict[str, tuple[int, int]]:
    """Bytes and names below each folder, which ends with a slash, down to `depth` of them; the empty text is all."""
    found: dict[str, list[int]] = {"": [0, 0]}
    for path, size in paths:
        for folder in ["", *(f"{each}/" for each in folders_of(path)[:depth])]:
            total = found.setdefault(folder, [0, 0])
            total[0] += size
            total[1] += 1
    return {folder: (total[0], total[1]) for folder, total in sorted(found.items())}


def listed(client: AmbryClient, prefix: str) -> Iterator[tuple[str | None, NameEntry]]:
    """The names of a folder, with their paths below it. A text without a slash at its end is the folder of this name, and the
    name itself, whose path is None. Raises BlobNotFound where there is none, but for a whole container."""
    from ambry.client.refs import prefix_place

    place = prefix_place(prefix, account=client.default_account, container=client.default_container)
    folder = folder_of(place)
    found = False
    if (own := itself(client, place)) is not None:
        found = True
        yield None, own
    for entry in client.list(str(folder)):
        found = True
        yield entry.name[len(folder.name) :], entry
    if folder.name and not found:
        raise BlobNotFound(f"there is no name {place}, and none below it")


@click.command()
@click.argument("folder", default="")
@connecting
@click.option("-L", "--depth", type=click.IntRange(1), metavar="N", help="So many levels; what is deeper is counted.")
@shows("table", "json")
def tree(folder: str, cluster: ChosenCluster, depth: int | None, output: str) -> None:
    """Draw the names of a folder, or of the container, as a tree.

    \b
    ambry tree team -L 2
    ambry tree ambry://team/models/
    """
    root = FolderNode()
    with cluster.connect() as client:
        for path, entry in listed(client, folder):
            root.add(path, entry.size or 0)
        shown = folder or f"{client.default_account}/{client.default_container}"
    if output == "json":
        click.echo(json.dumps(_as_json(root, depth)))
        return
    click.echo(printable(shown) + ("" if root.itself is None else f"  ({amount(root.itself)})"))
    for line in lines_of(root, depth):
        click.echo(line)
    click.echo(f"{counted(root.count, 'name')}, {amount(root.size)}")


def _as_json(node: FolderNode, depth: int | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"size": node.size, "names": node.count}
    if node.itself is not None:
        fields["itself"] = node.itself
    if depth is None or depth > 0:
        rest = None if depth is None else depth - 1
        fields["files"] = node.files
        fields["folders"] = {name: _as_json(below, rest) for name, below in node.folders.items()}
    return fields


@click.command()
@click.argument("folder", default="")
@connecting
@click.option("-d", "--depth", type=click.IntRange(0), default=1, show_default=True, metavar="N", help="Levels.")
@shows("table", "json")
def du(folder: str, cluster: ChosenCluster, depth: int, output: str) -> None:
    """Sum up the sizes of what the names of a folder point to, by folder.

    A blob with two names counts twice; what has no name, and blobs of before, not at all: `ambry usage` tells of those.
    """
    with cluster.connect() as client:
        totals = totals_of(((path or "", entry.size or 0) for path, entry in listed(client, folder)), depth)

    def row(found: tuple[str, tuple[int, int]]) -> list[str]:
        return [str(found[1][0]), str(found[1][1]), found[0] or "(all)"]

    def plain(found: tuple[str, tuple[int, int]]) -> dict[str, Any]:
        return {"folder": found[0], "size": found[1][0], "names": found[1][1]}

    show_rows(totals.items(), output, ["SIZE", "NAMES", "FOLDER"], row, plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedNames:
    """What `ambry find` looks for; what is None does not matter. Times are moments."""

    name: Any = None
    larger: int | None = None
    smaller: int | None = None
    newer: datetime | None = None
    older: datetime | None = None
    expires: datetime | None = None

    def fits(self, path: str, entry: NameEntry) -> bool:
        size, modified = entry.size or 0, entry.modified
        if self.name is not None and not (self.name.fullmatch(path) or self.name.fullmatch(path.rpartition("/")[2])):
            return False
        if (self.larger is not None and size <= self.larger) or (self.smaller is not None and size >= self.smaller):
            return False
        if self.newer is not None and (modified is None or modified < self.newer):
            return False
        if self.older is not None and (modified is None or modified > self.older):
            return False
        return self.expires is None or (entry.expires is not None and entry.expires <= self.expires)


def as_age(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """A duration of `90s`, `7d` and the like."""
    if value is None:
        return None
    seconds = as_duration(ctx, param, value)
    if seconds is None:
        raise click.BadParameter("it is an age, such as 12h or 7d")
    return timedelta(seconds=seconds)


@click.command()
@click.argument("folder", default="")
@connecting
@click.option("--name", metavar="PATTERN", help="Of the whole path below the folder, or of its last part: '*.bin'.")
@click.option("--larger", callback=as_size, metavar="SIZE", help="More than so many bytes: 100MiB.")
@click.option("--smaller", callback=as_size, metavar="SIZE", help="Fewer than so many bytes.")
@click.option("--newer", callback=as_age, metavar="AGE", help="Named since then: 12h, 7d.")
@click.option("--older", callback=as_age, metavar="AGE", help="Named before then.")
@click.option("--expires-in", callback=as_age, metavar="TIME", help="Over within so long.")
@click.option("-l", "--long", is_flag=True, help="Size, dates and id of each.")
@shows("table", "json", "id")
def find(
    folder: str,
    cluster: ChosenCluster,
    name: str | None,
    larger: int | None,
    smaller: int | None,
    newer: timedelta | None,
    older: timedelta | None,
    expires_in: timedelta | None,
    long: bool,
    output: str,
) -> None:
    """List the names of a folder that fit all that is said.

    \b
    ambry find team --name '*.parquet' --larger 1GiB --older 30d
    ambry find --expires-in 24h --output id
    """
    wanted = WantedNames(name=None if name is None else name_pattern(name), larger=larger, smaller=smaller)
    with cluster.connect() as client:
        if not (newer is older is expires_in is None):
            # What is found is deleted by the next command, as often as not.
            now = client.store_time()
            wanted = replace(
                wanted,
                newer=None if newer is None else now - newer,
                older=None if older is None else now - older,
                expires=None if expires_in is None else now + expires_in,
            )
        for path, entry in begun(listed(client, folder)):
            if wanted.fits(last_part(entry.name) if path is None else path, entry):
                click.echo(
                    json.dumps(as_listed(entry)) if output == "json" else line_of(client, entry, output, long=long)
                )
