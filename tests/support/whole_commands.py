"""Whole commands of `ambry`, in this process: what they say, and how they end."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from ambry.cli.main import cli


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args, prog_name="ambry")


def said(*args: str) -> str:
    """Of a command that ends well."""
    done = run(*args)
    assert done.exit_code == 0, done.output
    return done.stdout


def lines(*args: str) -> list[Any]:
    """Of a command that ends well, in JSON."""
    return [json.loads(line) for line in said(*args, "--json").splitlines()]


def told(*args: str) -> Any:
    """The one document of a command that ends well."""
    return json.loads(said(*args, "--json"))
