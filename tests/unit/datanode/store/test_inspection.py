"""Looking at a stopped replica: what is in it is listed, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import DataCorrupt, StoreMismatch
from datanode.store.inspection import Inspection, locked
from datanode.store.verification import find_problems
from tests.support.stopped_replica import FILES, flip, stopped_replica


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return stopped_replica(tmp_path / "r")


def test_a_sound_replica_has_no_problem_and_is_not_changed(place: Path) -> None:
    def held() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and "lock" not in path.name}

    before = held()
    with locked(FILES, place):
        inspection = Inspection(FILES, place)
        overview = inspection.overview()
        assert list(find_problems(inspection)) == []
        assert len(list(inspection.records())) == 7
    assert held() == before
    assert (overview.entries, overview.missing_lsns, overview.checkpoint_clean) == (7, [], True)
    assert [line.records for line in overview.segments] == [4, 2, 1]


def test_a_running_node_and_what_is_no_replica_are_refused(place: Path, tmp_path: Path) -> None:
    with locked(FILES, place), pytest.raises(StoreMismatch, match="in use"), locked(FILES, place):
        pass
    with pytest.raises(StoreMismatch, match="no replica"), locked(FILES, tmp_path):
        pass
    flip(place / "identity.json", 20, 1)
    with pytest.raises(DataCorrupt):
        Inspection(FILES, place)
