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
    first()
    clock.advance(20)
    assert silence.seconds("b1") == 70
    second()
    assert silence.seconds("b1") == 20
    (family,) = metrics.REPLICATION_SILENCE.collect()
    assert [sample.value for sample in family.samples if sample.labels == {"peer": "b1"}] == [20]


def test_nobody_is_missed_who_is_not_followed() -> None:
    assert Silence(SettableClock()).seconds("b1") == 0
