"""What goes over the wire, as plain values: one file of requests and answers per resource; no I/O, shared by both clients.

Header names are lower-case throughout; header values are `str`, UTF-8 on the wire. Answers are judged, not trusted:
what does not look like an ambry frontend is a ProtocolViolation, because a 404 of some other server proves no absence.

Most programs use one or two resources. Those of which `from ambry.client import wire` gives `wire.datasets` and its like
are loaded when they are first used, and what they describe with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambry.client.wire import accounts as accounts
    from ambry.client.wire import batches as batches
    from ambry.client.wire import changes as changes
    from ambry.client.wire import datasets as datasets
    from ambry.client.wire import health as health
    from ambry.client.wire import names as names
    from ambry.client.wire import signed as signed
    from ambry.client.wire import uploads as uploads
    from ambry.client.wire import usage as usage

_LOADED_LATER = ("accounts", "batches", "changes", "datasets", "health", "names", "signed", "uploads", "usage")


def __getattr__(name: str) -> object:
    if name not in _LOADED_LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
