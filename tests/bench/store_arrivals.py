"""Requests that come from another process at random times, as over a network; `python -m tests.bench.store_arrivals` is it.

The process writes one message per request into its standard output, a socket: when it was sent (monotonic clock, which all
processes of a machine share) and what is wanted. Whoever reads it measures from that time, so what an event loop was late
to notice counts as well.

    offset  size  field
    0       8     sent at, nanoseconds, big-endian
    8       1     0: a write, 1: a read
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from heapq import heapify, heapreplace

MESSAGE = struct.Struct(">QB")
WRITE, READ = 0, 1
USERS_OF_EACH = 16
WRITES_PER_S = 800.0
READS_PER_S = 1600.0


def schedule(seed: int, seconds: float) -> Iterator[tuple[float, int]]:
    """When something is wanted, in seconds from the start, and what. Every user waits a random time between two requests."""
    chance = random.Random(seed)
    per_user = {WRITE: WRITES_PER_S / USERS_OF_EACH, READ: READS_PER_S / USERS_OF_EACH}
    users = [(chance.expovariate(per_user[kind]), kind, user) for kind in per_user for user in range(USERS_OF_EACH)]
    heapify(users)
    while users[0][0] < seconds:
        at, kind, user = users[0]
        yield at, kind
        heapreplace(users, (at + chance.expovariate(per_user[kind]), kind, user))


def parse(data: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The whole messages in `data`, and what is left over."""
    whole = len(data) // MESSAGE.size * MESSAGE.size
    return list(MESSAGE.iter_unpack(data[:whole])), data[whole:]


@contextlib.contextmanager
def arriving(seed: int, seconds: float) -> Iterator[socket.socket]:
    """A socket on which requests arrive from now on, until it ends."""
    # Not at the top: the process that sends has no use for all that it brings.
    from tests.bench.child import environment

    ours, theirs = socket.socketpair()
    with ours:
        command = [sys.executable, "-m", "tests.bench.store_arrivals", str(seed), str(seconds)]
        with theirs:
            sender = subprocess.Popen(command, stdout=theirs.fileno(), stdin=subprocess.DEVNULL, env=environment())
        try:
            yield ours
        finally:
            sender.kill()
            sender.wait()


def main() -> None:
    seed, seconds = int(sys.argv[1]), float(sys.argv[2])
    planned = list(schedule(seed, seconds))
    out = socket.socket(fileno=sys.stdout.fileno())
    began = time.monotonic()
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        for at, kind in planned:
            wait = began + at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            out.sendall(MESSAGE.pack(time.monotonic_ns(), kind))


if __name__ == "__main__":
    main()
