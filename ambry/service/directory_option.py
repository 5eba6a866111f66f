"""The option `--dir` of commands about a cluster on this machine, which AMBRY_CLUSTER_DIR stands in for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource

from ambry.path_option import LocalPath

T = TypeVar("T")

VARIABLE = "AMBRY_CLUSTER_DIR"


def _not_beside(other: str | None) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    def callback(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
        by_variable = context.get_parameter_source(str(parameter.name)) is ParameterSource.ENVIRONMENT
        return None if by_variable and other is not None and context.params.get(other) else value

    return callback


def directory_option(
    help: str, *, required: bool = False, instead_of: str | None = None
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """The option; the command gets it as `directory`. The variable says nothing where the parameter `instead_of` is given."""
    return click.option(
        "--dir",
        "directory",
        required=required,
        metavar="D",
        envvar=VARIABLE,
        show_envvar=True,
        callback=_not_beside(instead_of),
        type=LocalPath(file_okay=False, path_type=Path),
        help=help,
    )
