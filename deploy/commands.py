"""`ambry cluster`: a whole cluster on this machine, to try and to break. Thin over deploy/local_cluster.py.

That is imported by the commands that run: `ambry --help` lists this group too and needs nothing of it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.address import authority
from ambry.cli.interrupts import signals_interrupt
from ambry.cli.standard_streams import check_read
from ambry.service.directory_option import directory_option

if TYPE_CHECKING:
    from deploy.local_cluster import LocalCluster
    from deploy.local_members import Status

EXIT_PARTLY = 3
"""A process serves, but not all of what it holds."""
EXIT_INTERRUPTED = 130

_directory = directory_option("The cluster's directory: its data, configuration and logs.", required=True)


@click.group()
def cluster() -> None:
    """Run a whole cluster on this machine: real processes on loopback."""


@cluster.command()
@_directory
@click.option("--datacenters", type=int, metavar="N", help="Datacenters, named dc1, dc2, ...  [default: 2]")
@click.option("--nodes", type=int, metavar="N", help="Data nodes in each datacenter.  [default: 3]")
@click.option("--frontends", type=int, metavar="N", help="Frontends in each datacenter.  [default: 1]")
@click.option("--workers", type=int, metavar="N", help="Processes of each frontend, on one port.  [default: 1]")
@click.option("--partitions", type=int, metavar="N", help="Partitions of the cluster.  [default: 8]")
@click.option(
    "--port-base", type=int, metavar="PORT", help="dc1 uses the 100 ports from PORT+100.  [default: 17000; 0: any free]"
)
@click.option(
    "--no-auth", is_flag=True, help="Ask for no keys: whoever is on this machine reads and deletes everything."
)
@click.option("--tls", is_flag=True, help="Speak TLS everywhere, with certificates in D/certs.")
@click.option("--detach", is_flag=True, help="Return when the cluster is ready and leave it running.")
def up(
    directory: Path,
    datacenters: int | None,
    nodes: int | None,
    frontends: int | None,
    workers: int | None,
    partitions: int | None,
    port_base: int | None,
    no_auth: bool,
    tls: bool,
    detach: bool,
) -> None:
    """Start a cluster, or what is missing of the one in D.

    Requests need a key: an administrator's is made (D/admin.key), and stands in D/profile.toml and in the profile `local`
    of ~/.config/ambry/config.toml, where the commands and the Python client find it.

    A directory that holds a cluster starts it again with its data and its shape; --workers may be another number
    when no frontend runs. Without --detach the command stays,
    reports processes that end, and Ctrl-C stops everything.
    """
    from deploy.first_steps import first_steps, with_keys
    from deploy.local_cluster import LocalCluster

    local = LocalCluster(
        directory,
        datacenters=datacenters,
        nodes=nodes,
        frontends=frontends,
        partitions=partitions,
        port_base=port_base,
        workers=workers,
        auth=False if no_auth else with_keys(directory),
        tls=tls or None,
        detach=detach,
        report=_say,
    )
    with _failures_shown(directory), signals_interrupt():
        try:
            started = local.up()
            joined = len(started) < len(local.members)
            if not started:
                _say("It runs already; nothing to start.")
            elif joined:
                _say(f"It runs already; started what was missing: {', '.join(started)}.")
            stays = not (detach or joined)
            _show(local, local.status())
            click.echo(first_steps(local, stays=stays))
        except KeyboardInterrupt:
            _say("Interrupted; what had been started is stopped again.")
            sys.exit(EXIT_INTERRUPTED)
        if stays:
            _stay(local)


@cluster.command()
@_directory
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(directory: Path, output: str) -> None:
    """Show every process: ready, not ready (and why), paused or down."""
    from deploy.local_cluster import LocalCluster

    local = LocalCluster(directory)
    with _failures_shown(directory):
        found = local.status()
        if output == "json":
            click.echo(_status_json(local, found))
        else:
            _show(local, found)


@cluster.command()
@_directory
@click.argument("name")
@click.option(
    "--signal",
    "signal_name",
    type=click.Choice(["KILL", "TERM", "STOP", "CONT"], case_sensitive=False),
    default="KILL",
    show_default=True,
)
def kill(directory: Path, name: str, signal_name: str) -> None:
    """Send a signal to the process NAME; KILL and TERM return when it is gone."""
    from deploy.local_cluster import LocalCluster, signal_number

    number = signal_number(signal_name)
    with _failures_shown(directory):
        LocalCluster(directory).kill(name, number)
    done = {signal.SIGSTOP: "is paused", signal.SIGCONT: "runs on"}.get(number, "is gone")
    _say(f"{name} {done}.")


@cluster.command()
@_directory
@click.argument("name")
def start(directory: Path, name: str) -> None:
    """Start the process NAME again and wait until it is ready.

    Exits with 3 when it serves, but for replicas that stay closed until somebody sees to them; each is named with the reason.
    """
    from deploy.local_cluster import LocalCluster

    local = LocalCluster(directory, detach=True, report=_say)
    with _failures_shown(directory):
        started = local.start(name)
        closed = local.status([name])[0].closed
    if started and closed:
        _say(f"{name} has started without {len(closed)} of its replicas.")
        sys.exit(EXIT_PARTLY)
    _say(f"{name} is ready." if started else f"{name} runs already.")


@cluster.command()
@_directory
def down(directory: Path) -> None:
    """Stop every process, frontends first; the data stays in D."""
    from deploy.local_cluster import LocalCluster

    local = LocalCluster(directory, report=_say)
    with _failures_shown(directory):
        stopped = local.down() if local.shape else []
    _say(f"Stopped {', '.join(stopped)}." if stopped else "Nothing ran.")


def _stay(local: LocalCluster) -> None:
    """Stay in the foreground until an interrupt, until whoever reads what is printed has gone, or until nothing runs any more;
    leaves nothing running.
    """
    from deploy.local_layout import LocalClusterError

    try:
        local.supervise(check_read)
        if local.describe().state == "up":
            raise LocalClusterError("every process has ended")
        _say("The cluster was stopped from elsewhere.")
    except KeyboardInterrupt:
        _say("Stopping the cluster (once more Ctrl-C: kill it) ...")
    finally:
        try:
            local.down()
        except KeyboardInterrupt:
            local.down(term_timeout_s=0)
    _say(f"Stopped. The data is in {local.directory}.")


def _show(local: LocalCluster, found: list[Status]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    colours = {"ready": "green", "not ready": "yellow", "paused": "yellow", "down": "red"}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("process", "state", "pid", "address", "admin"):
        table.add_column(heading, no_wrap=True)
    for entry in found:
        member = entry.member
        table.add_row(
            member.name,
            f"[{colours[entry.state]}]{entry.state}[/]",
            str(entry.pid or "-"),
            member.url if member.role == "frontend" else authority(member.host, member.port),
            member.admin_url,
        )
    Console(highlight=False).print(table)
    for entry in found:
        if entry.detail:
            click.echo(f"{entry.member.name}: {entry.detail}")
        for warning in entry.warnings:
            click.echo(f"{entry.member.name}: warning: {warning}")
    click.echo(f"Logs: {local.directory}/<process>/log.jsonl")


def _status_json(local: LocalCluster, found: list[Status]) -> str:
    """The content of cluster.json, with the state of every process as it is now."""
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(local.describe())
    now = {entry.member.name: entry for entry in found}
    for datacenter in document["datacenters"]:
        for process in (*datacenter["frontends"], *datacenter["nodes"]):
            entry = now[process["name"]]
            process |= {"pid": entry.pid, "state": entry.state, "detail": entry.detail, "warnings": entry.warnings}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


@contextlib.contextmanager
def _failures_shown(directory: Path) -> Iterator[None]:
    from deploy.local_layout import LocalClusterError

    try:
        yield
    except LocalClusterError as cause:
        raise click.ClickException(str(cause)) from cause
    except BrokenPipeError:
        raise  # `ambry cluster status | head -1`: no trouble of the cluster
    except OSError as cause:
        raise click.ClickException(f"cannot use {cause.filename or directory}: {cause.strerror or cause}") from cause


def _say(message: str) -> None:
    click.echo(message, err=True)
