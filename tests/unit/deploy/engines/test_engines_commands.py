"""`ambry engines up`, as far as it goes without an engine."""

from __future__ import annotations

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
