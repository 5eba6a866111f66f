"""The time of the store, by which it dates what it holds: what is old enough to go is never said by a clock of this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient


def store_time(client: AmbryClient) -> datetime:
    """Now, as most of the cluster's clocks have it, to the millisecond. One request. Raises AmbryError."""
    return datetime.fromtimestamp(client.usage().at_ms / 1_000, UTC)
