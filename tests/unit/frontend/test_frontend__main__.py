from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ambry
from frontend.__main__ import main

ROOT = Path(ambry.__file__).parents[1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "frontend.name"),
        (["--set", "frontend.name=f", "--set", "frontend.datacenter=d"], "frontend.layout"),
        (["--set", "frontend.nonsense=1"], "nonsense"),
        (["--config", "/nowhere.toml"], "/nowhere.toml"),
        (["--set", "router.read_ahead=0", "--set", "frontend.name=f"], "frontend.datacenter"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line_and_exit_code_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("frontend: ") and named in lines[0]


def test_the_module_runs_and_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "frontend", "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert "--config" in done.stdout
