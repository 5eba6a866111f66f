"""`ambry replication`: how far replicas are behind each other, whether they hold the same, and getting what is missing.

Asks the admin ports of data nodes: those named with --admin, or all of a local cluster. Each node answers for its own replicas,
so only with all of them asked is the answer about the cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from ambry.service.directory_option import directory_option
from ambry.service.operator_option import operator, operator_option

EXIT_DIFFERENT = 1
TIMEOUT_S = 300.0
"""Of one request: comparing a partition may wait for what is on its way, and for bytes."""
LINE_WIDTH = 160
LINES_MAX = 20
"""Of a table: one wiped node among 1,000 partitions would fill thousands of them with the same."""
Command = Callable[..., None]


class NodePort(NamedTuple):
    """The admin port of a data node: the name to show, and where it is."""

    name: str
    url: str


def _common(command: Command) -> Command:
    for option in (
        operator_option,
        click.option("--admin", "admins", multiple=True, metavar="URL", help="A data node's admin port; repeat it."),
        directory_option("All data nodes of the local cluster in D.", instead_of="admins"),
        click.option("--partition", type=click.IntRange(min=0), metavar="N", help="This partition alone."),
        click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True),
    ):
        command = option(command)
    return command


@click.group()
def replication() -> None:
    """Whether the replicas of all partitions hold the same."""


@replication.command()
@_common
@click.option("--all", "everything", is_flag=True, help="Show also the replicas that are not behind.")
def lag(admins: tuple[str, ...], directory: Path | None, partition: int | None, output: str, everything: bool) -> None:
    """Show how far replicas are behind their peers' logs, in bytes, and when they last heard of them.

    Exits with 1 when a node could not be asked.
    """
    lines: list[dict[str, Any]] = []
    copied: list[dict[str, Any]] = []
    failed: list[str] = []
    for node, pages in _pages(admins, directory, partition, failed):
        for page in pages:
            if "peers" not in page:
                failed.append(f"{node.name}: partition {page['partition']} is {page['state']}")
            if page.get("bootstrap"):
                copied.append({"node": node.name, **page["bootstrap"]})
            for peer, cursor in page.get("peers", {}).items():
                lines.append(
                    {
                        "node": node.name,
                        "partition": page["partition"],
                        "peer": peer,
                        "lag_bytes": cursor["lag_bytes"],
                        "lag_s": cursor["lag_s"],
                        "silent_s": cursor["silent_s"],
                        "outstanding": cursor["outstanding"],
                        "connected": cursor["connected"],
                        "caught_up": cursor["caught_up"],
                    }
                )
    if output == "json":
        _print_json({"replicas": lines, "copied": copied, "failed": failed})
    else:
        behind = [line for line in lines if line["lag_bytes"] or line["outstanding"] or not line["connected"]]
        behind.sort(key=lambda line: -line["lag_bytes"])
        _print_table(lines if everything else behind, lines_max=None if everything else LINES_MAX)
        _show_copied(copied)
        click.echo(f"{len(behind)} of {len(lines)} pairs of replicas behind or not connected")
    _end(failed, different=False)


@replication.command()
@_common
def verify(admins: tuple[str, ...], directory: Path | None, partition: int | None, output: str) -> None:
    """Compare every replica with its peers now, and change nothing.

    Exits with 1 when anything is missing or known to be damaged anywhere, or could not be compared.
    """
    found = _compare("verify", admins, directory, partition)
    _show(found, output)
    _end(found.failed, different=bool(found.damaged) or not all(line["complete"] for line in found.lines))


@replication.command()
@_common
def repair(admins: tuple[str, ...], directory: Path | None, partition: int | None, output: str) -> None:
    """Compare every replica with its peers now, and get what is missing.

    Exits with 1 when something still is, or could not be compared.
    """
    found = _compare("repair", admins, directory, partition)
    _show(found, output)
    left = any(
        line["lacking"] > line["repaired"] or line["undecided"] or line["doubtful"] or line["more"]
        for line in found.lines
    )
    _end(found.failed, different=left or bool(found.damaged))


class NodeAnswers(NamedTuple):
    """What nodes said: a line for each pair of replicas; known damaged copies; who could not be asked, and why."""

    lines: list[dict[str, Any]]
    damaged: list[dict[str, Any]]
    failed: list[str]


def _compare(what: str, admins: tuple[str, ...], directory: Path | None, partition: int | None) -> NodeAnswers:
    found = NodeAnswers([], [], [])
    for node, pages in _pages(admins, directory, partition, found.failed):
        for page in sorted(pages, key=lambda page: int(page["partition"])):
            number = page["partition"]
            if count := page.get("damaged"):
                found.damaged.append({"node": node.name, "partition": number, "damaged": count})
            said = _ask(node, "POST", f"/partitions/{number}/{what}", found.failed) or ()
            found.lines.extend({"node": node.name, **line} for line in said)
    return found


def _pages(
    admins: tuple[str, ...], directory: Path | None, partition: int | None, failed: list[str]
) -> Iterator[tuple[NodePort, list[dict[str, Any]]]]:
    """What each node that answers says of its replicas, or of that of `partition` alone, which one of them must hold."""
    held = partition is None
    silent = len(failed)
    for node in _nodes(admins, directory):
        pages = _ask(node, "GET", "/partitions", failed)
        silent += pages is None
        found = [page for page in pages or () if partition in (None, page["partition"])]
        held = held or bool(found)
        yield node, found
    if not held and not silent:
        failed.append(f"none of these nodes holds partition {partition}")


def _nodes(admins: tuple[str, ...], directory: Path | None) -> Iterator[NodePort]:
    if bool(admins) == (directory is not None):
        raise click.UsageError("name the data nodes: --admin URL for each of them, or --dir D of a local cluster")
    yield from (NodePort(url, url) for url in admins)
    if directory is not None:
        from deploy.local_cluster import LocalCluster
        from deploy.local_layout import LocalClusterError

        try:
            members = LocalCluster(directory).members
        except LocalClusterError as cause:
            raise click.ClickException(str(cause)) from cause
        yield from (NodePort(member.name, member.admin_url) for member in members if member.role == "datanode")


def _ask(node: NodePort, method: str, path: str, failed: list[str]) -> list[dict[str, Any]] | None:
    """What a node answers; None where it does not, and why is in `failed`."""
    from ambry.service.admin_client import AdminUnanswered, ask_admin

    try:
        found: list[dict[str, Any]] = ask_admin(node.url, method, path, timeout_s=TIMEOUT_S, operator=operator())
    except AdminUnanswered as cause:
        failed.append(str(cause) if node.name == node.url else f"{node.name}: {cause}")
        return None
    return found


def _show(found: NodeAnswers, output: str) -> None:
    lines = found.lines
    lacking = [line for line in lines if not line["complete"]]
    if output == "json":
        told = {"compared": len(lines), "lacking": lacking, "damaged": found.damaged, "failed": found.failed}
        _print_json(told)
        return
    lacking.sort(key=lambda line: (-line["lacking"], -line["doubtful"], not line["more"]))
    _print_table([{name: value for name, value in line.items() if name != "complete"} for line in lacking], LINES_MAX)
    undecided = sum(bool(line["undecided"]) for line in lines)
    said = f"{len(lines) - undecided} pairs of replicas compared, {len(lines) - len(lacking)} lack nothing"
    click.echo(said + (f"; {undecided} could not be compared yet, try those again later" if undecided else ""))
    if any(line["more"] for line in lines):
        click.echo("where it says more, the numbers are only of what was looked at: repair, and compare again")
    if found.damaged:
        # A damaged copy is in the index as a sound one is, so digests do not tell.
        copies = sum(item["damaged"] for item in found.damaged)
        where = ", ".join(dict.fromkeys(item["node"] for item in found.damaged))
        click.echo(
            f"{copies} copies are damaged and looked for elsewhere: /wanted on the admin ports of {where} says which"
        )


def _show_copied(copied: list[dict[str, Any]]) -> None:
    """The replicas that are copied whole, or wait for it: their lag falls only after that."""
    for item in copied:
        where = f"{item['node']}: partition {item['partition']}"
        peers = ", ".join(item["peers"])
        if item["state"] == "waiting":
            click.echo(f"{where} waits to be copied from {peers}: about {item['bytes_to_go']} bytes")
            continue
        left = "" if item["seconds_to_go"] is None else f", {item['seconds_to_go']} s"
        click.echo(
            f"{where} is being copied from {peers}: {item['bytes']} bytes at {item['bytes_per_s']} bytes/s, "
            f"about {item['bytes_to_go']} to go{left}"
        )


def _print_json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


def _print_table(lines: list[dict[str, Any]], lines_max: int | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not lines:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in lines[0]:
        table.add_column(name, no_wrap=name != "undecided")
    for line in lines[:lines_max]:
        table.add_row(*(_shown(value) for value in line.values()))
    Console(highlight=False, width=LINE_WIDTH).print(table)
    if lines_max is not None and len(lines) > lines_max:
        click.echo(f"and {len(lines) - lines_max} more; --output json has them all")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _end(failed: list[str], *, different: bool) -> None:
    for why in failed:
        click.echo(f"ambry replication: {why}", err=True)
    if failed or different:
        sys.exit(EXIT_DIFFERENT)
