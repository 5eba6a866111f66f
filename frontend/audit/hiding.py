"""Keeps secrets out of what is written down."""

from __future__ import annotations

import re

from ambry.rest.access import PREFIX

_SECRET = re.compile(rf"({re.escape(PREFIX)}[A-Za-z0-9]{{1,64}}_)[A-Za-z0-9_=-]{{8,}}")


def without_secrets(text: str) -> str:
    """The same, with dots in place of the secret of every key that somebody put where none belongs, as into a path."""
    return _SECRET.sub(r"\1...", text) if PREFIX in text else text
