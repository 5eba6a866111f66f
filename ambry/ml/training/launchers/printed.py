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


class LineCutter:
    """Cuts what comes in parts into lines, which are ended by a line feed, a carriage return or both, as a bar of progress is.

    All pieces of a long line begin as `whose` matches at its begin, of a few characters, so that each tells whose it is.
    """

    def __init__(self, whose: re.Pattern[str] | None = None) -> None:
        self._whose = whose
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._newlines = io.IncrementalNewlineDecoder(self._decoder, translate=True)
        self._rest = ""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines, and pieces of a long one, that are whole by now. Read them all."""
        *lines, self._rest = (self._rest + self._newlines.decode(chunk)).split("\n")
        for line in lines:
            yield from _pieces(line, self._whose)
        *pieces, self._rest = _pieces(self._rest, self._whose)
        yield from pieces

    def end(self) -> Iterator[str]:
        """What has no end of a line."""
        *pieces, rest = _pieces(self._rest + self._newlines.decode(b"", final=True), self._whose)
        self._rest = ""
        yield from (*pieces, rest) if rest else pieces


def lines_of(chunks: Iterable[bytes], whose: re.Pattern[str] | None = None) -> Iterator[str]:
    """The lines of what comes in parts, as LineCutter has them."""
    cutter = LineCutter(whose)
    for chunk in chunks:
        yield from cutter.feed(chunk)
    yield from cutter.end()


def _pieces(line: str, whose: re.Pattern[str] | None) -> Iterator[str]:
    """At least one, which may be empty; the last one may go on."""
    found = whose.match(line) if whose is not None and len(line) > LINE_CHARACTERS_MAX else None
    head = found[0] if found else ""
    yield line[:LINE_CHARACTERS_MAX]
    size = LINE_CHARACTERS_MAX - len(head)
    for begin in range(LINE_CHARACTERS_MAX, len(line), size):
        yield head + line[begin : begin + size]
