"""`ambry meta`: the metadata store of a datacenter as an operator sees it.

Exit codes: 0 fine, 1 something is wrong, 2 usage. What opens a store is imported by the commands that do: `ambry --help` lists
this group too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ambry.errors import AmbryError, ConfigInvalid, InvalidRequest

if TYPE_CHECKING:
    from frontend.metadata.opening import OpenedMetadata

PATIENCE_MS = 3_600_000
"""An operator's look at a whole store takes as long as it takes."""


@click.group()
def meta() -> None:
    """The metadata store of a datacenter: names, accounts, datasets, open uploads."""


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which store: that of a frontend, by its configuration."""
    config = click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
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
        click.echo(f"ambry meta: {error}", err=True)
        code = 2 if isinstance(error, ConfigInvalid) else 1
    sys.exit(code)


@meta.command()
@store_options
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
def dump(config: Path, overrides: tuple[str, ...], file: Path) -> None:
    """Write everything to FILE (- is standard output), while frontends go on. `ambry meta load` takes it, in either engine."""

    async def work(opened: OpenedMetadata) -> int:
        from frontend.metadata.moving import dump as dump_store

        if str(file) == "-":
            end = await dump_store(opened.store, opened.dump_header(), sys.stdout.buffer.write)
        else:
            # A dump that is not whole never has the name of one that is.
            part = file.with_name(file.name + ".part")
            with part.open("wb") as output:
                end = await dump_store(opened.store, opened.dump_header(), output.write)
                output.flush()
                _sync(output)
            part.replace(file)
        click.echo(f"{end.versions:,} versions and {end.locals:,} local rows written", err=True)
        return 0

    _run(config, overrides, work)


def _sync(file: BinaryIO) -> None:
    import os

    os.fsync(file.fileno())


@meta.command()
@store_options
@click.option("--join", is_flag=True, help="The store may hold something: what the dump has is joined to it.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
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
