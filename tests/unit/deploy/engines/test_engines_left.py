"""What `ambry engines up` leaves when it is killed goes with the next one; and how long a test on an engine may take."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.directory_lock import locked
from deploy.engines.commands import _remove_left
from tests import conftest


def test_data_of_those_who_were_killed_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that was killed left its directory for ever."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("killed12", "running1", "begins12"):
        (tmp_path / f"ambry-kafka-{name}" / "data").mkdir(parents=True)
        if name != "begins12":
            (tmp_path / f"ambry-kafka-{name}" / "kafka.log").touch()
    for other in ("ambry-yarn-killed12", "ambry-kafka-of-a-user"):
        (tmp_path / other).mkdir()
        (tmp_path / other / "x.log").touch()
    (tmp_path / "ambry-kafka-linked12").symlink_to(tmp_path / "ambry-kafka-of-a-user")
    with locked(tmp_path / "ambry-kafka-running1"):
        _remove_left("kafka")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ambry-kafka-begins12",
        "ambry-kafka-linked12",
        "ambry-kafka-of-a-user",
        "ambry-kafka-running1",
        "ambry-yarn-killed12",
    ]
    assert (tmp_path / "ambry-kafka-of-a-user" / "x.log").exists()


def test_a_test_on_an_engine_has_a_bound_and_no_other_has() -> None:
    marks: dict[str, list[pytest.Mark]] = {"engine": [], "light": []}

    def item(name: str) -> Any:
        return SimpleNamespace(
            get_closest_marker=lambda marker: marker == name or None,
            add_marker=lambda made: marks[name].append(made.mark),
        )

    conftest.pytest_collection_modifyitems([item("engine"), item("light")])
    assert [(mark.name, mark.args) for mark in marks["engine"]] == [("timeout", (900,))] and not marks["light"]
