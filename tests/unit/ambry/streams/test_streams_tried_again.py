"""What fails again and again is told once, until it went well."""

from __future__ import annotations

from ambry.errors import Unavailable
from ambry.streams.tried_again import TriedAgain


def test_the_same_is_told_once_whatever_its_numbers() -> None:
    told: list[str] = []
    again = TriedAgain(told.append)
    for number in range(5):
        again.failed(Unavailable(f"nobody answered for {number} s", request_id=f"r{number}"))
    again.failed(Unavailable("the disk is full"))
    again.went_well()
    again.failed(Unavailable("the disk is full"), "once more: ")
    assert told == [
        "nobody answered for 0 s (request r0); it is tried again",
        "the disk is full; it is tried again",
        "once more: the disk is full; it is tried again",
    ]
