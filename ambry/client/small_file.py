"""Files of the user's that are read whole: small ones, or pipes that somebody writes into now (`--key-file <(vault ...)`)."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from ambry.errors import ConfigInvalid, InvalidRequest

WAIT_S = 5.0
"""For whoever writes into a pipe."""


def local_path(path: str | os.PathLike[str]) -> str:
    """A path that the system can be asked for. Raises InvalidRequest."""
    text = os.fspath(path)
    try:
        usable = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise InvalidRequest(f"{text!r} is no path: there is a NUL or half a character in it")
    return text


def read_small(
    path: str | os.PathLike[str], size_max: int, look: Callable[[os.stat_result], None] = lambda found: None
) -> bytes:
    """All that it holds. `look` is told what it is before it is read.

    Raises OSError, and ConfigInvalid for more than `size_max` bytes, and where nothing comes for 5 seconds.
    """
    descriptor = os.open(local_path(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        look(os.fstat(descriptor))
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        data = b""
        while len(data) <= size_max:
            if not ready.poll(WAIT_S * 1000):
                raise ConfigInvalid(f"nothing came out of {os.fspath(path)} within {WAIT_S:.0f} s")
            more = os.read(descriptor, size_max + 1 - len(data))
            if not more:
                return data
            data += more
    finally:
        os.close(descriptor)
    raise ConfigInvalid(f"{os.fspath(path)} has more than {size_max} bytes, so it is not what was meant")
