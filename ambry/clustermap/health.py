"""Whether a node answers. Pure: outcomes go in, a verdict comes out.

Errors and timeouts count alike. A node that failed several times in a row, or missed a probe, is suspect: it is asked last,
never not at all, and the next answer or probe that comes through makes it well again.
"""

from __future__ import annotations

from collections.abc import Callable

SUSPECT_AFTER = 3
"""Failures in a row that make a node suspect."""


class NodeHealth:
    """The health of one node. Its fields are only read from outside: who asks on every request shall not pay for a call."""

    __slots__ = ("_on_change", "_probe_missed", "failures", "well")

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        """`on_change` hears when `well` has changed."""
        self._on_change = on_change
        self.failures = 0
        """Ordinary calls in a row that found no answer."""
        self.well = True
        self._probe_missed = False

    def record(self, answered: bool) -> None:
        """The outcome of an ordinary call."""
        self.failures = 0 if answered else self.failures + 1
        self._judge()

    def record_probe(self, answered: bool) -> None:
        """The outcome of a probe; one that comes through clears every suspicion."""
        self._probe_missed = not answered
        if answered:
            self.failures = 0
        self._judge()

    def _judge(self) -> None:
        well = self.failures < SUSPECT_AFTER and not self._probe_missed
        if well != self.well:
            self.well = well
            if self._on_change is not None:
                self._on_change()
