"""`ambry sync` and `ambry verify`: folders that are made alike, or only compared, by the digests of their bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from ambry.cli.arguments import ChosenCluster, complete_file, connecting, shows
from ambry.cli.copies import PARALLEL, Clusters, of_blobs, tell, two_sides
from ambry.cli.display import amount, counted
from ambry.cli.failures import EXIT_CHECKSUM, EXIT_NOT_FOUND, report_left_out, report_one
from ambry.cli.listing import Origin, below_folder, folder_of, itself, names_below, sources_of
from ambry.cli.local_files import has_digest, is_folder, remove, same_bytes, scan
from ambry.cli.output import printable
from ambry.cli.planning import NOT_BELOW, Blocked, CopyItem, SyncPlan, compare, fit_here, sync_plan
from ambry.cli.sides import Blob, Here, Side, There, name_pattern, side_of
from ambry.cli.transfers import AcrossStep, DownloadStep, Mover, Step, UploadStep
from ambry.cli.workers import Workers
from ambry.client.model import BlobInfo, SaidOfBlob
from ambry.client.names import NameEntry
from ambry.client.refs import PinnedName, found_as, found_entry
from ambry.errors import AmbryError, BlobNotFound

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Folder:
    """One side of a sync, as it is now. `client` None: it is here."""

    side: Here | There
    client: AmbryClient | None
    items: dict[str, CopyItem[Origin]]
    blocked: list[Blocked] = field(default_factory=list[Blocked])

    @property
    def sizes(self) -> dict[str, int]:
        return {path: item.size for path, item in self.items.items()}


@click.command()
@click.argument("source", shell_complete=complete_file)
@click.argument("target", shell_complete=complete_file)
@two_sides
@click.option("--delete", is_flag=True, help="Delete what the source does not have.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave such paths alone, as *.tmp or cache/**.")
@of_blobs
@PARALLEL
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option("-y", "--yes", is_flag=True, help="Delete all that is there, too, where the source is empty.")
@shows("table", "json")
def sync(
    source: str,
    target: str,
    cluster: ChosenCluster,
    source_cluster: ChosenCluster,
    target_cluster: ChosenCluster,
    delete: bool,
    exclude: Sequence[str],
    said: SaidOfBlob,
    parallel: int,
    dry_run: bool,
    yes: bool,
    output: str,
) -> int:
    """Make a folder of names like a folder here, or the other way, or one of another store.

    What is there with the same bytes is left alone: sizes and digests decide, not times. What TARGET has alone stays, unless
    with --delete, which begins when everything was copied. Links to folders are not followed.

    \b
    ambry sync features ambry://team/data/features --delete
    ambry sync ambry://team/data/features features --dry-run
    ambry sync ambry://team/data/ ambry://team/data/ --from-profile eu --to-profile us
    """
    left, right = _folder_side(source), _folder_side(target)
    if isinstance(left, Here) and isinstance(right, Here):
        raise click.UsageError(
            "neither side is in a store; a folder of names is written ambry://account/container/name"
        )
    with ExitStack() as stack:
        clusters = Clusters(stack, source_cluster, target_cluster)
        skip = [name_pattern(each) for each in exclude]

        def wanted(path: str) -> bool:
            return not any(each.fullmatch(path) or each.fullmatch(path.rpartition("/")[2]) for each in skip)

        one = _look(left, clusters.reading() if isinstance(left, There) else None, must_be=True)
        other = _look(right, clusters.writing() if isinstance(right, There) else None, must_be=False)
        code = 0
        items = {path: item for path, item in one.items.items() if wanted(path)}
        if isinstance(right, Here):
            fit, refused = fit_here(items)
            items = {path: items[path] for path in fit}
            for blocked in refused:
                code = report_left_out(blocked.path, f"no file here can be called so: {blocked.why}", code)
        for blocked in one.blocked:
            code = report_left_out(blocked.path, blocked.why, code, failed=not blocked.is_ours)
        there = {path: item for path, item in other.items.items() if wanted(path)}
        one, other = Folder(left, one.client, items), Folder(right, other.client, there)
        compared = compare(one.sizes, other.sizes)
        plan = sync_plan(compared, _same(one, other, compared.asked, parallel), delete=delete)
        if not one.items and (plan.cleared or plan.deleted) and not (yes or dry_run):
            raise click.UsageError(
                f"{printable(source)} is empty, and --delete would delete {counted(len(plan.deleted), 'file')}, "
                f"all of {printable(target)}; with --yes it does"
            )
        doing = _Doing(plan, one, other, said, parallel, quiet=cluster.quiet, output=output, code=code)
        return doing.tell_all() if dry_run else doing.run()


@dataclass(slots=True)
class _Doing:
    """A plan that is carried out, or told."""

    plan: SyncPlan
    source: Folder
    target: Folder
    said: SaidOfBlob
    parallel: int
    quiet: bool
    output: str
    code: int

    def run(self) -> int:
        self._delete(self.plan.cleared)
        mover = Mover(
            reading=self.source.client,
            writing=self.target.client,
            said=self.said,
            quiet=self.quiet,
            parallel=self.parallel,
            code=self.code,
        )
        if self.output == "json":
            mover.done = lambda step, info: tell(self.output, "copied", step, info)
        self.code = mover.run([self._step(path) for path in self.plan.copied]) if self.plan.copied else self.code
        if self.code and self.plan.deleted:
            told = f"{counted(len(self.plan.deleted), 'file')} would have been deleted, and stayed: not all was copied"
            click.echo(f"ambry: {told}", err=True)
            return self.code
        self._delete(self.plan.deleted)
        return self.code

    def tell_all(self) -> int:
        for path in self.plan.cleared:
            self._tell_deleted(path, "delete")
        for path in self.plan.copied:
            tell(self.output, "copy", self._step(path), None)
        for path in self.plan.deleted:
            self._tell_deleted(path, "delete")
        if self.output == "table" and not self.quiet:
            size = sum(self.source.items[path].size for path in self.plan.copied)
            gone = len(self.plan.cleared) + len(self.plan.deleted)
            told = (
                f"{len(self.plan.copied):,} to copy ({amount(size)}), {gone:,} to delete, {len(self.plan.same):,} alike"
            )
            click.echo(f"ambry: {told}", err=True)
        return self.code

    def _step(self, path: str) -> Step:
        item, to = self.source.items[path], self.target.side
        if isinstance(item.what, str):
            if not isinstance(to, There):
                raise TypeError("a file goes into a store")
            return UploadStep(item.what, item.size, below_folder(to.place, path))
        found = _listed(item.what)
        shown = str(found)
        if isinstance(to, There):
            return AcrossStep(found, shown, item.size, below_folder(to.place, path))
        return DownloadStep(found, shown, item.size, to.path, path)

    def _delete(self, paths: Sequence[str]) -> None:
        if isinstance(self.target.side, Here):
            for path in paths:
                try:
                    remove(self.target.side.path, path)
                except OSError as error:
                    self.code = report_one(error, path, self.code)
                else:
                    self._tell_deleted(path, "deleted")
            return
        if self.target.client is None:
            raise RuntimeError("a folder of names has a store")
        for some in _pages(paths):
            # What others put there since it was listed is not what was to go.
            places = [_listed(self.target.items[path].what) for path in some]
            for path, result in zip(some, self.target.client.delete_many(places), strict=True):
                if result.error is not None and not isinstance(result.error, BlobNotFound):
                    self.code = report_one(result.error, path, self.code)
                else:
                    self._tell_deleted(path, "deleted")

    def _tell_deleted(self, path: str, action: str) -> None:
        if self.output == "json":
            click.echo(json.dumps({"action": action, "target": path}))
        elif action == "delete":
            click.echo(f"{action}  {printable(path)}")


@click.command()
@click.argument("local", metavar="PATH", shell_complete=complete_file)
@click.argument("stored", metavar="BLOB")
@connecting
@click.option("--read", is_flag=True, help="Read every blob whole, and compare bytes instead of digests.")
@PARALLEL
@shows("table", "json")
def verify(local: str, stored: str, cluster: ChosenCluster, read: bool, parallel: int, output: str) -> int:
    """Compare a file with a blob, or a folder with a folder of names: by digests, or by all bytes.

    BLOB is an id, or an ambry://account/container/name. Each file that differs, or that the store does not have, is told, and
    the exit code is 6, or 3. What the store has beside the files does not matter.

    \b
    ambry verify model.bin ambry://team/models/fraud
    ambry verify features ambry://team/data/features
    """
    side, here = side_of(stored), Here(local)
    if not isinstance(side, Blob | There):
        raise click.UsageError("the second argument is in a store: an id, or ambry://account/container/name")
    with cluster.connect() as client:
        if is_folder(local):
            if not isinstance(side, There):
                raise click.UsageError("a folder is compared with a folder of names, ambry://account/container/name")
            one, other = _look(here, None, must_be=True), _look(side, client, must_be=True)
        else:
            (mine,) = sources_of(here, lambda: client, recursive=False)
            (theirs,) = sources_of(side, lambda: client, recursive=False)
            one = Folder(here, None, {local: mine.items[0]})
            other = Folder(
                There(folder_of(side.place)) if isinstance(side, There) else here, client, {local: theirs.items[0]}
            )
        code = 0
        for blocked in one.blocked:
            code = report_left_out(blocked.path, blocked.why, code, failed=not blocked.is_ours)
        compared = compare(one.sizes, other.sizes)
        same = frozenset(_same(one, other, compared.asked, parallel, read=read, sure=True))
        wrong = {**dict.fromkeys(compared.new, "missing"), **dict.fromkeys(compared.changed, "differs")}
        wrong |= {path: "differs" for path in compared.asked if path not in same}
        for path in sorted(one.items):
            verdict = wrong.get(path, "same")
            if output == "json":
                click.echo(json.dumps({"path": path, "verdict": verdict, "size": one.items[path].size}))
            elif verdict != "same":
                click.echo(f"{verdict}  {printable(path)}")
        if not wrong and output == "table" and not cluster.quiet:
            click.echo(
                f"ambry: {counted(len(one.items), 'file')}, {amount(sum(one.sizes.values()))}: the same", err=True
            )
    if "differs" in wrong.values():
        return code or EXIT_CHECKSUM
    return code or (EXIT_NOT_FOUND if wrong else 0)


def _listed(what: Origin) -> PinnedName:
    """What a folder of names was found to have."""
    if not isinstance(what, NameEntry) or what.id is None:
        raise TypeError("what a folder of names lists has an id")
    return found_entry(what.ref, what.id)


def _folder_side(text: str) -> Here | There:
    side = side_of(text)
    if not isinstance(side, Here | There):
        raise click.UsageError(
            f"{printable(text)} is no folder; give one of names, ambry://account/container/name, or one here"
        )
    return side


def _look(side: Side, client: AmbryClient | None, *, must_be: bool) -> Folder:
    """What is in a folder now. Raises OSError, BlobNotFound where it is not there and must be."""
    if isinstance(side, There) and client is not None:
        found = names_below(client, folder_of(side.place))
        if must_be and not found:
            raise BlobNotFound(f"there is no name in {folder_of(side.place)}")
        own = itself(client, side.place) if must_be else None
        blocked = [] if own is None else [Blocked(str(own.ref), NOT_BELOW)]
        return Folder(side, client, {item.path: item for item in found}, blocked)
    if not isinstance(side, Here):
        raise TypeError(f"{side} is no folder")
    if not must_be and not is_folder(side.path):
        return Folder(side, None, {})
    items, blocked = scan(side.path)
    return Folder(side, None, {item.path: CopyItem(item.path, item.size, item.what) for item in items}, blocked)


def _same(
    one: Folder, other: Folder, paths: Sequence[str], parallel: int, *, read: bool = False, sure: bool = False
) -> list[str]:
    """Those of several paths, of one size on both sides, whose bytes are alike. What cannot be told by digests is read where
    one must be `sure`. Raises AmbryError, OSError."""
    found: list[str] = []
    for some in _pages(paths):
        infos = [_infos(side, some) for side in (one, other)]
        workers = Workers(parallel)

        def look(path: str, infos: Sequence[dict[str, BlobInfo]] = infos, workers: Workers = workers) -> None:
            mine, theirs = infos[0].get(path), infos[1].get(path)
            alike: bool | None
            if mine is not None and theirs is not None:
                alike = (mine.checksum or mine.etag) == (theirs.checksum or theirs.etag) != ""
            else:
                info, local = (theirs, one) if mine is None else (mine, other)
                what = local.items[path].what
                if info is None or not isinstance(what, str):
                    return
                alike = None if read else has_digest(what, info.size, info.checksum, info.etag)
                if alike is None and sure:
                    client = other.client or one.client
                    if client is None:
                        return
                    with client.get(found_as(info)) as reader:
                        alike = same_bytes(what, reader.iter_chunks())
            if alike:
                with workers.lock:
                    found.append(path)

        workers.run(some, look)
    return found


def _infos(folder: Folder, paths: Sequence[str]) -> dict[str, BlobInfo]:
    """What the blobs of a folder of names are; nothing of a folder here. Raises AmbryError."""
    if folder.client is None:
        return {}
    # By its name: whoever may read that may not read every blob of the container.
    places = [what.ref if isinstance(what := folder.items[path].what, NameEntry) else what for path in paths]
    found: dict[str, BlobInfo] = {}
    for path, result in zip(paths, folder.client.head_many(places), strict=True):
        if result.info is not None:
            found[path] = result.info
        elif isinstance(result.error, AmbryError) and not isinstance(result.error, BlobNotFound):
            raise result.error
    return found


def _pages(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(paths), PAGE):
        yield paths[start : start + PAGE]
