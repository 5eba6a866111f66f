"""What shells complete, asked as they ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import ambry
from ambry.cli.main import cli


def completed(words: str, number: int) -> list[str]:
    env = {
        **os.environ,
        "_AMBRY_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
        "PYTHONPATH": str(Path(ambry.__file__).parents[1]),
    }
    code = "from ambry.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "number", "found"),
    [
        ("ambry ver", 1, ["plain,verify"]),
        ("ambry name re", 2, ["plain,rename", "plain,resolve"]),
        ("ambry cp --no-cl", 2, ["plain,--no-clobber"]),
        ("ambry put --durability d", 3, ["plain,disk"]),
        ("ambry put mod", 2, ["file,mod"]),
        ("ambry cp mod", 2, ["file,mod"]),
        ("ambry cp ambry:", 2, []),
        ("ambry completion z", 2, ["plain,zsh"]),
    ],
)
def test_commands_options_values_and_files(words: str, number: int, found: list[str]) -> None:
    assert completed(words, number) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_can_read_what_it_is_given(shell: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["completion", shell], prog_name="ambry")
    assert done.exit_code == 0 and f"_AMBRY_COMPLETE={shell}_complete" in done.stdout
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"there is no {shell} here")
    script = tmp_path / "script"
    script.write_text(done.stdout)
    assert subprocess.run([found, "-n", str(script)], capture_output=True, timeout=60).returncode == 0


def test_another_shell_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == 2
