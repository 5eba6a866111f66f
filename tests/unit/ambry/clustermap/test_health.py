from __future__ import annotations

import pytest

from ambry.clustermap.health import SUSPECT_AFTER, NodeHealth


def test_a_node_is_well_until_it_fails_several_times_in_a_row() -> None:
    health = NodeHealth()
    for _ in range(SUSPECT_AFTER - 1):
        health.record(False)
        assert health.well
    health.record(False)
    assert not health.well


def test_an_answer_in_between_starts_the_count_anew() -> None:
    health = NodeHealth()
    for answered in (False, False, True, False, False):
        health.record(answered)
    assert health.well


@pytest.mark.parametrize("probe", [False, True])
def test_one_answer_makes_a_suspect_well(probe: bool) -> None:
    health = NodeHealth()
    for _ in range(10):
        health.record(False)
    (health.record_probe if probe else health.record)(True)
    assert health.well


def test_a_missed_probe_is_enough_and_the_next_one_clears_it() -> None:
    health = NodeHealth()
    health.record_probe(False)
    assert not health.well
    health.record_probe(True)
    assert health.well
