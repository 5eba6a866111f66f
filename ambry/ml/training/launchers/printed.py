"""What a process prints, until it ends.

Pickled by value with spark_task.py, and run by executors, which have no ambry: it imports the standard library alone.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import io
import os
import re
import select
import subprocess
from collections.abc import Iterable, Iterator

LINE_CHARACTERS_MAX = 16_384
"""What has no end of a line by then is given in pieces of so many characters."""
_CHUNK = 1 << 16


def printed(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What comes out of the pipe of a process until it ends, and what of it stands in the pipe then: who inherited the pipe may
    keep it open for ever.
    """
    if process.stdout is None:
        raise ValueError("the process was started without a pipe for what it prints")
    out = process.stdout.fileno()
    ended = os.pidfd_open(process.pid)
    try:
        asked = select.poll()
        for each in (out, ended):
            asked.register(each, select.POLLIN)
        while not any(fd == ended for fd, _ in asked.poll()):
            if not (chunk := os.read(out, _CHUNK)):
                return
            yield chunk
        left = fcntl.fcntl(out, fcntl.F_GETPIPE_SZ)
        os.set_blocking(out, False)
        with contextlib.suppress(BlockingIOError):
            while left > 0 and (chunk := os.read(out, left)):
                left -= len(chunk)
                yield chunk
    finally:
        os.close(ended)


def lines_of(chunks: Iterable[bytes], whose: re.Pattern[str] | None = None) -> Iterator[str]:
    """Ended by a line feed, a carriage return or both, as a bar of progress is.

    All pieces of a long line begin as `whose` matches at its begin, of a few characters, so that each tells whose it is.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + newlines.decode(chunk)).split("\n")
        for line in lines:
            yield from _pieces(line, whose)
        *pieces, rest = _pieces(rest, whose)
        yield from pieces
    *pieces, rest = _pieces(rest + newlines.decode(b"", final=True), whose)
    yield from (*pieces, rest) if rest else pieces


def _pieces(line: str, whose: re.Pattern[str] | None) -> Iterator[str]:
    """At least one, which may be empty; the last one may go on."""
    found = whose.match(line) if whose is not None and len(line) > LINE_CHARACTERS_MAX else None
    head = found[0] if found else ""
    yield line[:LINE_CHARACTERS_MAX]
    size = LINE_CHARACTERS_MAX - len(head)
    for begin in range(LINE_CHARACTERS_MAX, len(line), size):
        yield head + line[begin : begin + size]
