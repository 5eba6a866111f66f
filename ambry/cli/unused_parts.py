"""What commands that list parts, and delete those that no version has, are asked with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

from ambry.cli.arguments import as_duration

Command = TypeVar("Command", bound=Callable[..., Any])


def unused_options(unused: str, still_there: str) -> Callable[[Command], Command]:
    """--unused, --delete and --older, as `unused`, `delete` and `older`."""

    def added(command: Command) -> Command:
        for option in (
            click.option(
                "--older",
                default="7d",
                show_default=True,
                metavar="TIME",
                callback=as_duration,
                help=f"Delete only what was stored so long ago: {still_there}",
            ),
            click.option("--delete", is_flag=True, help="With --unused: delete them, and list those that are gone."),
            click.option("--unused", is_flag=True, help=unused),
        ):
            command = option(command)
        return command

    return added


def age_of(unused: bool, delete: bool, older: int | None) -> timedelta:
    """How old what is deleted has to be. Raises UsageError for options that do not go together."""
    if delete and not unused:
        raise click.UsageError("--delete is of --unused parts alone")
    if older is None:
        raise click.UsageError("nothing is older than forever; say how old, such as --older 7d")
    return timedelta(seconds=older)
