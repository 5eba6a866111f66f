"""`ambry meta`: the metadata store of a datacenter as an operator sees it.

Exit codes: 0 fine, 1 something is wrong, 2 usage. What opens a store is imported by the commands that do: `ambry --help` lists
this group too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ambry.errors import AmbryError, ConfigInvalid, InvalidRequest
from ambry.os_errors import text_of
from ambry.path_option import LocalPath
from ambry.service.directory_option import directory_option
from ambry.service.operator_option import operator, operator_option
from ambry.special_file import check_place

if TYPE_CHECKING:
    from frontend.metadata.opening import OpenedMetadata

PATIENCE_MS = 3_600_000
"""An operator's look at a whole store takes as long as it takes."""
LAG_TIMEOUT_S = 10.0
"""Of one frontend's answer."""
LAG_COLUMNS = ("here", "datacenter", "follows", "behind_versions", "behind_s", "heard_s", "error")


@click.group()
def meta() -> None:
    """The metadata store of a datacenter: names, accounts, datasets, open uploads."""


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which store: that of a frontend, by its configuration."""
    config = click.option(
        "--config",
        type=LocalPath(exists=True, dir_okay=False, path_type=Path),
        required=True,
        help="The configuration file of a frontend whose store it is.",
    )
    overrides = click.option(
        "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Wins over the file."
    )
    return config(overrides(command))


def _run(config: Path, overrides: tuple[str, ...], work: Callable[[OpenedMetadata], Coroutine[Any, Any, int]]) -> None:
    """Open the store that a configuration names, work on it, and exit with what the work returned."""
    import asyncio

    from msgspec.structs import replace

    from ambry.clock import SystemClock, system_random
    from ambry.config import load
    from ambry.service import logs
    from frontend.config import FrontendConfig, check
    from frontend.metadata.opening import metadata_of

    async def run() -> int:
        found = check(load(FrontendConfig, config, overrides=overrides))
        patient = replace(found, metadata=replace(found.metadata, timeout_ms=PATIENCE_MS))
        opened = metadata_of(patient, clock=SystemClock(), random_source=system_random())
        try:
            await opened.store.reach()
            return await work(opened)
        finally:
            await opened.store.close()

    # To standard error: a dump may go to standard output.
    logs.configure(level="warning")
    try:
        code = asyncio.run(run())
    except (AmbryError, OSError) as error:
        click.echo(f"ambry meta: {text_of(error)}", err=True)
        code = 2 if isinstance(error, ConfigInvalid) else 1
    sys.exit(code)


def _free_place(_context: click.Context, _parameter: click.Parameter, file: Path) -> Path:
    try:
        if str(file) != "-":
            check_place(file, instead="write - and lead that there")
    except (InvalidRequest, OSError) as error:
        raise click.BadParameter(text_of(error)) from error
    return file


@meta.command()
@store_options
@click.argument("file", type=LocalPath(allow_dash=True, path_type=Path), callback=_free_place)
def dump(config: Path, overrides: tuple[str, ...], file: Path) -> None:
    """Write everything to FILE (- is standard output), while frontends go on. `ambry meta load` takes it, in either engine."""

    async def work(opened: OpenedMetadata) -> int:
        from frontend.metadata.moving import dump as dump_store

        if str(file) == "-":
            end = await dump_store(opened.store, opened.dump_header(), sys.stdout.buffer.write)
        else:
            # A dump that is not whole never has the name of one that is.
            target = Path(os.path.realpath(file))  # A link stays one.
            part = target.with_name(target.name + ".part")
            with part.open("wb") as output:
                end = await dump_store(opened.store, opened.dump_header(), output.write)
                output.flush()
                _sync(output)
            part.replace(target)
        click.echo(f"{end.versions:,} versions and {end.locals:,} local rows written", err=True)
        return 0

    _run(config, overrides, work)


def _sync(file: BinaryIO) -> None:
    os.fsync(file.fileno())


@meta.command()
@store_options
@click.option("--join", is_flag=True, help="The store may hold something: what the dump has is joined to it.")
@click.argument("file", type=LocalPath(exists=True, dir_okay=False, path_type=Path))
def load(config: Path, overrides: tuple[str, ...], join: bool, file: Path) -> None:
    """Load a dump of the same datacenter into an empty store, of either engine. It is read to its end first."""

    async def work(opened: OpenedMetadata) -> int:
        from frontend.metadata.dump import read_dump
        from frontend.metadata.moving import check_dump, is_empty
        from frontend.metadata.moving import load as load_store

        with file.open("rb") as stream:
            check_dump(read_dump(stream.read), cluster=opened.cluster, datacenter=opened.store.datacenter)
            if not join and not await is_empty(opened.store):
                raise InvalidRequest("the store holds something already; --join joins the dump to it")
            stream.seek(0)
            new = await load_store(opened.store, read_dump(stream.read))
        click.echo(f"{new.versions:,} versions and {new.locals:,} local rows loaded")
        return 0

    _run(config, overrides, work)


@meta.command("check")
@store_options
def check_store(config: Path, overrides: tuple[str, ...]) -> None:
    """Read all of it, and name every place where something is wrong. Exits with 1 where there is one."""

    async def work(opened: OpenedMetadata) -> int:
        from frontend.metadata.inspection import findings

        wrong = 0
        async for finding in findings(opened.store, engine_checks=opened.engine_checks):
            click.echo(finding)
            wrong += 1
        if not wrong:
            head = await opened.store.head()
            click.echo(f"{opened.name}: {head.seq:,} versions, every one right")
        return 1 if wrong else 0

    _run(config, overrides, work)


@meta.command()
@operator_option
@click.option("--admin", "admins", multiple=True, metavar="URL", help="A frontend's admin port; repeat it.")
@directory_option("All frontends of the local cluster in D.", instead_of="admins")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def lag(admins: tuple[str, ...], directory: Path | None, output: str) -> None:
    """Show how far each datacenter's metadata is behind each other's, in versions and in seconds.

    One frontend of a datacenter follows each other one, so only with all of them asked is it told of all. Exits with 1 where
    a frontend does not answer, nobody follows, or another datacenter cannot be asked.
    """
    if bool(admins) == (directory is not None):
        raise click.UsageError("name the frontends: --admin URL for each of them, or --dir D of a local cluster")
    from ambry.service.admin_client import AdminUnanswered, ask_admin

    ports = list(admins) if directory is None else _admin_ports(directory)
    failed: list[str] = []
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    for url in ports:
        try:
            lines = ask_admin(url, "GET", "/metadata", timeout_s=LAG_TIMEOUT_S, operator=operator())
        except AdminUnanswered as cause:
            failed.append(str(cause))
            continue
        for line in lines:
            pair = (line["here"], line["datacenter"])
            if line["follows"] or pair not in pairs:
                pairs[pair] = {name: line[name] for name in LAG_COLUMNS} | {"admin": url}
    found = [pairs[pair] for pair in sorted(pairs)]
    failed += [f"nobody in {line['here']} follows {line['datacenter']}" for line in found if not line["follows"]]
    failed += [f"{line['here']} cannot follow {line['datacenter']}: {line['error']}" for line in found if line["error"]]
    if output == "json":
        import msgspec

        click.echo(msgspec.json.encode({"pairs": found, "failed": failed}).decode())
    else:
        for line in found:
            behind = "not known" if line["behind_s"] is None else f"{line['behind_s']:.1f} s"
            versions = "?" if line["behind_versions"] is None else f"{line['behind_versions']:,}"
            click.echo(f"{line['here']} is behind {line['datacenter']} by {versions} versions, {behind}")
    for why in failed:
        click.echo(f"ambry meta: {why}", err=True)
    sys.exit(1 if failed else 0)


def _admin_ports(directory: Path) -> list[str]:
    """The frontends of a local cluster, by the file that describes what runs of it."""
    import msgspec

    try:
        cluster = msgspec.json.decode((directory / "cluster.json").read_bytes())
        return [str(each["admin_url"]) for datacenter in cluster["datacenters"] for each in datacenter["frontends"]]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as cause:
        raise click.ClickException(f"{directory} holds no local cluster: {cause}") from cause
