"""Grants as the command line takes and tells them, and what it says of those that may be meant otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from ambry.errors import AccountNotFound, AmbryError, ContainerNotFound

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.rest.access import Grant


class GrantType(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.5
    """`ROLES[@ACCOUNT[/CONTAINER[/PREFIX]]]`."""

    name = "grant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Grant:
        from ambry.errors import InvalidRequest
        from ambry.rest.access import ALL_ROLES, ANY, Grant, role_of, role_texts

        if isinstance(value, Grant):
            return value
        roles, at, place = str(value).partition("@")
        names = role_texts(ALL_ROLES) if roles == "all" else [each for each in roles.split(",") if each]
        account, slash, rest = place.partition("/")
        container, _, prefix = rest.partition("/")
        # A variable that is not set would give what it names away everywhere.
        if (at and not account) or (slash and not container):
            self.fail(
                f"the place {place!r} leaves an account or a container empty; write * for all of them", param, ctx
            )
        try:
            role_of(names)
        except InvalidRequest as error:
            self.fail(f"{error.message}, or all", param, ctx)
        if not names:
            self.fail("a grant has roles, such as read,write@ml/models", param, ctx)
        return Grant(roles=tuple(names), account=account or ANY, container=container or ANY, prefix=prefix)


GRANTS = click.option(
    "--grant",
    "grants",
    multiple=True,
    type=GrantType(),
    metavar="ROLES[@ACCOUNT[/CONTAINER[/PREFIX]]]",
    help="Roles (read,write,delete,name,admin; all) everywhere, or in one place; may be repeated.",
)


def tell_missing(client: AmbryClient, grants: Iterable[Grant]) -> None:
    """Warn of places that are not there: they may come later, or be mistyped. What cannot be asked is not told."""
    from ambry.rest.access import ANY

    places = {(each.account, each.container) for each in grants if each.account != ANY}
    for account, container in sorted(places):
        try:
            if container == ANY:
                client.account(account)
            else:
                client.container(account, container)
        except (AccountNotFound, ContainerNotFound):
            missing = f"account {account}" if container == ANY else f"container {account}/{container}"
            click.echo(
                f"ambry: there is no {missing} yet: the key may do nothing there until there is; ambry account ls",
                err=True,
            )
        except AmbryError:
            continue


def tell_doubtful(grants: tuple[Grant, ...]) -> None:
    """Say what a prefix gives where somebody may have meant a folder, or a pattern."""
    for each in grants:
        if "*" in each.prefix:
            told = f"the * stands for itself in names; {each.prefix.partition('*')[0]!r} is the prefix of all that begin so"
        elif each.prefix and not each.prefix.endswith("/"):
            told = f"it gives every name that begins so, {each.prefix + '-other'!r} too; {each.prefix + '/'!r} is that folder"
        else:
            continue
        click.echo(f"ambry: {text_of(each)}: {told}", err=True)


def text_of(grant: Grant) -> str:
    from ambry.rest.access import ALL_ROLES, ANY, role_of

    roles = "all" if role_of(grant.roles) == ALL_ROLES else ",".join(grant.roles)
    place = (
        f"{grant.account}/{grant.container}/{grant.prefix}" if grant.prefix else f"{grant.account}/{grant.container}"
    )
    return roles if (grant.account, grant.container, grant.prefix) == (ANY, ANY, "") else f"{roles}@{place}"
