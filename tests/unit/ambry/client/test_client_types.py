"""ambry is typed for its users: the program of one passes their type checkers, and runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ambry
from ambry import AmbryClient, AsyncAmbryClient
from tests.support import typed_user
from tests.support.named_frontend import named_frontend

ROOT = Path(ambry.__file__).parents[1]
PYRIGHT = Path(sys.executable).with_name("basedpyright")


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "ambry" / "py.typed").is_file()
    assert "py.typed" in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_program_that_is_checked_runs(tmp_path: Path) -> None:
    async def awaiting(url: str) -> None:
        await typed_user.awaiting(url, tmp_path)
        async with AsyncAmbryClient(url) as client:
            await typed_user.awaited_names(client)

    with named_frontend(tmp_path / "meta.sqlite") as url:
        assert typed_user.blocking(url, tmp_path).size == 6
        with AmbryClient(url) as client:
            typed_user.names(client)
        asyncio.run(awaiting(url))


def test_pyright_is_told_to_be_strict_and_no_file_turns_that_off() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["pyright"]
    assert told["typeCheckingMode"] == "strict" and told["include"] == ["ambry"]
    assert told["exclude"] == ["ambry/ml", "ambry/network", "ambry/protocol", "ambry/service"]
    lines = [
        (path.relative_to(ROOT).as_posix(), line)
        for path in (ROOT / "ambry").rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if "pyright: " in line
    ]
    assert all("ignore[" in line or line == "# pyright: reportPrivateUsage=false" for _, line in lines), lines


@pytest.mark.slow
@pytest.mark.skipif(not PYRIGHT.exists(), reason="basedpyright is not installed; `make pyright` does it")
def test_pyright_finds_nothing_in_what_users_import() -> None:
    command = [PYRIGHT, "--project", ROOT / "pyproject.toml", "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, timeout=900)
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] > 150, done.stdout
    assert [
        (each["file"], each["range"]["start"]["line"] + 1, each["message"]) for each in told["generalDiagnostics"]
    ] == []


@pytest.mark.slow
@pytest.mark.skipif(not PYRIGHT.exists(), reason="basedpyright is not installed; `make pyright` does it")
def test_pyright_finds_nothing_in_a_program_of_a_user(tmp_path: Path) -> None:
    settings = {
        "include": [typed_user.__file__],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), "utf-8")
    command = [PYRIGHT, "--project", tmp_path / "pyrightconfig.json", "--outputjson"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, timeout=600)
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == 1, done.stdout
    assert [(each["range"]["start"]["line"] + 1, each["message"]) for each in told["generalDiagnostics"]] == []
