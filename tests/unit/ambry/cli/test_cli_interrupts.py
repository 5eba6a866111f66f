"""Signals that are to end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ambry.cli.interrupts import first_interrupt_told, signals_interrupt


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_and_what_was_before_is_back(number: signal.Signals) -> None:
    own = signal.signal(number, signal.default_int_handler)  # Behind nohup the loss of the terminal is ignored.
    try:
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt), signals_interrupt():
            os.kill(os.getpid(), number)
            threading.Event().wait(60)
        assert signal.getsignal(number) == before
    finally:
        signal.signal(number, own)


def test_a_command_behind_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_first_interrupt_is_told_at_once_and_only_that(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with first_interrupt_told("it is asked to end"):
        for told in ("ambry: it is asked to end\n", ""):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            assert capsys.readouterr().err == told
    assert signal.getsignal(signal.SIGINT) == before
