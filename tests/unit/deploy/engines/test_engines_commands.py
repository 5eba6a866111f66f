"""`ambry engines up`, as far as it goes without an engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.engines.commands import engines


@pytest.mark.parametrize("name", ["a,b", "a\\nb", "a\nb", "a:b"])
@pytest.mark.parametrize("engine", ["kafka", "zookeeper"])
def test_a_directory_whose_path_parts_others_is_refused(tmp_path: Path, engine: str, name: str) -> None:
    """Kafka's `log.dirs` takes a comma for the next directory, and a backslash and an n for a line end, as ZooKeeper does."""
    done = CliRunner().invoke(engines, ["up", engine, "--directory", str(tmp_path / name / "x")])
    assert done.exit_code == 1 and "cannot be the directory of an engine" in done.output
    assert list(tmp_path.iterdir()) == []


def test_the_root_is_no_directory_of_an_engine() -> None:
    done = CliRunner().invoke(engines, ["up", "zookeeper", "--directory", "/"])
    assert done.exit_code == 1 and "'/' cannot be the directory of an engine" in done.output


STANDS_IN = """
import contextlib, sys
from pathlib import Path
said = Path(sys.argv[1])
from deploy.engines import commands

@contextlib.contextmanager
def running(directory):
    try:
        yield commands._Running((("server", "here"),), ())
    finally:
        said.write_text("stopped")

commands._RUNNING["zookeeper"] = running
commands.LOOK_S = 0.01
from ambry.cli.main import main
sys.argv[1:] = ["engines", "up", "zookeeper"]
main()
"""


def test_it_ends_where_whoever_reads_it_has_gone(tmp_path: Path) -> None:
    """Behind `| head -1` an engine ran on for ever, as it writes nothing more when it is ready."""
    command = [sys.executable, "-c", STANDS_IN, str(tmp_path / "said")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        try:
            while not (line := process.stdout.readline()).startswith("ready"):
                assert line, process.stderr.read()
            process.stdout.close()
            assert process.wait(30) == 1
        finally:
            process.kill()
        errors = process.stderr.read()
    assert (tmp_path / "said").read_text() == "stopped" and "Traceback" not in errors
