"""Ports of this machine that nobody takes meanwhile: no other test, no other worker of this run, no other run.

Between the look for a free port and the bind, and while a server is down for a moment, a port is anybody's. So ports are given
in ranges, and a range belongs to the process that listens on its first port. All lie below those that the kernel hands out by
itself, to outgoing connections as well.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import socket
from collections.abc import Iterator

from deploy.local_layout import HOST
from deploy.local_processes import taken

CLUSTERS = range(9_000, 16_800, 300)
"""Where ranges for clusters begin: one of two datacenters uses the ports up to its base + 299 (deploy/local_layout.py)."""
SINGLE = range(7_000, 9_000, 50)
"""Where ranges of single ports begin."""


class OutOfPorts(Exception):
    """Every range is somebody's."""


@contextlib.contextmanager
def port_range() -> Iterator[int]:
    """The first port of a range that is ours until the end; it is taken itself, the 299 ports after it are free."""
    with _own_range(CLUSTERS) as owner:
        yield owner.getsockname()[1]


def _own_range(bases: range) -> socket.socket:
    # From anywhere, so that runs side by side seldom ask for the same; which one it is decides nothing.
    first = random.SystemRandom().randrange(len(bases))
    for base in [*bases[first:], *bases[:first]]:
        owner = socket.socket()
        try:
            owner.bind((HOST, base))
            owner.listen(1)
        except OSError:
            owner.close()
            continue
        if not taken(range(base + 1, base + bases.step)):
            return owner
        owner.close()
    raise OutOfPorts(f"none of {len(bases)} ranges of ports from {bases[0]} is free: are other tests running?")


@functools.cache
def _of_this_process() -> Iterator[int]:
    """The ports of a range that is kept until the process ends, again and again."""
    owner = _own_range(SINGLE)
    base = owner.getsockname()[1]

    def ports() -> Iterator[int]:
        with owner:
            yield from itertools.cycle(range(base + 1, base + SINGLE.step))

    return ports()


def free_ports(count: int) -> list[int]:
    """All different, nobody listens on them now, and nobody else will take them. One may have connections in TIME_WAIT."""
    free = (port for port in itertools.islice(_of_this_process(), SINGLE.step - 1) if not taken([port]))
    found = list(itertools.islice(free, count))
    if len(found) < count:
        raise OutOfPorts(f"{count} ports were asked for, of {SINGLE.step - 1} only {len(found)} are free")
    return found
