"""A link between two network stacks that swallows packets (F14, F18): found, and whole again soon after it heals.

A peer in a network namespace of its own, behind a pair of virtual interfaces. Packets are swallowed by naming a hardware
address that nobody has: neither end is told anything, as with a cable that is pulled somewhere far away.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ambry.clustermap.model import Node
from ambry.network.pool import PeerPool
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty
from tests.support.introductions import introduction

ROOT = Path(__file__).parents[2]
PORT = 7000
NOBODY = "02:de:ad:be:ef:01"
WHOLE_AGAIN_S = 60.0
"""The bound of the contract: from the healing until all is well."""


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Far:
    """A process in a namespace of its own that serves, and the link to it."""

    def __init__(self) -> None:
        number = os.getpid() % 60_000
        self.namespace = f"ambry-{number}"
        self.near, self.far = f"an{number}", f"af{number}"
        self.near_host, self.host = (
            f"10.{200 + number // 16384}.{number // 64 % 256}.{number % 64 * 4 + at}" for at in (1, 2)
        )
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        ip("netns", "add", self.namespace)
        ip("link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.namespace)
        ip("address", "add", f"{self.near_host}/30", "dev", self.near)
        ip("link", "set", self.near, "up")
        ip("-n", self.namespace, "address", "add", f"{self.host}/30", "dev", self.far)
        ip("-n", self.namespace, "link", "set", self.far, "up")
        command = [sys.executable, "-m", "tests.support.rpc_server", self.host, str(PORT)]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self.wait_for("listening")

    def wait_for(self, word: str) -> None:
        assert self.process is not None and self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line == word, f"{line!r} where {word!r} was to come"

    def swallow(self) -> None:
        """Nothing comes through any more, either way."""
        ip("neigh", "replace", self.host, "lladdr", NOBODY, "nud", "permanent", "dev", self.near)
        ip(
            "-n",
            self.namespace,
            "neigh",
            "replace",
            self.near_host,
            "lladdr",
            NOBODY,
            "nud",
            "permanent",
            "dev",
            self.far,
        )

    def heal(self) -> None:
        ip("neigh", "del", self.host, "dev", self.near)
        ip("-n", self.namespace, "neigh", "del", self.near_host, "dev", self.far)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
        subprocess.run(["ip", "netns", "delete", self.namespace], capture_output=True, timeout=20)
        subprocess.run(["ip", "link", "delete", self.near], capture_output=True, timeout=20)


@pytest.fixture
def far() -> Iterator[Far]:
    made = Far()
    try:
        made.start()
    except (OSError, subprocess.SubprocessError) as error:
        made.stop()
        pytest.skip(f"no network namespaces here (iproute2, root): {error}")
    yield made
    made.stop()


async def until(condition: Callable[[], object], what: str, timeout_s: float) -> float:
    """Seconds until it came true."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < timeout_s, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.02)
    return loop.time() - began


async def story(far: Far) -> None:
    node = Node(name="n1", datacenter="dc1", datacenter_id=1, host=far.host, port=PORT)
    pool = PeerPool([node], introduction=introduction(cluster="c"), random_source=random.Random(1))
    pool.start()
    peer = pool["n1"]
    await until(lambda: peer.usable, "connected", 20)
    await asyncio.to_thread(far.wait_for, "made")
    far.swallow()
    ended: list[object] = []
    # More than the kernels hold: some of it waits here.
    for _ in range(8):
        peer.call(MessageType.PUT, Empty(), ended.append, timeout_s=600.0, body=bytes(1 << 20))
    noticed_s = await until(lambda: not peer.connected, "the near end gives up", 30)
    assert len(ended) == 8
    assert peer.in_flight_bytes == 0
    # The other end is told nothing; it finds out by itself. For ever is what it took.
    async with asyncio.timeout(60):
        await asyncio.to_thread(far.wait_for, "lost")
    far.heal()
    whole_s = await until(lambda: peer.usable, "whole again", WHOLE_AGAIN_S)
    await peer.request(MessageType.PING, Empty(), timeout_s=10)
    print(f"given up after {noticed_s:.1f} s; whole {whole_s:.1f} s after healing")
    await pool.stop()


@pytest.mark.fault
def test_a_link_that_swallows_packets_is_found_at_both_ends_and_whole_soon_after_it_heals(far: Far) -> None:
    """It took 115 s after healing, TCP's own back-off, and the far end of a lost connection stayed for ever."""
    asyncio.run(story(far))
