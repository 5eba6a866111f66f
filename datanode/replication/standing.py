"""What a peer was told of where this node stands in its logs, so that it is told only what moved since. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from ambry.protocol.messages.replication import ChangesCursor, Subscription


class Told(NamedTuple):
    """What the next request says: cursors, and the partitions that are not followed any more."""

    cursors: list[ChangesCursor]
    gone: list[int]
    subscription: Subscription


class Standing:
    """What one worker follows of one peer. `sessions` gives each number once in this process."""

    def __init__(self, *, channel: int, sessions: Iterator[int]) -> None:
        self._channel = channel
        self._sessions = sessions
        self._subscription: Subscription | None = None
        self._told: dict[int, ChangesCursor] = {}

    def begin_anew(self) -> None:
        """What the peer took in is not known: it is told everything with the next request."""
        self._subscription = None
        self._told.clear()

    @property
    def fresh(self) -> bool:
        """Whether the next request must say everything."""
        return self._subscription is None

    @property
    def empty(self) -> bool:
        """Whether nothing is followed."""
        return not self._told

    def tell(self, positions: Mapping[int, ChangesCursor | None], named: Collection[int]) -> Told:
        """Of these positions, by partition, those that moved, and those that are `named` anyway. None: not followed."""
        before = self._subscription
        if before is None:
            self._subscription = Subscription(self._channel, next(self._sessions), 0)
        else:
            self._subscription = Subscription(before.channel, before.session, before.step + 1)
        cursors: list[ChangesCursor] = []
        gone: list[int] = []
        for partition, position in positions.items():
            if position is None:
                if self._told.pop(partition, None) is not None:
                    gone.append(partition)
            elif partition in named or self._told.get(partition) != position:
                self._told[partition] = position
                cursors.append(position)
        return Told(cursors, gone, self._subscription)
