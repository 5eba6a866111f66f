"""`ambry cache`: the blobs that are kept on this machine. Only `get` talks to a cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_duration, as_size, connecting
from ambry.cli.failures import report_one
from ambry.cli.output import progress_bar, show_rows
from ambry.errors import BlobNotFound, ChecksumMismatch
from ambry.home import user_cache

if TYPE_CHECKING:
    from ambry.client.cache import BlobCache
    from ambry.client.cache_plan import CachedBlob

T = TypeVar("T")


def _optional(parse: Callable[[click.Context, click.Parameter, str], T]) -> Callable[..., T | None]:
    """A callback of an option that need not be given."""

    def run(ctx: click.Context, param: click.Parameter, value: str | None) -> T | None:
        return None if value is None else parse(ctx, param, value)

    return run


def caching(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say which cache; the command gets it as its argument `kept`."""

    @wraps(command)
    def run(*, cache_dir: str | None, profile: str | None, **arguments: Any) -> T:
        from ambry.client.cache import BlobCache
        from ambry.client.profiles import find_cache
        from ambry.clock import SystemClock

        config = find_cache(os.environ, profile)
        directory = cache_dir or config.directory or user_cache(os.environ)
        return command(kept=BlobCache(directory, max_bytes=config.max_bytes, clock=SystemClock()), **arguments)

    run = click.option("--profile", metavar="NAME", help="A profile of ~/.config/ambry/config.toml.")(run)
    return click.option(
        "--cache-dir",
        metavar="DIR",
        help="Instead of AMBRY_CACHE_DIR, the profile's cache_dir or ~/.cache/ambry.",
    )(run)


@click.group("cache")
def cache() -> None:
    """Blobs that are kept on this machine, each once for all processes of a user.

    They are there until the room is needed (AMBRY_CACHE_MAX, 50G by itself): those go first that were not used for the longest
    time. AMBRY_OFFLINE=1 uses nothing but what is there.
    """


@cache.command("dir")
@caching
@OUTPUT
def directory(kept: BlobCache, output: str) -> None:
    """Print where they are kept."""
    _show_path(output, directory=kept.directory)


@cache.command("ls")
@caching
@OUTPUT
def listed(kept: BlobCache, output: str) -> None:
    """List what is kept, what was used last first."""
    found = sorted(kept.entries(), key=lambda each: -each.used_ns)
    show_rows(found, output, ["SIZE", "USED", "ID"], _row, lambda each: _plain(kept, each))
    if output == "table":
        click.echo(f"{len(found)} blobs, {sum(each.size for each in found)} of {kept.max_bytes} bytes", err=True)


@cache.command("get")
@click.argument("ref")
@click.option(
    "--cache-dir", metavar="DIR", help="Instead of AMBRY_CACHE_DIR, the profile's cache_dir or ~/.cache/ambry."
)
@click.option("--verify", is_flag=True, help="Read the bytes that are here, and fetch them again if they changed.")
@connecting
@OUTPUT
def fetched(ref: str, cache_dir: str | None, verify: bool, cluster: ChosenCluster, output: str) -> None:
    """Print the path of a file with the bytes of a blob (an id, a name, ambry://...), fetched if it is not here."""
    with cluster.connect() as client, progress_bar(ref, cluster.quiet) as progress:
        path = client.cached_path(ref, cache_dir=cache_dir, verify=verify, progress=progress)
    _show_path(output, path=path)


@cache.command("verify")
@click.argument("blobs", nargs=-1, metavar="[ID]...")
@click.option("--keep", is_flag=True, help="Leave what is not intact where it is.")
@caching
@OUTPUT
def verified(kept: BlobCache, blobs: Sequence[str], keep: bool, output: str) -> int:
    """Read what is kept, or these blobs of it, and throw away what is not what came. Exits with 6 where something was not."""
    from ambry.client.refs import id_of

    chosen = [id_of(blob) for blob in blobs] or sorted((each.id for each in kept.entries()), key=str)
    code = 0
    for blob in chosen:
        verdict = "intact"
        if not kept.has(blob):
            verdict = "missing"
            code = report_one(BlobNotFound(f"blob {blob} is not in the cache {kept.directory}"), "", code)
        elif not kept.is_intact(blob):
            verdict = "damaged"
            done = "it is left there" if keep else "it is thrown away, and will be fetched again"
            changed = ChecksumMismatch(f"{kept.path_of(blob)} is not what it was when it came; {done}")
            code = report_one(changed, "", code)
            if not keep:
                kept.remove(blob)
        if output == "json":
            click.echo(json.dumps({"id": str(blob), "verdict": verdict}))
    if output == "table":
        click.echo(f"{len(chosen)} blobs read", err=True)
    return code


@cache.command("prune")
@click.option("--max", "max_size", metavar="SIZE", callback=_optional(as_size), help="Keep at most so much, as 10G.")
@click.option(
    "--unused", metavar="TIME", callback=_optional(as_duration), help="All that was not used for so long, as 7d."
)
@click.option("--all", "everything", is_flag=True, help="Everything.")
@caching
@OUTPUT
def pruned(kept: BlobCache, max_size: int | None, unused: int | None, everything: bool, output: str) -> None:
    """Let go of the least recently used until no more than AMBRY_CACHE_MAX is left, and of what killed downloads left.

    A file that is open or mapped stays readable for whoever has it.
    """
    freed = kept.sweep(0)
    gone: list[CachedBlob] = []
    if unused is not None:
        gone += kept.drop_unused(unused)
    gone += kept.shrink(0 if everything else kept.max_bytes if max_size is None else max_size)
    show_rows(gone, output, ["SIZE", "USED", "ID"], _row, lambda each: _plain(kept, each))
    if output == "table":
        freed += sum(each.size for each in gone)
        click.echo(f"{len(gone)} blobs thrown away, {freed} bytes free again", err=True)


def _show_path(output: str, **named: Path) -> None:
    for name, path in named.items():
        click.echo(json.dumps({name: str(path)}) if output == "json" else path)


def _row(each: CachedBlob) -> list[str]:
    from datetime import UTC, datetime

    from ambry.cli.output import when

    return [str(each.size), when(datetime.fromtimestamp(each.used_ns // 10**9, UTC)), str(each.id)]


def _plain(kept: BlobCache, each: CachedBlob) -> dict[str, Any]:
    return {"id": str(each.id), "size": each.size, "used_ms": each.used_ns // 10**6, "path": str(kept.path_of(each.id))}
