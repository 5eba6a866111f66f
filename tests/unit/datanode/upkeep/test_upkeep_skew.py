"""When housekeeping may trust the clock: never while anybody who should know says otherwise."""

from __future__ import annotations

import pytest

from ambry.clustermap.skew import SAMPLE_LIFE_S, SKEW_MAX_MS, PeerClocks
from datanode.upkeep.skew import ABSENCE_S, HOLD_S, ClockJudge
from tests.support.fake_clock import SettableClock

DAY_MS = 86_400_000


class Bench:
    """A node with two peers that share partitions with it, and one that does not."""

    def __init__(self, *sharing: str) -> None:
        self.clock = SettableClock()
        self.peers = PeerClocks(self.clock)
        self.judge = ClockJudge(self.clock, self.peers, sharing=sharing)
        self.judge.telling = True

    def hear(self, peer: str, offset_ms: int = 0, *, uncertainty_ms: int = 1) -> None:
        self.peers.note(peer, offset_ms, uncertainty_ms)
        self.judge.note(peer)

    @property
    def trusted(self) -> bool:
        certain_ms = self.judge.certain_ms()
        assert certain_ms in (0, self.clock.wall_ms())
        assert bool(certain_ms) is (self.judge.doubt() == "")
        return bool(certain_ms)


@pytest.fixture
def node() -> Bench:
    made = Bench("n2", "n3")
    made.hear("n2")
    made.hear("n3")
    assert made.trusted
    return made


@pytest.fixture
def lone() -> Bench:
    made = Bench()
    assert made.trusted
    return made


# --- peers ---


@pytest.mark.parametrize("offset_ms", [SKEW_MAX_MS + 2, DAY_MS, -SKEW_MAX_MS - 2, -400 * DAY_MS])
def test_one_clock_that_differs_is_enough(node: Bench, offset_ms: int) -> None:
    """Whose is wrong does not matter: what is freed by a wrong one is gone for good."""
    node.hear("n3", offset_ms)
    assert not node.trusted
    where = "ahead" if offset_ms > 0 else "behind"
    assert node.judge.doubt() == f"clocks disagree: n3 is {abs(offset_ms) // 1000} s {where}"
    node.hear("n3")
    assert node.trusted


def test_the_clock_of_a_node_that_shares_nothing_is_not_asked(node: Bench) -> None:
    node.hear("n9", DAY_MS)
    assert node.trusted


def test_an_answer_that_took_long_says_little(node: Bench) -> None:
    node.hear("n3", SKEW_MAX_MS + 20_000, uncertainty_ms=25_000)
    assert node.trusted


def test_a_wrong_clock_that_is_not_heard_of_any_more_is_forgotten(node: Bench) -> None:
    node.hear("n3", DAY_MS)
    node.clock.advance(SAMPLE_LIFE_S + 1)
    assert node.trusted


def test_nothing_is_freed_before_a_peer_was_heard() -> None:
    node = Bench("n2")
    assert node.judge.doubt().startswith("no peer's clock was heard of yet")
    assert node.judge.told_ms() == node.clock.wall_ms(), "somebody must be the first"
    node.hear("n2")
    assert node.trusted


def test_peers_that_never_come_are_not_waited_for_for_ever() -> None:
    node = Bench("n2")
    node.clock.advance(HOLD_S - 1)
    assert not node.trusted
    node.clock.advance(1)
    assert node.trusted


def test_nobody_is_told_a_time_before_every_checkpoint_was_asked() -> None:
    """Two nodes that start on wrong clocks would else confirm each other's, while their replicas are being opened."""
    node = Bench()
    node.judge.telling = False
    assert node.judge.told_ms() == 0


# --- our own ---


@pytest.mark.parametrize("moved_ms", [40 * DAY_MS, -DAY_MS, SKEW_MAX_MS + 1])
def test_a_clock_that_was_moved_is_in_doubt_and_told_to_nobody(lone: Bench, moved_ms: int) -> None:
    lone.clock.wall += moved_ms
    assert not lone.trusted
    assert f"moved by {moved_ms // 1000} s" in lone.judge.doubt()
    assert lone.judge.told_ms() == 0
    lone.clock.advance(HOLD_S - 1)
    assert not lone.trusted
    lone.clock.advance(1)
    assert lone.trusted, "whoever set it had the time to notice"
    assert lone.judge.told_ms() == lone.clock.wall_ms()


