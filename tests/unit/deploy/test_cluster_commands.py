"""`ambry cluster` is thin over deploy/local_cluster.py, which has its own tests; here: that it is wired up."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli.main import cli


def test_every_subcommand_explains_itself() -> None:
    listed = CliRunner().invoke(cli, ["cluster", "--help"])
    assert listed.exit_code == 0
    for name in ("up", "status", "down"):
        assert name in listed.output
        help = CliRunner().invoke(cli, ["cluster", name, "--help"])
        assert help.exit_code == 0
        assert "--dir" in help.output


@pytest.mark.parametrize("command", ["status", "down"])
def test_a_directory_that_holds_no_cluster_is_said_in_one_line(tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(cli, ["cluster", command, "--dir", str(tmp_path / "none")])
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    assert str(tmp_path / "none") in result.output


def test_what_is_refused_was_not_said_to_be_started(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["cluster", "up", "--workers", "0", "--dir", str(tmp_path / "none")])
    assert result.exit_code != 0 and "--workers 0" in result.output and "Starting" not in result.output
