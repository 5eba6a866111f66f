"""Whether a node answers. Pure: outcomes go in, a verdict comes out.

Errors and timeouts count alike. A node that failed several times in a row, or missed a probe, is suspect: it is asked last,
never not at all, and the next answer or probe that comes through makes it well again.
"""

from __future__ import annotations

SUSPECT_AFTER = 3
"""Failures in a row that make a node suspect."""


class NodeHealth:
    """The health of one node."""

    __slots__ = ("_failures", "_probe_missed")

    def __init__(self) -> None:
        self._failures = 0
        self._probe_missed = False

    @property
    def well(self) -> bool:
        return self._failures < SUSPECT_AFTER and not self._probe_missed

    def record(self, answered: bool) -> None:
        """The outcome of an ordinary call."""
        self._failures = 0 if answered else self._failures + 1

    def record_probe(self, answered: bool) -> None:
        """The outcome of a probe; one that comes through clears every suspicion."""
        self._probe_missed = not answered
        if answered:
            self._failures = 0
