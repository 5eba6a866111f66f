"""What two commands take alike."""

from __future__ import annotations

from datetime import timedelta

import click
import pytest
from click.testing import CliRunner

from ambry.cli.unused_parts import age_of, unused_options


@click.command()
@unused_options("Only those that nobody has.", "they may be new.")
def command(unused: bool, delete: bool, older: int | None) -> None:
    click.echo(f"{unused} {delete} {older}")


def test_options_are_three_and_a_week_is_the_age() -> None:
    run = CliRunner().invoke
    assert run(command, []).output == f"False False {7 * 24 * 3600}\n"
    assert run(command, ["--unused", "--delete", "--older", "1h"]).output == "True True 3600\n"
    told = " ".join(run(command, ["--help"]).output.split())
    assert "Only those that nobody has." in told and "so long ago: they may be new." in told
    assert told.index("--unused") < told.index("--delete") < told.index("--older")


def test_what_is_deleted_is_unused_and_has_an_age() -> None:
    assert age_of(True, True, 60) == timedelta(minutes=1)
    for unused, delete, older, words in (
        (False, True, 60, "of --unused parts alone"),
        (True, True, None, "older than forever"),
    ):
        with pytest.raises(click.UsageError, match=words):
            age_of(unused, delete, older)
