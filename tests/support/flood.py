"""What one client that floods a frontend costs the others: times of their puts and gets of 4 KiB before, during and after.

    python -m tests.support.flood                       # every kind
    python -m tests.support.flood chunks heads --seconds 6

starts a datacenter of its own. The floods come from a process of their own, which sends as fast as the frontend takes it.
Docs/testing.md has the figures of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.content import content
from tests.support.crowd import Others, Steady, address, memory_of

CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
AFTER_S = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """`connections` that each send `begin` once and `again` for ever, `burst` bytes at a time."""

    connections: int
    begin: bytes = b""
    again: bytes
    burst: int = 256 << 10
    once: bool = False
    """Whether a connection sends `again` once; when it is answered and closed, there is another."""


def _lines(count: int) -> bytes:
    return b"".join(b"x%d: y\r\n" % number for number in range(count))


FLOODS = {
    "chunks": Flood(connections=1, begin=CHUNKED, again=b"5\r\nabcde\r\n" * 10_000),
    "chunks-8": Flood(connections=8, begin=CHUNKED, again=b"5\r\nabcde\r\n" * 10_000),
    "chunks-100": Flood(connections=100, begin=CHUNKED, again=b"5\r\nabcde\r\n" * 10_000),
    "widened": Flood(
        connections=8, begin=CHUNKED + b"100000\r\n" + bytes(1 << 20) + b"\r\n", again=b"5\r\nabcde\r\n" * 10_000
    ),
    "trailers": Flood(connections=8, again=CHUNKED + b"1\r\na\r\n0\r\n" + b"a:b\r\n" * 12_000 + b"\r\n"),
    "pipelined": Flood(connections=8, again=(HEALTH + b"\r\n") * 1_000),
    "heads": Flood(connections=8, again=(HEALTH + _lines(120) + b"\r\n") * 100),
    "lines": Flood(connections=8, again=b"\r\n" * 100_000),
    "dripped": Flood(connections=500, begin=SIZED, again=b"a" * 1_000, burst=1),
    "chunk-wise": Flood(connections=500, begin=CHUNKED, again=b"5\r\nabcde\r\n" * 1_000, burst=10),
    "connects": Flood(connections=100, again=HEALTH + b"Connection: close\r\n\r\n", once=True),
    "dripped-heads": Flood(connections=500, begin=HEALTH, again=b"x: " + b"a" * 15_000 + b"\r\n\r\n", burst=1),
}


class Flooder:
    """One connection of a flood; it connects again when the frontend ends it."""

    def __init__(self, flood: Flood, target: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._flood = flood
        self._target = target
        self._selector = selector
        self._connect()

    def _connect(self) -> None:
        self.sock = socket.create_connection(self._target)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self._begun = 0
        self._at = 0
        self._selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def act(self, events: int) -> None:
        try:
            if events & selectors.EVENT_READ and not self.sock.recv(1 << 16):
                raise ConnectionResetError
            if events & selectors.EVENT_WRITE:
                self._send()
        except BlockingIOError:
            pass
        except ConnectionError:
            self._selector.unregister(self.sock)
            self.sock.close()
            self._connect()

    def _send(self) -> None:
        flood = self._flood
        if self._begun < len(flood.begin):
            self._begun += self.sock.send(flood.begin[self._begun :])
        else:
            sent = self.sock.send(flood.again[self._at : self._at + flood.burst])
            self._at = (self._at + sent) % len(flood.again)
            if flood.once and not self._at:
                self._selector.modify(self.sock, selectors.EVENT_READ, self)


def _send_for_ever(name: str, target: tuple[str, int]) -> None:
    with selectors.DefaultSelector() as selector:
        for _ in range(FLOODS[name].connections):
            Flooder(FLOODS[name], target, selector)
        while True:
            for key, events in selector.select():
                cast(Flooder, key.data).act(events)


@contextlib.contextmanager
def flooding(name: str, url: str) -> Iterator[None]:
    """The flood of this name runs while the block does. At its end its sockets close at once, whatever they still hold."""
    process = multiprocessing.get_context("spawn").Process(
        target=_send_for_ever, args=(name, address(url)), daemon=True
    )
    process.start()
    time.sleep(1.0)  # until it is under way
    try:
        yield
    finally:
        process.kill()
        process.join()


class Neighbour:
    """Somebody else, who puts and gets 4 KiB at a time on one connection, and does what he is told when it breaks."""

    def __init__(self, url: str) -> None:
        self._body = content(11, 4096)
        self._steady = Steady(url, timeout_s=60)

    def look(self, seconds: float) -> tuple[Others, Others]:
        """What puts and what gets took for so long."""
        puts, gets = Others(), Others()
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(puts.seconds) < 10:
            path = self._steady.call("POST", "/", self._body, puts)
            if path:
                self._steady.call("GET", path, None, gets)
            time.sleep(0.005)
        return puts, gets


def measure(cluster: LocalCluster, names: Sequence[str], seconds: float) -> None:
    frontend = cluster.frontends()[0]
    pid = cluster.pid(frontend.name)
    assert pid is not None
    neighbour = Neighbour(frontend.url)
    neighbour.look(2.0)
    for name in names:
        quiet = neighbour.look(seconds)
        with memory_of(pid) as peak:
            with flooding(name, frontend.url):
                during = neighbour.look(seconds)
            after = neighbour.look(AFTER_S)
        print(f"{name}: {peak.before_mib:.0f} -> {peak.most_mib:.0f} MiB", flush=True)
        for when, (puts, gets) in (("quiet", quiet), ("during", during), ("after", after)):
            failed = len(puts.failures) + len(gets.failures)
            worst = max(puts.seconds) * 1000
            print(
                f"  {when:6}  puts {puts.figure()}, most {worst:.0f} ms; gets {gets.figure()}; {failed} failed",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("floods", nargs="*", metavar="FLOOD", help=", ".join(FLOODS))
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    if unknown := set(options.floods) - set(FLOODS):
        parser.error(f"no such flood: {', '.join(sorted(unknown))}")
    with (
        tempfile.TemporaryDirectory(prefix="ambry-flood-") as directory,
        running_cluster(Path(directory), datacenters=1) as cluster,
    ):
        measure(cluster, options.floods or list(FLOODS), options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
