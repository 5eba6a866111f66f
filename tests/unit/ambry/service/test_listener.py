from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from typing import Any, cast

import pytest

from ambry.service.listener import (
    TCP_CLOSE,
    Farewells,
    Listener,
    bind,
    bound_unsent,
    confirmed,
    refusal,
    state_of,
    unconfirmed,
)
from tests.support.http_frontend import until


def connect(listener: Listener) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", listener.port), timeout=60)
    sock.setblocking(False)
    return sock


class Exhausted(socket.socket):
    """A listening socket of a process that has run out of descriptors: accepts nothing until there are some."""

    left = 0

    def accept(self) -> Any:
        if not self.left:
            raise OSError(errno.EMFILE, "Too many open files")
        self.left -= 1
        return super().accept()

    def dup(self) -> Any:
        outer = self

        class Spare:
            def close(self) -> None:
                outer.left += 1

        return Spare()


def exhausted() -> Exhausted:
    (plain,) = bind("127.0.0.1", 0)
    return Exhausted(fileno=plain.detach())


class Accepted:
    """Takes connections, remembers whose they were, and closes them."""

    def __init__(self) -> None:
        self.clients: list[str] = []

    def __call__(self, sock: socket.socket, client: str) -> None:
        self.clients.append(client)
        sock.close()


async def test_it_accepts_pauses_goes_on_and_resets_nobody_when_it_closes() -> None:
    accepted: list[socket.socket] = []
    listener = Listener(bind("127.0.0.1", 0), lambda sock, _client: accepted.append(sock), name="t")
    with contextlib.ExitStack() as stack:
        stack.enter_context(connect(listener))
        await until(lambda: len(accepted) == 1, "the first is accepted")
        listener.pause()
        for _ in range(200):
            stack.enter_context(connect(listener))
        await asyncio.sleep(0)
        assert len(accepted) == 1
        listener.close()
        assert len(accepted) == 201
        for sock in accepted:
            sock.close()


async def test_without_descriptors_it_waits_and_whoever_connects_waits_too() -> None:
    sock = exhausted()
    accepted = Accepted()
    listener = Listener([sock], accepted, name="t")
    with connect(listener):
        await asyncio.sleep(0.12)
        assert accepted.clients == []
        sock.left = 1
        await until(lambda: accepted.clients == ["127.0.0.1"], "it is accepted when there is a descriptor")
    listener.close()


async def test_a_spare_descriptor_lets_it_accept_when_there_is_no_other() -> None:
    sock = exhausted()
    accepted = Accepted()
    listener = Listener([sock], accepted, name="t", spare=1)
    with connect(listener):
        await until(lambda: len(accepted.clients) == 1, "the spare one is used")
    with connect(listener):
        await until(lambda: len(accepted.clients) == 2, "it was replaced")
    listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_that_is_taken_is_told_with_its_address(host: str) -> None:
    taken = bind(host, 0)
    port = taken[0].getsockname()[1]
    shown = f"[::1]:{port}" if ":" in host else f"127.0.0.1:{port}"
    with pytest.raises(OSError, match="address already in use") as failure:
        bind(host, port)
    assert shown in str(failure.value)
    taken[0].close()


async def test_who_is_told_something_hears_it_even_while_sending_and_there_is_room_for_so_many() -> None:
    rooms: list[str] = []
    farewells = Farewells(most=2, patience_s=0.3, full=lambda: rooms.append("full"), room=lambda: rooms.append("room"))
    listener = Listener(bind("127.0.0.1", 0), lambda sock, _client: farewells.say(sock, b"no room"), name="t")
    loop = asyncio.get_running_loop()
    with connect(listener) as first, connect(listener) as second:
        for sock in (first, second):
            await loop.sock_sendall(sock, b"x" * 1000)
            assert await loop.sock_recv(sock, 100) == b"no room"
            assert await loop.sock_recv(sock, 100) == b""
        await until(lambda: rooms == ["full"], "both are kept")
        first.close()
        await until(lambda: rooms == ["full", "room"], "one has left")
    farewells.close()
    listener.close()


async def test_what_the_other_side_has_not_confirmed_is_counted_in_the_kernel_too() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    ours.close()
    theirs.close()
    (listening,) = bind("127.0.0.1", 0)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(listening.getsockname())
    listening.setblocking(True)
    accepted, _ = listening.accept()
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, accepted)
    try:
        assert unconfirmed(transport) == 0
        transport.write(b"x" * (8 << 20))
        assert unconfirmed(transport) > transport.get_write_buffer_size() > 0
    finally:
        transport.abort()
        client.close()
        listening.close()


async def test_a_connection_that_was_reset_is_known_to_be_closed_though_bytes_of_it_are_unread() -> None:
    (listening,) = bind("127.0.0.1", 0)
    client = socket.create_connection(listening.getsockname())
    accepted, _ = listening.accept()
    accepted.setblocking(False)
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, accepted)
    transport.pause_reading()
    try:
        client.sendall(b"unread")
        assert state_of(transport) != TCP_CLOSE
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await until(lambda: state_of(transport) == TCP_CLOSE, "the reset came")
    finally:
        transport.abort()
        listening.close()
    assert state_of(transport) == TCP_CLOSE


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.0.0.1", "address already in use; another process has this port"),
        ("192.0.2.1", "cannot assign requested address; this machine has no such address"),
        ("nowhere.invalid", "no such host is known here"),
    ],
)
def test_a_port_that_cannot_be_had_is_named_with_what_to_do(host: str, words: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on {host}:{port}: .*{words}"):
            bind(host, port)


def test_what_an_event_loop_says_in_front_of_the_kernel_is_left_out() -> None:
    error = OSError(errno.EADDRINUSE, "error while attempting to bind on address ('::1', 7): address already in use")
    assert refusal("::1", 7, error).strerror == (
        "cannot listen on [::1]:7: address already in use; another process has this port (`ss -ltnp` names it), "
        "stop that or take another one"
    )


def test_a_transport_without_a_socket_has_ended() -> None:
    """A transport of TLS forgets its socket before it tells that the connection ended: looking after slow clients broke off."""

    class Ended(asyncio.Transport):
        def get_write_buffer_size(self) -> int:
            return 7

    ended = Ended()
    assert unconfirmed(ended) == 7 and confirmed(ended) == 0 and state_of(ended) == TCP_CLOSE
    bound_unsent(ended.get_extra_info("socket"), 0)


async def test_what_was_confirmed_is_what_the_other_side_took() -> None:
    reached: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: reached.append(writer), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        await until(lambda: reached, "it is connected")
        transport = cast(asyncio.Transport, reached[0].transport)
        assert confirmed(transport) <= 1, "but for the handshake, which counts as a byte"
        reached[0].write(bytes(1000))
        assert await reader.readexactly(1000)
        await until(lambda: confirmed(transport) >= 1000, "it is confirmed")
        assert confirmed(transport) <= 1001
        for each in (writer, reached[0]):
            each.close()
        await until(lambda: transport.get_extra_info("socket").fileno() < 0, "it has ended")
        assert confirmed(transport) == 0
