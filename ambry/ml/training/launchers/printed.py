"""What a process prints, until it ends.

Pickled by value with spark_task.py, and run by executors, which have no ambry: it imports the standard library alone.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import io
import os
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


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Ended by a line feed, a carriage return or both, as a bar of progress is."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + newlines.decode(chunk)).split("\n")
        for line in lines:
            yield from _pieces(line) if line else [""]
        while len(rest) > LINE_CHARACTERS_MAX:
            yield rest[:LINE_CHARACTERS_MAX]
            rest = rest[LINE_CHARACTERS_MAX:]
    yield from _pieces(rest + newlines.decode(b"", final=True))


def _pieces(line: str) -> Iterator[str]:
    for begin in range(0, len(line), LINE_CHARACTERS_MAX):
        yield line[begin : begin + LINE_CHARACTERS_MAX]
