from __future__ import annotations

import pytest

from ambry.errors import ReplicaUnavailable
from datanode.store.opening.progress import Progress


def test_it_says_how_far_a_replay_has_come() -> None:
    progress = Progress()
    assert str(progress) == "waiting for its turn"
    progress.begin("replaying the log")
    progress.to_replay_bytes = 8 << 20
    progress.replayed(1 << 20)
    progress.replayed(1 << 20)
    assert str(progress) == "replaying the log, 25% of 8 MiB"
    assert progress.describe() == {
        "step": "replaying the log",
        "replayed_bytes": 2 << 20,
        "to_replay_bytes": 8 << 20,
        "replayed_records": 2,
    }


def test_one_that_is_stopped_ends_at_its_next_step_or_record() -> None:
    progress = Progress()
    progress.stop()
    with pytest.raises(ReplicaUnavailable):
        progress.begin("replaying the log")
    with pytest.raises(ReplicaUnavailable):
        progress.replayed(1)
