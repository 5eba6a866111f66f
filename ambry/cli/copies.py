"""`ambry cp` and `ambry mv`: files and folders up, blobs down, from one store to another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.arguments import ChosenCluster, as_duration, as_pairs, complete_file, connecting, shows
from ambry.cli.failures import report_left_out
from ambry.cli.listing import CopySource, Origin, below_folder, sources_of
from ambry.cli.local_files import has_digest, is_folder, prune, unlink
from ambry.cli.output import printable
from ambry.cli.planning import FOLDER_TOO, Blocked, CopyItem, fit_here, joined, twice
from ambry.cli.sides import PIPE, Blob, Here, Pattern, Pipe, Side, There, side_of
from ambry.cli.transfers import AcrossStep, DownloadStep, Mover, Step, UploadStep
from ambry.client.model import BlobInfo, SaidOfBlob
from ambry.client.names import NameEntry
from ambry.client.refs import PinnedName, found_entry
from ambry.errors import InvalidRequest, UpdateConflict
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient

T = TypeVar("T")

PARALLEL = click.option("--parallel", type=click.IntRange(1, 32), default=4, show_default=True, help="Files at a time.")


class Clusters:
    """The stores of the two sides, connected when they are first asked for."""

    def __init__(self, stack: ExitStack, source: ChosenCluster, target: ChosenCluster) -> None:
        self._stack = stack
        self._chosen = {"source": source, "target": target}
        self._made: dict[str, AmbryClient] = {}
        self.are_one = source == target

    def reading(self) -> AmbryClient:
        return self._client("source")

    def writing(self) -> AmbryClient:
        return self._client("source" if self.are_one else "target")

    def _client(self, side: str) -> AmbryClient:
        if side not in self._made:
            self._made[side] = self._stack.enter_context(self._chosen[side].connect())
        return self._made[side]


def two_sides(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say which stores the two sides are in; the command gets `source_cluster` and `target_cluster`."""

    @wraps(command)
    def run(cluster: ChosenCluster, **arguments: Any) -> T:
        chosen = {}
        for side, option in (("source", "from"), ("target", "to")):
            said = {
                "endpoints": arguments.pop(f"{option}_endpoints"),
                "profile": arguments.pop(f"{option}_profile"),
                "key_file": arguments.pop(f"{option}_key_file"),
            }
            given = {name: value for name, value in said.items() if value}
            # Another store has another key: what is said of both goes to neither then.
            alone = {"endpoints": (), "profile": None, "key_file": None} if given else {}
            chosen[f"{side}_cluster"] = replace(cluster, **{**alone, **given})
        return command(cluster=cluster, **chosen, **arguments)

    for option in ("to", "from"):
        side = "target" if option == "to" else "source"
        for name, metavar, text in (
            ("key-file", "FILE", "A file with the key"),
            ("endpoint", "URL", "A frontend"),
            ("profile", "NAME", "The profile"),
        ):
            many = name == "endpoint"
            parameter = f"{option}_{name.replace('-', '_')}{'s' if many else ''}"
            told = f"{text} of the {side}'s store."
            run = click.option(f"--{option}-{name}", parameter, metavar=metavar, help=told, multiple=many)(run)
    return connecting(run)


