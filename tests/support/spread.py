"""Which tests run in one process, one after the other, when tests are spread over several."""

from __future__ import annotations

ONE_CLUSTER = "tests/integration"
"""All tests of this directory speak to one cluster of processes, which every process that runs any of them would start."""


def unit_of_work(nodeid: str) -> str:
    """What a test belongs to: its file, so that what a file shares is made once, or the directory that shares a cluster."""
    path = nodeid.split("::", 1)[0]
    return ONE_CLUSTER if path.startswith(f"{ONE_CLUSTER}/") else path


def part_of(nodeid: str) -> str:
    """The part of the suite that a test belongs to: `fault`, `unit/datanode`, `test_layout.py`."""
    _, *names = nodeid.split("::", 1)[0].split("/")
    return "/".join(names[:2] if names[0] == "unit" else names[:1])
