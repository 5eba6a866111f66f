"""What the requests of a process may hold: who finds room, who is refused, and who is ended for it."""

from __future__ import annotations

import pytest

from ambry.network.requests import LARGE_BYTES, SLOW_AFTER_S, SLOW_BYTES_PER_S, TINY_BYTES, Requests
from ambry.protocol.frame import Frame, MessageType

MIB = 1 << 20


class Sender:
    """A connection on which a large request comes."""

    def __init__(self, requests: Requests, size: int, *, known: bool = True, since: float = 0.0) -> None:
        self.known = known
        self.awaited = size
        self.peer = "peer"
        self.ended = False
        requests.receives(self, size, since)

    def abort(self) -> None:
        self.ended = True


def frame(size: int) -> Frame:
    return Frame(MessageType.PUT, 0, 0, 1, b"", b"", bytes(size))


@pytest.mark.parametrize(
    ("held", "size", "known", "fits"),
    [
        (0, 32 * MIB, False, True),
        (125 * MIB, 4 * MIB, False, False),
        (125 * MIB, 4 * MIB, True, True),
        (189 * MIB, 4 * MIB, True, False),
        (189 * MIB, LARGE_BYTES, False, True),
        (224 * MIB, LARGE_BYTES, True, False),
        (224 * MIB, TINY_BYTES, False, True),
        (256 * MIB, TINY_BYTES, True, False),
    ],
)
def test_the_larger_a_request_the_sooner_there_is_no_room(held: int, size: int, known: bool, fits: bool) -> None:
    requests = Requests(256 * MIB)
    requests.bytes = held
    assert requests.room_for(size, known=known) is fits


def test_what_is_here_and_small_stays_as_long_as_there_is_room_for_its_kind() -> None:
    requests = Requests(256 * MIB)
    requests.bytes = 224 * MIB
    assert requests.fits(frame(LARGE_BYTES))
    requests.bytes += 1
    assert not requests.fits(frame(LARGE_BYTES))
    assert requests.fits(frame(TINY_BYTES))
    assert requests.fits(frame(LARGE_BYTES + 1)), "it was let in before it came"
    requests.bytes = 256 * MIB + 1
    assert not requests.fits(frame(TINY_BYTES))


def test_what_a_request_takes_while_it_comes_is_given_back() -> None:
    requests = Requests()
    sender = Sender(requests, 100)
    assert requests.bytes == 100
    requests.receives(sender, 300, 1.0)
    assert requests.bytes == 300
    requests.receives(sender, 0, 2.0)
    requests.receives(sender, 0, 3.0)
    assert requests.bytes == 0


def test_the_slowest_go_first_strangers_before_others_and_only_as_many_as_must() -> None:
    requests = Requests(64 * MIB)
    now = 2 * SLOW_AFTER_S
    fast = Sender(requests, 12 * MIB)
    fast.awaited -= int(now * SLOW_BYTES_PER_S)
    young = Sender(requests, 12 * MIB, since=now - SLOW_AFTER_S)
    slow = Sender(requests, 8 * MIB)
    slower_stranger, stranger = Sender(requests, 4 * MIB, known=False), Sender(requests, 4 * MIB, known=False)
    stranger.awaited -= MIB
    assert not requests.room_for(16 * MIB, known=True)
    assert requests.make_room(16 * MIB, now, known=True)
    assert [each.ended for each in (slower_stranger, stranger, slow, young, fast)] == [True, True, False, False, False]
    assert not requests.make_room(60 * MIB, now, known=True)
    assert [each.ended for each in (slow, young, fast)] == [True, False, False]
    assert requests.bytes == 24 * MIB
