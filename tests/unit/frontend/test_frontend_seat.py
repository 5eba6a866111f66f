from __future__ import annotations

import os
import socket

import msgspec

from frontend.seat import VARIABLE, Report, Seat, seat_of


def test_a_process_that_was_started_by_itself_has_no_seat() -> None:
    assert seat_of({}) is None


def test_a_seat_travels_in_the_environment_with_its_sockets_and_its_word() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        told, report = os.pipe()
        given = Seat(number=3, listening=[os.dup(listening.fileno())], report=report, life=0)
        seat = seat_of({VARIABLE: msgspec.json.encode(given).decode()})
        assert seat == given
        (inherited,) = seat.sockets()
        with inherited:
            assert inherited.getsockname() == listening.getsockname()
        seat.say(1234)
        with os.fdopen(told, "rb") as pipe:
            assert msgspec.json.decode(pipe.read(), type=Report) == Report(os.getpid(), 1234)
