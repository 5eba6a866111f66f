"""The option `--operator` of commands that ask admin ports, which those that are not on loopback take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ambry.path_option import LocalPath

_META = "ambry.operator"


def _keep(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    context.meta[_META] = value


def operator_option(command: Any) -> Any:
    """Give a command the option; `operator` tells what it was given."""
    return click.option(
        "--operator",
        envvar="AMBRY_OPERATOR",
        show_envvar=True,
        expose_value=False,
        callback=_keep,
        metavar="FILE.crt",
        type=LocalPath(dir_okay=False, path_type=Path),
        help="An operator's certificate, for admin ports in TLS; FILE.key and authority.crt stand beside it.",
    )(command)


def operator() -> Path | None:
    """What the running command was given."""
    found: Path | None = click.get_current_context().meta.get(_META)
    return found
