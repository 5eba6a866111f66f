from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ambry.service.directory_option import directory_option


@click.command()
@click.option("--admin", "admins", multiple=True)
@directory_option("All of it.", instead_of="admins")
def command(admins: tuple[str, ...], directory: Path | None) -> None:
    click.echo(f"{list(admins)} {directory}")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "[] /by/variable"),
        (["--dir", "/said"], "[] /said"),
        (["--admin", "x"], "['x'] None"),
        (["--admin", "x", "--dir", "/said"], "['x'] /said"),
    ],
)
def test_the_variable_stands_in_where_nothing_is_said(args: list[str], said: str) -> None:
    done = CliRunner().invoke(command, args, env={"AMBRY_CLUSTER_DIR": "/by/variable"})
    assert done.output.strip() == said
