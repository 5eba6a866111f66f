"""Signals that end a command the way Ctrl-C does, so that what it started is stopped on the way out."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from ambry.cli.output import remark


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """TERM and the loss of the terminal raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    # nohup ignores the loss of the terminal, and stays right.
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def first_interrupt_told(sentence: str) -> Iterator[None]:
    """The first signal that interrupts in the block says `sentence` at once: what is stopped then may take its time."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    told = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if not told:
            told = True
            with contextlib.suppress(OSError, RuntimeError):  # Nobody reads, or who was interrupted was writing.
                remark(sentence)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in (each for each, handler in before.items() if callable(handler)):
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