def of_blobs(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say something of the blobs that are made; the command gets those that are given as `said`."""

    @wraps(command)
    def run(**arguments: Any) -> T:
        said: SaidOfBlob = {}
        if (ttl := arguments.pop("ttl")) is not None:
            said["ttl"] = as_duration(click.get_current_context(), click.Option(["--ttl"]), ttl)
        if meta := arguments.pop("meta"):
            said["metadata"] = meta
        if (content_type := arguments.pop("content_type")) is not None:
            said["content_type"] = content_type
        if (durability := arguments.pop("durability")) is not None:
            said["durability"] = durability
        return command(said=said, **arguments)

    for option in (
        click.option("--durability", type=click.Choice(["memory", "disk", "geo"]), help="What must hold of new blobs."),
        click.option("--content-type", help="Of all new blobs; else what the file's name or the source says."),
        click.option("--meta", metavar="K=V", callback=as_pairs, multiple=True, help="User metadata; may be repeated."),
        click.option("--ttl", metavar="TIME", help="How long new blobs live; else for ever, or as long as the source."),
    ):
        run = option(run)
    return run


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE... TARGET", shell_complete=complete_file)
@two_sides
@click.option("-r", "--recursive", is_flag=True, help="Folders, with all that is in them.")
@click.option("-n", "--no-clobber", is_flag=True, help="Leave what is there already.")
@of_blobs
@PARALLEL
@click.option("--dry-run", is_flag=True, help="Tell what would be copied, and copy nothing.")
@shows("table", "json", "id")
def cp(paths: Sequence[str], **options: Any) -> int:
    """Copy files into a store, blobs out of it, or from one store to another.

    A name of a store is written in full, ambry://account/container/name; a blob may be its id; - is a pipe, and all else are
    files. A target that ends with a slash, or a folder that is there, is copied into; a source that ends with a slash
    stands for what is in it. What is there is written over, at once and whole.

    \b
    ambry cp model.bin ambry://team/models/fraud
    ambry cp -r features ambry://team/data/            # .../features/...
    ambry cp 'ambry://team/data/2026/*.parquet' .
    ambry cp -r ambry://team/data/ copy --from-profile eu
    tar c dir | ambry cp - ambry://team/backups/dir.tar
    """
    return _copied(paths, moving=False, **options)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE... TARGET", shell_complete=complete_file)
@two_sides
@click.option("-n", "--no-clobber", is_flag=True, help="Leave what is there already.")
@of_blobs
@PARALLEL
@click.option("--dry-run", is_flag=True, help="Tell what would be moved, and move nothing.")
@shows("table", "json", "id")
def mv(paths: Sequence[str], **options: Any) -> int:
    """Move files, names and folders of names: as `ambry cp -r`, and each source is deleted when its copy is there.

    A name that stays in its container is renamed, in one moment and without a copy. A name that came to point to another
    blob meanwhile is left, and so is a file that was written to.

    \b
    ambry mv ambry://team/models/fraud-new ambry://team/models/fraud
    """
    return _copied(paths, moving=True, recursive=True, **options)


def _copied(
    paths: Sequence[str],
    *,
    cluster: ChosenCluster,
    source_cluster: ChosenCluster,
    target_cluster: ChosenCluster,
    recursive: bool,
    no_clobber: bool,
    said: SaidOfBlob,
    parallel: int,
    dry_run: bool,
    output: str,
    moving: bool,
) -> int:
    if len(paths) < 2:
        raise click.UsageError("say what to copy, and where to: SOURCE... TARGET")
    *froms, to = map(side_of, paths)
    with ExitStack() as stack:
        clusters = Clusters(stack, source_cluster, target_cluster)
        planned = _plan(froms, to, clusters, recursive=recursive, moving=moving)
        if dry_run:
            for step in planned.steps:
                tell(output, "move" if moving else "copy", step, None)
            return planned.code
        mover = Mover(said=said, keep=no_clobber, quiet=cluster.quiet, parallel=parallel, code=planned.code)
        if any(isinstance(step, DownloadStep | AcrossStep) for step in planned.steps):
            mover.reading = clusters.reading()
        if any(isinstance(step, UploadStep | AcrossStep) for step in planned.steps):
            mover.writing = clusters.writing()

        def after(step: Step, info: BlobInfo | None) -> None:
            if moving and not (isinstance(step, AcrossStep) and step.renamed is not None):
                _delete(step, info, mover.reading)

        def done(step: Step, info: BlobInfo | None) -> None:
            if output != "table":
                tell(output, "moved" if moving else "copied", step, info)

        mover.after, mover.done = after, done
        code = mover.run(planned.steps)
        if moving:
            for side in froms:
                if isinstance(side, Here):
                    prune(side.path)
        return code


def tell(output: str, action: str, step: Step, info: BlobInfo | None) -> None:
    """A line of what is done, or would be."""
    blob = info.id if info is not None else (step.blob if not isinstance(step, UploadStep) else None)
    if output == "json":
        fields = {"action": action, "source": step.label, "target": step.target, "size": step.size}
        if info is not None:
            fields |= {"size": info.size, "id": str(info.id), "checksum": info.checksum}
        click.echo(json.dumps(fields))
    elif output == "id":
        if blob is not None:
            click.echo(str(blob))
    else:
        click.echo(f"{action}  {printable(step.label)}  ->  {printable(step.target)}")


def _delete(step: Step, info: BlobInfo | None, reading: AmbryClient | None) -> None:
    """What was moved, where it still is what was copied. Raises OSError, AmbryError."""
    if isinstance(step, UploadStep):
        if step.path == PIPE:
            return
        if info is None or has_digest(step.path, info.size, info.checksum, info.etag) is not True:
            raise UpdateConflict("it was written to while it was moved; it stays, beside its copy")
        unlink(step.path)
        return
    if reading is None:
        raise RuntimeError("what is read has a store")
    from ambry.client.copying import delete_copied

    delete_copied(reading, step.found)


@dataclass(frozen=True, slots=True)
class Planned:
    """Steps; `code` is of what cannot be copied, which was told."""

    steps: Sequence[Step]
    code: int


def _plan(froms: Sequence[Side], to: Side, clusters: Clusters, *, recursive: bool, moving: bool) -> Planned:
    """Raises click.UsageError, InvalidRequest, OSError, BlobNotFound."""
    if isinstance(to, Blob):
        raise click.UsageError("a blob never changes; copy to a name, or to a file")
    if isinstance(to, Pattern):
        raise click.UsageError("a target is no pattern; %2A is a star in a name")
    if any(isinstance(each, Here | Pipe) for each in froms) and not isinstance(to, There):
        raise click.UsageError("neither side is in a store; a name is written ambry://account/container/name")
    sources = [one for side in froms for one in sources_of(side, clusters.reading, recursive=recursive)]
    into = isinstance(to, There | Here) and (to.says_folder or (isinstance(to, Here) and is_folder(to.path)))
    many = len(sources) > 1 or any(isinstance(side, Pattern) for side in froms)
    if many and not into and not isinstance(to, Pipe):
        raise click.UsageError(f"{printable(str(to))} takes one source; a folder for several ends with a slash")
    if isinstance(to, Pipe) and any(source.is_folder for source in sources) and not many:
        raise click.UsageError("a folder does not go into a pipe; put its names, or a pattern")
    code = 0
    steps: list[Step] = []
    renames = moving and clusters.are_one
    for source in sources:
        for blocked in source.blocked:
            code = report_left_out(blocked.path, blocked.why, code, failed=not blocked.is_ours)
        items = source.items
        if isinstance(to, Here) and source.is_folder:
            fit, refused = fit_here(item.path for item in items)
            if source.itself is not None:
                refused.append(Blocked(source.itself.name, FOLDER_TOO))
            for blocked in refused:
                code = report_left_out(blocked.path, f"no file here can be called so: {blocked.why}", code)
            good = frozenset(fit)
            items = [item for item in items if item.path in good]
        elif source.itself is not None:
            steps += [_step(source.itself, item, to, into=into, renames=renames) for item in source.itself.items]
        steps += [_step(source, item, to, into=into, renames=renames) for item in items]
    if (place := twice(step.target for step in steps if step.target != PIPE)) is not None:
        raise click.UsageError(f"two of the sources would become {printable(place)}")
    if clusters.are_one and (same := next(filter(_is_in_place, steps), None)) is not None:
        raise click.UsageError(f"{printable(same.target)} is the source and the target")
    return Planned(steps, code)


def _step(source: CopySource, item: CopyItem[Origin], to: Side, *, into: bool, renames: bool) -> Step:
    path = _path(source, item, into=into)
    if isinstance(to, There):
        place = below_folder(to.place, path) if path else to.place
        if not path and (into or not place.name):
            raise click.UsageError(f"what comes from a pipe has no name of its own; write it behind {to}")
        if isinstance(item.what, str):
            return UploadStep(item.what, item.size, place)
        shown, blob = _blob(item.what)
        own = item.what.ref if renames and isinstance(item.what, NameEntry) else None
        stays = own is not None and (own.account, own.container) == (place.account, place.container)
        return AcrossStep(blob, shown, item.size, place, own if stays else None)
    if isinstance(item.what, str):
        raise click.UsageError("neither side is in a store; a name is written ambry://account/container/name")
    shown, blob = _blob(item.what)
    if not isinstance(to, Here):
        return DownloadStep(blob, shown, item.size, "", PIPE)
    if path and (into or source.is_folder):
        if not source.is_folder:
            fit_one(item.path)
        return DownloadStep(blob, shown, item.size, to.path, path)
    return DownloadStep(blob, shown, item.size, "", to.path)


def _is_in_place(step: Step) -> bool:
    """Whether a name would be copied to itself, in one store."""
    if not isinstance(step, AcrossStep) or not isinstance(step.found, PinnedName):
        return False
    place, found = step.place, step.found
    return (place.account, place.container, place.name) == (found.account, found.container, found.name)


def fit_one(path: str) -> None:
    """Raises InvalidRequest for a name that no file here can have."""
    _, refused = fit_here([path])
    if refused:
        raise InvalidRequest(f"no file here can be called {path!r}: {refused[0].why}; say a name for it")


def _path(source: CopySource, item: CopyItem[Origin], *, into: bool) -> str:
    """Where an item goes below the target; empty for the target itself."""
    if not source.is_folder:
        return item.path if into else ""
    return joined(source.name, item.path) if into and not source.contents else item.path


def _blob(what: Origin) -> tuple[str, BlobId | PinnedName]:
    """As it is shown, and as it is read."""
    if isinstance(what, NameEntry):
        if what.id is None:
            raise InvalidRequest(f"{what.ref} is a folder")
        return str(what.ref), found_entry(what.ref, what.id)
    if isinstance(what, BlobId):
        return str(what), what
    raise TypeError(f"{what!r} is in no store")
