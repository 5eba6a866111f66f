"""Every engine that is named has a launcher, and is what the command line takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.cli.train import submit
from ambry.errors import InvalidRequest
from ambry.ml.engines import ENGINES
from ambry.ml.training.launchers.choice import LauncherSettings, launcher_of


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_has_a_launcher(engine: str, tmp_path: Path) -> None:
    assert callable(launcher_of(engine, LauncherSettings(hadoop_conf=tmp_path, jars=tmp_path)).run)


def test_the_command_line_takes_these_and_no_others() -> None:
    [option] = [each for each in submit.params if each.name == "engine"]
    assert tuple(option.type.choices) == ENGINES  # type: ignore[attr-defined]
    with pytest.raises(InvalidRequest, match="'mpi' is no engine; there are torchrun, tony, spark"):
        launcher_of("mpi")
