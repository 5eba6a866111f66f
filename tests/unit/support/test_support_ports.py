"""Ports for tests (tests/support/ports.py)."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.local_processes import taken
from tests.support import ports
from tests.support.ports import CLUSTERS, SINGLE, OutOfPorts, free_ports, port_range

ROOT = Path(__file__).resolve().parents[3]
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_ports_are_given_again_only_after_all_others() -> None:
    rounds = [free_ports(8) for _ in range(6)]
    given = [port for ports in rounds for port in ports]
    assert len(set(given)) == len(given) == 48
    assert taken(given) == []


def test_a_port_on_which_somebody_listens_is_not_given() -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert port not in [port for _ in range(12) for port in free_ports(8)]


def test_no_more_are_given_than_there_are() -> None:
    with pytest.raises(OutOfPorts, match="50 ports were asked for"):
        free_ports(SINGLE.step)


def test_a_range_is_nobody_elses_until_its_end() -> None:
    with port_range() as base:
        elsewhere = (
            "from tests.support.ports import *\n"
            "with port_range() as base: print(base, *range(base + 1, base + 300), *free_ports(40))"
        )
        done = subprocess.run([sys.executable, "-c", elsewhere], capture_output=True, text=True, cwd=ROOT, check=True)
        ours, theirs = set(range(base, base + 300)) | set(free_ports(40)), {int(port) for port in done.stdout.split()}
        assert len(theirs) == 340
        assert not ours & theirs
    assert taken([base]) == []


def test_a_range_with_a_listener_in_it_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with port_range() as base:
        pass
    monkeypatch.setattr(ports, "CLUSTERS", range(base, base + 1, 300))
    with ExitStack() as stack:
        stack.enter_context(socket.create_server(("127.0.0.1", base + 299)))
        with pytest.raises(OutOfPorts, match="none of 1 ranges"), port_range():
            pass


@pytest.mark.skipif(not EPHEMERAL.exists(), reason="the kernel does not tell which ports it hands out")
def test_the_kernel_hands_none_of_them_out() -> None:
    first = int(EPHEMERAL.read_text().split()[0])
    if first <= SINGLE[0]:
        pytest.skip(f"this machine hands out ports from {first} on")
    assert CLUSTERS[-1] + 300 <= first
