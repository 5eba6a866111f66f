"""`ambry account` and `ambry container`: list, show, make and change them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.arguments import (
    NO_BOUND,
    OUTPUT,
    ChosenCluster,
    as_quota,
    connecting,
    container_place,
    date_of,
    without_bounds,
)
from ambry.cli.output import show_fields, show_rows

if TYPE_CHECKING:
    from ambry.client.accounts import AccountInfo, ContainerInfo

T = TypeVar("T")


def as_date(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Milliseconds since 1970 of `2027-01-31` or `2027-01-31T12:00:00+01:00`; UTC where no zone is said."""
    if value is None:
        return None
    try:
        return int(date_of(value).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is no date; use 2027-01-31 or 2027-01-31T12:00:00+01:00") from None


def container_settings(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say what holds in a container; those that are not given are None."""
    for option in (
        click.option("--description"),
        click.option("--lock-until", callback=as_date, metavar="DATE", help="Until then nothing is deleted."),
        click.option("--allow-origin", metavar="ORIGINS", help="Whose pages may use it: a list with commas, or *."),
        click.option("--audit-reads/--no-audit-reads", default=None, help="Whether the audit tells of reads too."),
        click.option("--strict-reads/--no-strict-reads", default=None, help="No read shows what was deleted before."),
        click.option(
            "--durability", type=click.Choice(["memory", "disk", "geo"]), help="Where an upload says nothing."
        ),
        click.option(
            "--names", type=click.Choice(["DISABLED", "OPTIONAL", "NO_UPDATE"]), help="What names may be used for."
        ),
        click.option("--ttl-required/--no-ttl-required", default=None, help="Whether no blob lives for ever."),
        click.option("--cacheable/--no-cacheable", default=None, help="Whether caches may keep blobs."),
        click.option(
            "--private/--no-private",
            default=None,
            help="--no-private: everybody reads it, without a key, and caches that many share may keep it.",
        ),
        click.option(
            "--encrypted/--no-encrypted",
            default=None,
            help="Whether new blobs are encrypted where they lie (`ambry encryption`).",
        ),
        click.option("--status", type=click.Choice(["ACTIVE", "INACTIVE"])),
    ):
        command = option(command)
    return quotas(command)


def quotas(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say what a container may have, or all of an account together."""
    for option in (
        click.option("--quota-blobs", callback=as_quota, metavar="N", help="Blobs it may have; none for no bound."),
        click.option("--quota-bytes", callback=as_quota, metavar="SIZE", help="10GiB, say; none for no bound."),
    ):
        command = option(command)
    return command


_SETTINGS = {
    "private": "is_private",
    "names": "named_blob_mode",
    "durability": "default_durability",
    "allow_origin": "access_control_allow_origin",
    "lock_until": "retention_lock_until",
}


def said(options: dict[str, Any]) -> dict[str, Any]:
    """The settings that options say, by the names of the client."""
    return {_SETTINGS.get(name, name): value for name, value in without_bounds(options).items()}


@click.group()
def account() -> None:
    """Accounts: who has containers."""


@account.command("ls")
@connecting
@OUTPUT
def ls_accounts(cluster: ChosenCluster, output: str) -> None:
    """List accounts."""
    with cluster.connect() as client:
        found = client.accounts()
    _show(found, output, ["ID", "STATUS", "CONTAINERS", "BYTES MAX", "BLOBS MAX", "NAME"], _account_row)


@account.command("show")
@click.argument("name")
@connecting
@OUTPUT
def show_account(name: str, cluster: ChosenCluster, output: str) -> None:
    """Show an account and its containers."""
    with cluster.connect() as client:
        found = client.account(name)
    _show_one(found, output)
    if output == "table" and found.containers:
        click.echo()
        _show(found.containers, output, ["ID", "STATUS", "NAME"], _container_row)


@account.command("create")
@click.argument("name")
@click.option("--status", type=click.Choice(["ACTIVE", "INACTIVE"]))
@quotas
@connecting
@OUTPUT
def create_account(name: str, cluster: ChosenCluster, output: str, **options: Any) -> None:
    """Make an account."""
    with cluster.connect() as client:
        _show_one(client.create_account(name, **said(options)), output)


@account.command("set")
@click.argument("name")
@click.option("--status", type=click.Choice(["ACTIVE", "INACTIVE"]))
@quotas
@click.option(
    "--at-version",
    "snapshot_version",
    type=int,
    help="Only if it is still at this snapshot_version, as `show` tells it.",
)
@connecting
@OUTPUT
def set_account(name: str, cluster: ChosenCluster, output: str, snapshot_version: int | None, **options: Any) -> None:
    """Change an account; what is not said stays."""
    with cluster.connect() as client:
        _show_one(client.update_account(name, snapshot_version=snapshot_version, **said(options)), output)


@click.group()
def container() -> None:
    """Containers: what holds for the blobs in them. NAME is ACCOUNT/CONTAINER, or one in that of --account, else `default`."""


@container.command("ls")
@connecting
@OUTPUT
def ls_containers(cluster: ChosenCluster, output: str) -> None:
    """List the containers of an account."""
    with cluster.connect() as client:
        found = client.account(client.default_account).containers
    _show(found, output, ["ID", "STATUS", "NAME"], _container_row)


@container.command("show")
@click.argument("name")
@connecting
@OUTPUT
def show_container(name: str, cluster: ChosenCluster, output: str) -> None:
    """Show what holds in a container."""
    with cluster.connect() as client:
        _show_one(client.container(*container_place(client, name)), output)


@container.command("create")
@click.argument("name")
@container_settings
@connecting
@OUTPUT
def create_container(name: str, cluster: ChosenCluster, output: str, **options: Any) -> None:
    """Make a container."""
    with cluster.connect() as client:
        account, name = container_place(client, name)
        _show_one(client.create_container(account, name, **said(options)), output)
        _warn(account, name, options)


@container.command("set")
@click.argument("name")
@click.option(
    "--at-version",
    "snapshot_version",
    type=int,
    help="Only if it is still at this snapshot_version, as `show` tells it.",
)
@click.option(
    "--unsay-private",
    is_flag=True,
    help="As if neither --private nor --no-private had ever been said: private, but where no keys are asked for.",
)
@container_settings
@connecting
@OUTPUT
def set_container(
    name: str,
    cluster: ChosenCluster,
    output: str,
    snapshot_version: int | None,
    unsay_private: bool,
    **options: Any,
) -> None:
    """Change what holds in a container; what is not said stays."""
    if unsay_private:
        if options["private"] is not None:
            raise click.UsageError("--unsay-private, or --private or --no-private: one of them")
        options["private"] = NO_BOUND
    with cluster.connect() as client:
        account, name = container_place(client, name)
        _show_one(client.update_container(account, name, snapshot_version=snapshot_version, **said(options)), output)
        _warn(account, name, options)


def _warn(account: str, name: str, options: dict[str, Any]) -> None:
    if options["private"] is False:
        click.echo(
            f"ambry: everybody who reaches a frontend reads {account}/{name} now, without a key; --private ends that",
            err=True,
        )


def _account_row(found: AccountInfo) -> list[str]:
    settings = found.settings
    bounds = ("-" if each is None else str(each) for each in (settings.quota_bytes, settings.quota_blobs))
    return [str(found.id), settings.status.value, str(len(found.containers)), *bounds, found.name]


def _container_row(found: ContainerInfo) -> list[str]:
    return [str(found.id), found.settings.status.value, found.name]


def _show(found: Sequence[T], output: str, header: Sequence[str], row: Callable[[T], list[str]]) -> None:
    show_rows(found, output, header, row, _plain)


def _show_one(found: AccountInfo | ContainerInfo, output: str) -> None:
    fields = _plain(found)
    if output == "table":
        fields |= fields.pop("settings")
        fields.pop("containers", None)
    show_fields(fields, output)


def _plain(value: object) -> Any:
    """As JSON has it."""
    # Not before it is needed, so that `ambry --help` is quick.
    from msgspec import to_builtins

    return to_builtins(value)
