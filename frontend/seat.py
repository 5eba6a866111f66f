"""What one process of a frontend with several is given by the one that looks after them (frontend/supervisor.py)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

import msgspec

from ambry.errors import ConfigInvalid
from ambry.service.listener import Socket

VARIABLE = "AMBRY_FRONTEND_SEAT"
HURRY = b"h"
"""Over the pipe of its life: end what is under way."""


class Seat(msgspec.Struct, frozen=True):
    """Its place; the numbers are of descriptors that it inherits."""

    number: int
    """Which of them it is, from 0."""
    listening: list[int]
    """Sockets that all of them accept on."""
    report: int
    """Where it says, once, that it serves, and on which admin port: see Report."""
    life: int
    """A pipe that brings HURRY, and ends when nobody looks after it any more."""
    rpc: list[int] = msgspec.field(default_factory=list)
    """Sockets on which all of them answer frontends of other datacenters."""

    def sockets(self) -> list[Socket]:
        """The listening sockets, which belong to the caller from now on."""
        return [socket.socket(fileno=number) for number in self.listening]

    def rpc_sockets(self) -> list[Socket]:
        """As `sockets`."""
        return [socket.socket(fileno=number) for number in self.rpc]

    def heard(self, stop: asyncio.Event, hurry: asyncio.Event) -> bool:
        """Take in what the pipe brought; whether that was its end: then the port must be free for whoever comes next."""
        ended = not os.read(self.life, 16)
        if ended:
            stop.set()
        hurry.set()
        return ended

    def say(self, admin_port: int) -> None:
        """Tell that it serves."""
        with os.fdopen(self.report, "wb") as pipe:
            pipe.write(msgspec.json.encode(Report(os.getpid(), admin_port)))


class Report(msgspec.Struct, frozen=True):
    """What a process says of itself when it serves."""

    pid: int
    admin_port: int


_read_seat = msgspec.json.Decoder(Seat).decode
read_report = msgspec.json.Decoder(Report).decode


def seat_of(environment: Mapping[str, str]) -> Seat | None:
    """The seat that this process was given; None for one that was started by itself. Raises ConfigInvalid."""
    text = environment.get(VARIABLE)
    try:
        return None if text is None else _read_seat(text)
    except msgspec.DecodeError as cause:
        raise ConfigInvalid(f"{VARIABLE} is for processes of a frontend that starts them itself: unset it") from cause
