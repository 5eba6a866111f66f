"""Waiting for one who is slow."""

from __future__ import annotations

from ambry.patience import Patience


def test_patience_is_used_by_waiting_and_comes_back_with_bytes_but_is_not_saved_up() -> None:
    patience = Patience(30, 1000)
    patience.moved(1 << 30)
    assert patience.left_s == 30
    patience.waited(25)
    patience.moved(2000)
    assert patience.left_s == 7
    patience.waited(25)
    assert patience.left_s == 0