def test_a_clock_that_drifts_is_right(lone: Bench) -> None:
    for _ in range(100):
        lone.clock.advance(600)
        lone.clock.wall += 90
        assert lone.trusted


def test_a_clock_that_stands_still_is_in_doubt_for_as_long(lone: Bench) -> None:
    for _ in range(3 * HOLD_S // 60):
        lone.clock.seconds += 60
        assert not lone.trusted


def test_a_clock_that_was_corrected_is_right_once_a_peer_says_so(node: Bench) -> None:
    node.clock.wall += DAY_MS
    assert not node.trusted
    node.hear("n2", DAY_MS - DAY_MS)
    node.hear("n3")
    assert node.trusted


def test_an_answer_that_took_long_confirms_nothing(node: Bench) -> None:
    node.clock.wall += DAY_MS
    assert not node.trusted
    node.clock.advance(SAMPLE_LIFE_S + 1)
    node.hear("n2", 0, uncertainty_ms=SKEW_MAX_MS + 1)
    assert not node.trusted


def test_a_process_that_was_stopped_between_two_readings_did_not_see_a_jump(lone: Bench) -> None:
    clock, readings = lone.clock, 0
    real = clock.monotonic

    def stopped() -> float:
        nonlocal readings
        readings += 1
        if readings == 2:
            clock.advance(60)
        return real()

    clock.monotonic = stopped  # type: ignore[method-assign]
    assert lone.judge.doubt() == ""


# --- restarts ---


@pytest.mark.parametrize("passed_s", [-SKEW_MAX_MS // 1000, 0, 600, ABSENCE_S])
def test_a_clock_that_goes_on_where_it_was_left_is_right(lone: Bench, passed_s: int) -> None:
    lone.judge.remember(7, lone.clock.wall_ms() - passed_s * 1000)
    assert lone.trusted


@pytest.mark.parametrize("passed_s", [-SKEW_MAX_MS // 1000 - 1, -40 * 86_400, ABSENCE_S + 1, 40 * 86_400])
def test_a_clock_that_begins_elsewhere_is_in_doubt(lone: Bench, passed_s: int) -> None:
    """A clock forty days ahead at the start: one compaction dropped living blobs for good."""
    left_ms = lone.clock.wall_ms() - passed_s * 1000
    lone.judge.remember(7, left_ms)
    assert not lone.trusted
    assert lone.judge.right_ms() == left_ms, "the next checkpoint does not make it right"
    lone.clock.advance(HOLD_S)
    assert lone.trusted
    assert lone.judge.right_ms() == lone.clock.wall_ms()


def test_the_latest_checkpoint_counts_and_a_replica_without_one_says_nothing(lone: Bench) -> None:
    lone.judge.remember(1, 0)
    assert lone.trusted
    lone.judge.remember(2, lone.clock.wall_ms() - 30 * DAY_MS)
    assert not lone.trusted
    lone.judge.remember(3, lone.clock.wall_ms() - 60_000)
    assert lone.trusted
    lone.judge.remember(4, lone.clock.wall_ms() - 50 * DAY_MS)
    assert lone.trusted


def test_a_replica_that_is_reopened_later_says_nothing_new(lone: Bench) -> None:
    lone.judge.remember(7, lone.clock.wall_ms())
    lone.clock.advance(90 * 86_400)
    lone.judge.remember(7, lone.clock.wall_ms() - DAY_MS)
    assert lone.trusted


def test_a_peer_confirms_the_clock_after_a_long_absence(node: Bench) -> None:
    node.judge.remember(7, node.clock.wall_ms() - 30 * DAY_MS)
    assert not node.trusted
    assert node.judge.told_ms() == 0
    node.hear("n2")
    assert node.trusted
