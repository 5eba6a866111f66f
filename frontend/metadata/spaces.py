"""What registers and local rows of the metadata store are about."""

from __future__ import annotations

import enum


class Space(enum.IntEnum):
    """What registers are about. The numbers are on disk and in other datacenters: never renumber."""

    ACCOUNT = 1
    """One field of an account; each merges by itself."""
    ACCOUNT_NAME = 2
    CONTAINER = 3
    """One field of a container."""
    CONTAINER_NAME = 4
    NAME = 5
    """A named blob; the scope is its container, the key its exact UTF-8."""
    DATASET = 6
    VERSION = 7
    """A version of a dataset."""
    ALIAS = 8
    KEY = 9
    """A key of the API (frontend/access/key_rows.py)."""
    CONTAINER_KEY = 10
    """A key that encrypts what is in a container (frontend/encryption/key_rows.py)."""
    OWNER = 11
    """The name that a blob goes with, where that is not the one that it was put under (frontend/names/rows.py); the key is the
    blob's id."""


FORGETTING = frozenset({Space.KEY, Space.CONTAINER_KEY})
"""Spaces whose registers keep their newest value alone: of what was superseded nothing is left but that it was there.

The first byte of a value ranks before its time, so that what is over for ever stays so, whatever is written later elsewhere.
"""


class LocalSpace(enum.IntEnum):
    """What local rows are about. The numbers are on disk: never renumber."""

    INTENT = 1
    """A blob that is written for a name that does not point to it yet."""
    SESSION = 2
    """An upload that is resumed."""
    PART = 3
    IDEMPOTENCY = 4
    CURSOR = 5
    """How far another datacenter's log is followed."""
    LEASE = 6
    """Who does what one alone may do."""
    USAGE = 7
    """What containers with a quota have."""
    KEY_USED = 8
    """When a key was last used."""
    USED = 9
    """How much keys and containers were used."""
