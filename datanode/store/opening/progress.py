"""How far the opening of a replica has come. Written by the disk thread that opens it, read by everybody."""

from __future__ import annotations

from typing import Any

from ambry.errors import ReplicaUnavailable


class Progress:
    """`step` in words; bytes of the log that were and must be replayed, once that is known."""

    def __init__(self) -> None:
        self.step = "waiting for its turn"
        self.lacks = ""
        """What an opening that was put off lacked."""
        self.replayed_bytes = 0
        self.to_replay_bytes = 0
        self.records = 0
        self._stopped = False

    def begin(self, step: str) -> None:
        """Raises ReplicaUnavailable after `stop`."""
        self.step = step
        self._check()

    def replayed(self, size: int) -> None:
        """One more record, or gap, of so many bytes. Raises ReplicaUnavailable after `stop`."""
        self.replayed_bytes += size
        self.records += 1
        self._check()

    def stop(self) -> None:
        """Let the opening end before its next step or record: the process is stopping. The next one repeats what it did."""
        self._stopped = True

    def describe(self) -> dict[str, Any]:
        """For the admin port."""
        return {
            "step": self.step,
            "replayed_bytes": self.replayed_bytes,
            "to_replay_bytes": self.to_replay_bytes,
            "replayed_records": self.records,
        }

    def __str__(self) -> str:
        if not self.to_replay_bytes:
            return self.step
        share = min(1.0, self.replayed_bytes / self.to_replay_bytes)
        return f"{self.step}, {share:.0%} of {self.to_replay_bytes >> 20} MiB"

    def _check(self) -> None:
        if self._stopped:
            raise ReplicaUnavailable("stopping")
