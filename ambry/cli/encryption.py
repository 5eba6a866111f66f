"""`ambry encryption`: keys of encryption at rest, for administrators. No key is ever shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting, container_place
from ambry.cli.output import show_fields, show_rows, tell_done

if TYPE_CHECKING:
    from ambry.client.encryption import ContainerKeyInfo, ContainerKeysInfo

HEADER = ["VERSION", "STATE", "MADE", "WRAPPED BY"]


@click.group()
def encryption() -> None:
    """Keys of encryption at rest. CONTAINER is ACCOUNT/CONTAINER, or one in that of --account, else `default`."""


@encryption.command("show")
@click.argument("name", metavar="[CONTAINER]", required=False)
@connecting
@OUTPUT
def show(name: str | None, cluster: ChosenCluster, output: str) -> None:
    """Show who keeps the master keys, or every key that CONTAINER ever had."""
    with cluster.connect() as client:
        if name is None:
            told = client.encryption.provider()
            show_fields(
                {
                    "provider": told.name or "none: see [encryption] in the configuration of frontends",
                    "master_version": told.master_version,
                    "away": told.away,
                    "open_keys": told.open_keys,
                },
                output,
            )
            return
        found = client.encryption.show(*container_place(client, name))
    _show(found, output)


@encryption.command("rotate")
@click.argument("name", metavar="CONTAINER")
@connecting
@OUTPUT
def rotate(name: str, cluster: ChosenCluster, output: str) -> None:
    """Make another key for what is written to CONTAINER from now on. What is there stays readable with its own."""
    with cluster.connect() as client:
        found = client.encryption.rotate(*container_place(client, name))
    _show(found, output)


@encryption.command("rewrap")
@click.option("--step", type=click.IntRange(1, 1_000), default=100, show_default=True, help="Keys of one request.")
@connecting
@OUTPUT
def rewrap(step: int, cluster: ChosenCluster, output: str) -> int:
    """Have the newest master key wrap the keys of all containers. No blob is rewritten; call it again if it breaks off."""
    after: int | None = None
    done, already, failed = 0, 0, 0
    with cluster.connect() as client:
        while True:
            told = client.encryption.rewrap(after, limit=step)
            done, already, failed = done + told.rewrapped, already + told.already, failed + len(told.failed)
            for why in told.failed:
                click.echo(f"stays as it is: {why}", err=True)
            after = told.next
            if after is None:
                break
            click.echo(f"{done + already + failed} keys seen, {done} wrapped anew", err=True)
    if output == "json":
        tell_done(output, master_version=told.master_version, rewrapped=done, already=already, failed=failed)
        return 1 if failed else 0
    click.echo(
        f"master key {told.master_version}: {done} keys wrapped anew, {already} were already, {failed} stay as they are"
    )
    if not failed:
        click.echo(
            "no older version of the master key is needed here any more; other backups of the metadata may need it"
        )
    return 1 if failed else 0


@encryption.command("delete-key")
@click.argument("name", metavar="CONTAINER")
@click.option("--version", help="One key alone, such as 1.1, which others have superseded.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connecting
@OUTPUT
def delete_key(name: str, version: str | None, yes: bool, cluster: ChosenCluster, output: str) -> None:
    """Delete the keys of CONTAINER, or one: what they sealed is unreadable FOR EVER, in all datacenters.

    CONTAINER must be INACTIVE (`ambry container set CONTAINER --status INACTIVE`), or --version one that is superseded.
    """
    with cluster.connect() as client:
        account, container = container_place(client, name)
        place = f"{account}/{container}"
        # What is not there is refused without a question.
        if not yes and (version is None or _has(client.encryption.show(account, container), version)):
            what = "all keys" if version is None else f"the key {version}"
            click.echo(
                f"This deletes {what} of {place}. Nobody can read again what was encrypted with it: no undelete."
            )
            if _typed(f"Type {place} to go on") != place:
                raise click.ClickException("nothing was deleted")
        found = client.encryption.delete(account, container, version=version)
    _show(found, output)


def _has(found: ContainerKeysInfo, version: str) -> bool:
    return any(key.version == version for key in found.keys)


def _typed(question: str) -> str:
    """Raises click.UsageError where nobody is there to ask, click.Abort of somebody who leaves."""
    try:
        return str(click.prompt(question, default="", show_default=False))
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            raise
        raise click.UsageError(
            "`delete-key` asks before it deletes, and nobody is there to ask: nothing was deleted; --yes does it"
        ) from None


def _show(found: ContainerKeysInfo, output: str) -> None:
    if output == "table":
        state = "new blobs are encrypted" if found.encrypted else "new blobs are not encrypted"
        click.echo(f"{found.account}/{found.container}: {state}")
    show_rows(found.keys, output, HEADER, _row, _plain)


def _row(key: ContainerKeyInfo) -> list[str]:
    if key.deleted is not None:
        by = f" by {key.deleted_by}" if key.deleted_by else ""
        return [key.version, f"deleted for ever {key.deleted:%Y-%m-%d %H:%M:%S}Z{by}", "", ""]
    made = "" if key.made is None else f"{key.made:%Y-%m-%d %H:%M:%S}Z"
    return [key.version, "current" if key.current else "opens", made, f"{key.provider} {key.master_version}"]


def _plain(key: ContainerKeyInfo) -> Any:
    from msgspec import to_builtins

    return to_builtins(key)
