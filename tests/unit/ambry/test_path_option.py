"""Paths that commands are given: none is empty, and a directory is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ambry.cli.main import cli
from ambry.path_option import LocalPath


def paths_of(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, click.Parameter]]:
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            yield ctx.command_path, parameter
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if (each := command.get_command(ctx, name)) is not None:
                yield from paths_of(each, click.Context(each, parent=ctx, info_name=name))


def test_every_path_of_every_command_is_one_that_may_not_be_empty() -> None:
    """`-o "$UNSET"` wrote into the working directory."""
    found = list(paths_of(cli, click.Context(cli, info_name="ambry")))
    assert len(found) > 15
    assert [(command, each.name) for command, each in found if not isinstance(each.type, LocalPath)] == []


@pytest.mark.parametrize(
    "command", [["model", "get", "m"], ["get", "b"], ["dataset", "get", "d"], ["features", "wheel", ".", "n", "1.0.0"]]
)
def test_an_empty_one_is_refused(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, [*command, "-o", ""])
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "it is empty; write a path, or . for the working directory" in done.stderr


@pytest.mark.parametrize("command", [["model", "get", "m", "-o"], ["get", "b", "--output-dir"]])
def test_a_directory_is_none_that_leads_nowhere_nor_a_device(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (str(tmp_path / "link"), os.devnull):
        done = CliRunner().invoke(cli, [*command, path])
        assert done.exit_code == 2
        assert f"'{path}' is there already, and no directory; name another one" in done.stderr


def test_a_home_behind_an_equals_sign_is_that_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bash leaves the ~ of `--directory=~/x` as it is: a directory called ~ was made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LocalPath(path_type=Path).convert("~/x", None, None) == tmp_path / "x"
    assert LocalPath(path_type=Path).convert("~$open.docx", None, None) == Path("~$open.docx")


@pytest.mark.parametrize("command", [["experiment", "report", "ranker", "rows.csv"], ["health", "compare", "a", "b"]])
def test_a_report_that_cannot_be_written_is_told_before_the_work(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All was read and reckoned, and lost."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("unit\n1\n")
    done = CliRunner().invoke(cli, [*command, "-o", "nowhere/report.html"])
    assert done.exit_code == 2 and f"there is no directory '{tmp_path}/nowhere'; make it" in " ".join(
        done.stderr.split()
    )
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    done = CliRunner().invoke(cli, [*command, "-o", "report.html"])
    assert done.exit_code == 2 and f"nothing can be written in '{tmp_path}'; name" in " ".join(done.stderr.split())
