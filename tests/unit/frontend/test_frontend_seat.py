from __future__ import annotations

import asyncio
import os
import socket

import msgspec
import pytest

from ambry.errors import ConfigInvalid
from frontend.seat import HURRY, VARIABLE, Report, Seat, seat_of


def test_a_process_that_was_started_by_itself_has_no_seat() -> None:
    assert seat_of({}) is None


def test_a_seat_travels_in_the_environment_with_its_sockets_and_its_word() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        told, report = os.pipe()
        given = Seat(
            number=3,
            listening=[os.dup(listening.fileno())],
            report=report,
            life=0,
            rpc=[os.dup(listening.fileno())],
        )
        seat = seat_of({VARIABLE: msgspec.json.encode(given).decode()})
        assert seat == given
        (rpc,) = seat.rpc_sockets()
        with rpc:
            assert rpc.getsockname() == listening.getsockname()
        (inherited,) = seat.sockets()
        with inherited:
            assert inherited.getsockname() == listening.getsockname()
        seat.say(1234)
        with os.fdopen(told, "rb") as pipe:
            assert msgspec.json.decode(pipe.read(), type=Report) == Report(os.getpid(), 1234)


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_seat_that_is_none_is_told_so(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=VARIABLE):
        seat_of({VARIABLE: text})


def test_its_life_brings_hurry_and_ends() -> None:
    life, mine = os.pipe()
    seat = Seat(number=0, listening=[], report=0, life=life)
    stop, hurry = asyncio.Event(), asyncio.Event()
    os.write(mine, HURRY)
    assert not seat.heard(stop, hurry)
    assert hurry.is_set() and not stop.is_set()
    os.close(mine)
    assert seat.heard(stop, hurry)
    assert stop.is_set()
    os.close(life)
