"""What an operating system refused, as a command tells it: what it is about, in which words, and what to do next."""

from __future__ import annotations

import errno
import os

_WHAT_TO_DO = {
    errno.ENOMEM: "end something else here, or ask for less at once",
    errno.EMFILE: "raise the limit (ulimit -n), or ask for less at once",
    errno.ENFILE: "end something else here, or raise fs.file-max",
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room there, or name another place",
    errno.EROFS: "name another place",
    # Of what a directory cannot be made over; a file is written over, or refused in words of its own.
    errno.EEXIST: "move it away, or name another place",
}
"""Of what a machine has no more of, or something else in, where nobody said more than that."""


def text_of(error: BaseException) -> str:
    """Of any other error its own words, or its name where it has none."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or type(error).__name__
    text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if error.errno in _WHAT_TO_DO and error.strerror == os.strerror(error.errno):
        text = f"{text}; {_WHAT_TO_DO[error.errno]}"
    return text
