"""What a client is given at once. How answers go by it: test_frontend_http_exchange_sending.py."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from frontend.http import taken
from frontend.http.taken import GIVEN_BYTES, GIVEN_LEAST, SHARE, TAKEN_BYTES, UNSENT_BYTES, TakenSoFar


class Transport:
    """Of a client that has taken so many bytes."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.asked = 0

    def get_extra_info(self, name: str) -> Any:
        return self if name == "socket" else None


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Transport:
    def confirmed(transport: Any) -> int:
        transport.asked += 1
        return int(transport.confirmed)

    monkeypatch.setattr(taken, "confirmed", confirmed)
    monkeypatch.setattr(taken, "bound_unsent", lambda sock, size: setattr(sock, "bound", size))
    return Transport()


@pytest.mark.parametrize(
    ("confirmed", "among", "given"),
    [
        (0, 1, UNSENT_BYTES),
        (SHARE * UNSENT_BYTES, 1, UNSENT_BYTES),
        (SHARE * UNSENT_BYTES + SHARE, 1, UNSENT_BYTES + 1),
        (256 << 10, 1, 64 << 10),
        (SHARE * GIVEN_BYTES - SHARE, 64, GIVEN_BYTES - 1),
        (SHARE * GIVEN_BYTES, 64, GIVEN_BYTES),
        (1 << 40, 1, GIVEN_BYTES),
        (1 << 40, 128, GIVEN_BYTES // 2),
        (1 << 40, 4_096, GIVEN_LEAST),
        (0, 4_096, UNSENT_BYTES),
    ],
)
def test_a_client_is_given_a_share_of_what_it_has_taken_and_its_part_of_what_all_are_given(
    transport: Transport, confirmed: int, among: int, given: int
) -> None:
    """150 clients at rest that had each read 5 MB over TLS held 200 MiB: the ciphertext of 1 MiB, and a third more."""
    transport.confirmed = confirmed
    assert gives(transport, 16 << 20, among) == given
    assert gives(transport, 1_000, among) == 1_000


def gives(transport: Any, size: int, among: int = 1) -> int:
    return TakenSoFar().gives(cast(asyncio.Transport, transport), size, among=among)


def test_who_reads_is_not_asked_any_more_and_the_kernel_takes_what_it_likes(transport: Transport) -> None:
    found, told = TakenSoFar(), cast(asyncio.Transport, transport)
    transport.confirmed = TAKEN_BYTES - 1
    found.look(told)
    assert not hasattr(transport, "bound")
    transport.confirmed = TAKEN_BYTES
    assert found.look(told) == TAKEN_BYTES
    assert transport.__dict__["bound"] == 0
    transport.confirmed = SHARE * GIVEN_BYTES
    found.look(told)
    asked, transport.confirmed = transport.asked, 0
    assert found.look(told) == SHARE * GIVEN_BYTES, "it is not asked again"
    assert transport.asked == asked


def test_a_connection_that_ended_has_taken_what_it_had() -> None:
    with socket.socket() as sock:
        closed = Transport()
        closed.__dict__["get_extra_info"] = lambda name: sock
        sock.close()
        assert gives(closed, 1 << 20) == UNSENT_BYTES
