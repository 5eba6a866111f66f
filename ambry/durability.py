"""How safe a blob is when its put is acknowledged. Apart from what a blob is, since a client needs no more of it."""

from __future__ import annotations

from enum import IntEnum


class Durability(IntEnum):
    """What an acknowledged put survives; each includes those before it."""

    MEMORY = 1
    """In the page cache of `success_target` local replicas: survives kills, not a power cut."""
    DISK = 2
    """fdatasynced on `success_target` local replicas."""
    GEO = 3
    """DISK, and synced in at least one other datacenter."""
