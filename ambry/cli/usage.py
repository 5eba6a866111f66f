"""`ambry usage`: what is stored, and what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.output import show_rows

if TYPE_CHECKING:
    from ambry.client.usage import UsedByAccount, UsedByContainer, UsedByKey

BY_CONTAINER = ["BYTES", "OF", "BLOBS", "OF", "UPLOADS", "REQUESTS", "REFUSED", "BYTES IN", "BYTES OUT", "CONTAINER"]
BY_ACCOUNT = ["BYTES", "OF", "BLOBS", "OF", "ACCOUNT"]
BY_KEY = ["UPLOADS", "REQUESTS", "REFUSED", "BYTES IN", "BYTES OUT", "ID", "NAME"]


@click.command("usage")
@click.option("--keys", is_flag=True, help="By key, and not by container.")
@click.option("--accounts", is_flag=True, help="By account: what all its containers have, and its quota.")
@connecting
@OUTPUT
def usage(keys: bool, accounts: bool, cluster: ChosenCluster, output: str) -> None:
    """Show what containers have, and how often they were asked: those that the key has something in, or of these the ones
    that --account and --container name.

    Uploads are those in parts that are open, and requests all, at this datacenter; what was stored or deleted in the last
    half minute may not count yet.
    """
    from ambry.errors import ContainerNotFound  # not before it is needed

    if keys and accounts:
        raise click.UsageError("--keys or --accounts, one of them")
    if accounts and cluster.container:
        raise click.UsageError("--accounts shows all containers of an account together: leave --container out")
    if keys and (cluster.account or cluster.container):
        raise click.UsageError("--keys shows keys, of whichever account: leave --account and --container out")
    with cluster.connect() as client:
        found = client.usage()
    shown = [
        each
        for each in found.containers
        if cluster.account in (None, each.account) and cluster.container in (None, each.container)
    ]
    if not (keys or accounts or shown) and (cluster.account or cluster.container):
        raise ContainerNotFound(
            f"there is no container {cluster.account or '*'}/{cluster.container or '*'} that this key has anything in; "
            "`ambry account ls` shows accounts"
        )
    if keys:
        show_rows(found.keys, output, BY_KEY, _key_row, _plain)
    elif accounts:
        whole = [each for each in found.accounts if cluster.account in (None, each.account)]
        show_rows(whole, output, BY_ACCOUNT, _account_row, _plain)
        _tell_if_none(whole, "account", cluster)
    else:
        show_rows(shown, output, BY_CONTAINER, _container_row, _plain)
        _tell_if_none(shown, "container", cluster)
    if found.partitions_missing:
        click.echo(f"of {len(found.partitions_missing)} partitions nobody tells what they hold now", err=True)


def _tell_if_none(shown: Sequence[object], what: str, cluster: ChosenCluster) -> None:
    if not (shown or cluster.quiet):
        click.echo(
            f"this key has no role for everything in any {what}, so it is told of none; `ambry key show` says what it may",
            err=True,
        )


def _account_row(found: UsedByAccount) -> list[str]:
    return [str(found.bytes), _bound(found.quota_bytes), str(found.blobs), _bound(found.quota_blobs), found.account]


def _container_row(found: UsedByContainer) -> list[str]:
    return [
        str(found.bytes),
        _bound(found.quota_bytes),
        str(found.blobs),
        _bound(found.quota_blobs),
        *map(str, (found.open_uploads, found.requests, found.refused, found.bytes_in, found.bytes_out)),
        f"{found.account}/{found.container}",
    ]


def _key_row(found: UsedByKey) -> list[str]:
    return [
        *map(str, (found.open_uploads, found.requests, found.refused, found.bytes_in, found.bytes_out)),
        found.id,
        found.name,
    ]


def _bound(quota: int | None) -> str:
    return "-" if quota is None else str(quota)


def _plain(found: UsedByAccount | UsedByContainer | UsedByKey) -> Any:
    import msgspec  # which `ambry --help` does without

    return {name: value for name, value in msgspec.structs.asdict(found).items() if value is not None}
