"""Answers that are JSON."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.MsgspecError, AttributeError, LookupError, OverflowError, TypeError, ValueError)
"""What reading one may raise that is not what it should be."""
