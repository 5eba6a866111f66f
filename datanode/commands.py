"""`ambry store`: look into the replica of a stopped data node, verify it, rebuild its index. `ambry replica`: decide about
replicas of a running one.

Exit codes: 0 fine, 1 something is wrong, 2 usage. The store is imported by the commands that open one: `ambry --help` lists
these groups too and needs nothing of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ambry.errors import AmbryError, InvalidRequest
from ambry.os_errors import text_of
from ambry.path_option import LocalPath
from ambry.service.operator_option import operator, operator_option

OUTPUT = click.Choice(["table", "json"])
LINE_WIDTH = 250
OPERATOR_TIMEOUT_S = 120.0
DIRECTORY = LocalPath(exists=True, file_okay=False, path_type=Path)


@click.group()
def store() -> None:
    """Look into the replica of a stopped data node (a partition-NNNNNNNN directory)."""


def _json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


def _table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    texts = ("kind", "id", "file", "what", "why", "name", "refused")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(
            column,
            justify="left" if column in texts else "right",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*(_shown(cell) for cell in row))
    # Lines are never cut: an id that one cannot copy is worth nothing.
    Console(width=LINE_WIDTH).print(table)


def _shown(cell: Any) -> str:
    from ambry.blob import NEVER_MS

    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "never" if cell == NEVER_MS else str(cell)


def _fail(error: Exception) -> None:
    click.echo(f"ambry store: {text_of(error)}", err=True)
    sys.exit(1)


@store.command()
@click.argument("directory", type=DIRECTORY)
@click.option("--output", type=OUTPUT, default="table", show_default=True)
def inspect(directory: Path, output: str) -> None:
    """Whose it is, its segments, its index, its tokens. Reads the whole log."""
    import msgspec

    from datanode.store.files import OsFiles
    from datanode.store.inspection import Inspection, locked

    files = OsFiles()
    try:
        with locked(files, directory):
            overview = Inspection(files, directory).overview()
    except (AmbryError, OSError) as error:
        _fail(error)
        return
    if output == "json":
        _json(overview)
        return
    click.echo(f"partition {overview.partition} of cluster {overview.cluster}, incarnation {overview.incarnation}")
    click.echo(f"index: {overview.entries} blobs, checkpoint at LSN {overview.checkpoint_lsn}", nl=False)
    click.echo(", cleanly stopped" if overview.checkpoint_clean else ", not cleanly stopped", nl=False)
    click.echo(", may say not-found" if overview.serving else ", has to catch up before it may say not-found")
    columns = ["segment", "generation", "sealed", "base_lsn", "end_lsn", "file_bytes", "records", "used_bytes", "gaps"]
    _table("Segments", columns, [list(msgspec.structs.astuple(line)) for line in overview.segments])
    for start, end in overview.missing_lsns:
        click.echo(f"no segment covers LSN {start} to {end}")
    for reason in overview.refused:
        click.echo(f"refused: {reason}")
    for name in overview.quarantined:
        click.echo(f"quarantined: {name}")
    for peer, lsn in sorted(overview.tokens.items()):
        click.echo(f"follows {peer} from LSN {lsn} on")


@store.command()
@click.argument("directory", type=DIRECTORY)
@click.option("--output", type=OUTPUT, default="table", show_default=True)
def verify(directory: Path, output: str) -> None:
    """Read everything and name every place where a bit is wrong. Exits with 1 when there is one."""
    from datanode.store.aside import of_replica
    from datanode.store.files import OsFiles
    from datanode.store.inspection import Inspection, locked
    from datanode.store.verification import find_problems

    files = OsFiles()
    try:
        with locked(files, directory):
            problems = list(find_problems(Inspection(files, directory)))
        aside = of_replica(files, directory, _now_ms())
    except (AmbryError, OSError) as error:
        _fail(error)
        return
    if output == "json":
        _json({"directory": str(directory), "ok": not problems, "problems": problems, "set_aside": aside})
    elif problems:
        _table("Problems", ["file", "offset", "what"], [[p.file, p.offset, p.what] for p in problems])
    else:
        click.echo(f"{directory}: every bit is right")
    if aside and output == "table":
        columns = ["name", "bytes", "seconds old", "why"]
        _table("Set aside, not of the replica", columns, [[i.name, i.size_bytes, i.age_s, i.why] for i in aside])
    sys.exit(1 if problems else 0)


def _now_ms() -> int:
    from ambry.clock import SystemClock

    return SystemClock().wall_ms()


@store.command()
@click.argument("directory", type=DIRECTORY)
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--although-only-copy", is_flag=True, help="Also a whole replica whose successor is not known to have caught up."
)
def drop(directory: Path, names: tuple[str, ...], although_only_copy: bool) -> None:
    """Delete what was set aside, by the names that `verify` lists it under. Nothing is deleted unless all of them are there.

    A whole replica goes only when the one in its place has caught up with its peers, as far as its last checkpoint says.
    """
    from datanode.store.aside import drop as delete
    from datanode.store.aside import of_replica
    from datanode.store.files import OsFiles
    from datanode.store.inspection import Inspection, locked

    files = OsFiles()
    try:
        with locked(files, directory):
            there = {item.name: item for item in of_replica(files, directory, _now_ms())}
            unknown = [name for name in names if name not in there]
            if unknown:
                raise InvalidRequest(
                    f"nothing of {directory} is set aside as {', '.join(unknown)}; `verify` lists what is"
                )
            wanted = [there[name] for name in dict.fromkeys(names)]
            if any(item.whole_replica for item in wanted) and not although_only_copy:
                Inspection(files, directory).expect_caught_up()
            for item in wanted:
                delete(files, directory, item)
                click.echo(f"dropped {item.name}, {item.size_bytes} bytes: {item.why}")
    except (AmbryError, OSError) as error:
        _fail(error)


@store.command()
@click.argument("directory", type=DIRECTORY)
@click.option("--output", type=OUTPUT, default="table", show_default=True)
@click.option("--segment", type=int, help="Only this segment.")
def dump(directory: Path, output: str, segment: int | None) -> None:
    """Every whole record of the log, one per line; never any content."""
    import msgspec

    from datanode.store.files import OsFiles
    from datanode.store.inspection import Inspection, locked

    files = OsFiles()
    try:
        with locked(files, directory):
            found = Inspection(files, directory)
            if segment is not None and segment not in (there := found.numbers()):
                raise InvalidRequest(
                    f"{directory} has no segment {segment}; it has {', '.join(map(str, sorted(there)))}"
                )
            lines = [line for line in found.records() if segment in (None, line.segment)]
    except (AmbryError, OSError) as error:
        _fail(error)
        return
    if output == "json":
        for line in lines:
            _json(line)
        return
    columns = [
        "segment",
        "offset",
        "lsn",
        "kind",
        "id",
        "size",
        "payload",
        "life",
        "deleted",
        "expires_at_ms",
        "written_at_ms",
        "refused",
    ]
    _table("Records", columns, [list(msgspec.structs.astuple(line)) for line in lines])


@click.group()
def replica() -> None:
    """Decide about the replicas of a running data node, through its admin port."""


def _admin(command: Any) -> Any:
    option = click.option("--admin", required=True, metavar="URL", help="The node's admin port, as http://host:port.")
    return operator_option(option(command))


_partition = click.option(
    "--partition", type=click.IntRange(min=0), required=True, metavar="N", help="Whose replica on that node."
)


@replica.command("accept-loss")
@click.argument("blobs", nargs=-1, required=True, metavar="ID...")
@_admin
@_partition
@click.option("--who", required=True, help="Who decides; it is written down.")
@click.option("--why", required=True, help="Why; it is written down.")
@click.option("--without", multiple=True, help="A node that need not answer, since it never comes back.")
def accept_loss(
    blobs: tuple[str, ...], admin: str, partition: int, who: str, why: str, without: tuple[str, ...]
) -> None:
    """Give blobs up that the node looks for (/wanted on its admin port) and that no replica holds: they are deleted."""
    wish = {"blobs": blobs, "who": who, "why": why, "without": without}
    said = _ask_node(admin, f"/partitions/{partition}/accept-loss", wish)
    for text in said["lost"]:
        click.echo(f"lost: {text}")
    for text in said["found"]:
        click.echo(f"found: {text}")


@replica.command()
@_admin
@_partition
def vouch(admin: str, partition: int) -> None:
    """Say that the replica's directory is what the node wrote last, not a backup: it then says "not found" again.

    For when the peers that would know cannot be asked for long.
    """
    _ask_node(admin, f"/partitions/{partition}/vouch", {})
    click.echo(f"partition {partition} may say not-found")


def _ask_node(admin: str, path: str, body: dict[str, Any]) -> Any:
    """What the admin port answers to a POST; ends the command where it refuses, or is not there."""
    from ambry.service.admin_client import AdminUnanswered, ask_admin

    try:
        return ask_admin(admin, "POST", path, timeout_s=OPERATOR_TIMEOUT_S, body=body, operator=operator())
    except AdminUnanswered as error:
        click.echo(f"ambry replica: {error}", err=True)
        sys.exit(1)


@store.command("rebuild-index")
@click.argument("directory", type=DIRECTORY)
def rebuild_index(directory: Path) -> None:
    """Delete the index and make it again from the log. The replica then catches up with its peers before it says not-found."""
    from ambry.clock import SystemClock, system_random
    from ambry.service import logs
    from datanode.store.files import OsFiles
    from datanode.store.inspection import Inspection
    from datanode.store.opening.steps import open_store

    logs.configure(level="warning")
    files = OsFiles()
    try:
        identity = Inspection(files, directory).identity
        opened = open_store(
            files,
            directory,
            cluster=identity.cluster,
            partition=identity.partition,
            segment_size_bytes=64 << 20,
            clock=SystemClock(),
            random_source=system_random(),
            rebuild=True,
        )
    except (AmbryError, OSError) as error:
        _fail(error)
        return
    click.echo(f"{directory}: {opened.opened.replayed} records replayed, {opened.opened.gaps} gaps")
    opened.close()
