"""The command as a whole: what it lists, what it loads, and what it says when a library is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import ambry
from ambry.cli.main import cli

HEAVY = {"aiohttp", "asyncio", "http.client", "lmdb", "msgspec", "rich", "structlog", "xxhash"}


def shown(*args: str) -> str:
    return " ".join(CliRunner().invoke(cli, args, prog_name="ambry").output.split())


def process(code: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(ambry.__file__).parents[1])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)


def test_help_lists_the_commands_of_every_package_and_the_exit_codes() -> None:
    for word in ("put Store files", "undelete", "cluster Run a whole cluster", "store Look into", "0 ok", "6 checksum"):
        assert word in shown("--help")


def test_listing_the_commands_loads_none_of_what_they_need() -> None:
    code = (
        "import json, sys\nfrom ambry.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(process(code).stdout.splitlines()[-1]))
    assert {"datanode.commands", "deploy.commands", "ambry.cli.blobs"} <= loaded
    assert loaded & HEAVY - {"xxhash"} == set()


def test_an_installation_without_the_servers_packages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deploy.commands", None)
    assert "cluster (is not part of this installation" in shown("--help")
    missing = CliRunner().invoke(cli, ["cluster", "start", "--x"], prog_name="ambry")
    assert missing.exit_code == 1 and "installation" in missing.stderr


def test_a_library_that_a_command_lacks_is_named_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['lmdb'] = None\nfrom ambry.cli.main import cli\n"
        f"cli.main(['store', 'inspect', {str(tmp_path)!r}])"
    )
    done = process(code)
    assert done.returncode == 1
    assert done.stderr == "Error: `ambry store` needs lmdb: pip install 'ambry[server]'\n"


def test_a_command_that_nobody_has_is_a_usage_error() -> None:
    done = CliRunner().invoke(cli, ["cluser"], prog_name="ambry")
    assert done.exit_code == 2 and "No such command 'cluser'. Did you mean 'cluster'?" in done.output
    done = CliRunner().invoke(cli, ["xyzzy"], prog_name="ambry")
    assert done.exit_code == 2 and "xyzzy" in done.output and "mean" not in done.output
