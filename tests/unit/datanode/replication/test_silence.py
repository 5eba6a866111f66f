from __future__ import annotations

from datanode import metrics
from datanode.replication.silence import Silence
from tests.support.fake_clock import SettableClock


def test_silence_grows_until_everybody_who_follows_a_peer_had_an_answer() -> None:
    """The lag of a peer that cannot be reached stayed at 0, and nobody was alarmed."""
    clock = SettableClock()
    silence = Silence(clock)
    first, second = silence.follow("b1"), silence.follow("b1")
    clock.advance(50)
    assert silence.seconds("b1") == 50
    first(True)
    clock.advance(20)
    assert silence.seconds("b1") == 70
    second(True)
    assert silence.seconds("b1") == 20
    (family,) = metrics.REPLICATION_SILENCE.collect()
    assert [sample.value for sample in family.samples if sample.labels == {"peer": "b1"}] == [20]


def test_nobody_is_missed_who_is_not_followed() -> None:
    assert Silence(SettableClock()).seconds("b1") == 0


def test_lag_grows_until_everything_is_here_and_while_a_peer_says_nothing() -> None:
    """In bytes it stays what it was when the peer last answered: 0 for most that cannot be reached."""
    clock = SettableClock()
    silence = Silence(clock)
    answered = silence.follow("b1")
    clock.advance(50)
    answered(False)
    assert (silence.seconds("b1"), silence.lag_seconds("b1")) == (0, 50)
    clock.advance(5)
    answered(True)
    assert (silence.seconds("b1"), silence.lag_seconds("b1")) == (0, 0)
    clock.advance(70)
    (family,) = metrics.REPLICATION_LAG_S.collect()
    assert [sample.value for sample in family.samples if sample.labels == {"peer": "b1"}] == [70]
