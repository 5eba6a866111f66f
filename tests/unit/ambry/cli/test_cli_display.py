from __future__ import annotations

import io
import re

import pytest

from ambry.cli.display import Display, amount, counted
from ambry.cli.failures import EXIT_UNAVAILABLE, report
from ambry.errors import Unavailable
from tests.support.fake_clock import SettableClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_tally_counts_files_bytes_failures_and_retries() -> None:
    clock = SettableClock()
    display = Display(3, 3_000_000, quiet=True, clock=clock)
    with display:
        display.progress(0)(500_000, 1_000_000)
        assert display.tally.bytes_done == 500_000
        display.ended(0, 1_000_000)
        display.progress(1)(700_000, 1_000_000)
        display.ended(1, 0, failed=True)
        assert display.tally.bytes_done == 1_000_000, "what failed does not count"
        display.retried()
        display.ended(2, 1_000_000)
        clock.advance(2.0)
    assert display.tally.summary() == "2 files, 2.0 MB in 2.0 s (1.0 MB/s), 1 failed, 1 retry"


def test_it_is_quiet_when_piped_and_shows_all_of_it_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Display(2, 10, quiet=False) as display:
        display.ended(0, 5)
    assert capsys.readouterr().err == ""

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Display(2, 10, quiet=False) as display:
        display.ended(0, 5)
        display.retried()
        display.ended(1, 0, failed=True)
    shown = terminal.getvalue()
    assert "2 of 2 files" in shown and "1 failed, 1 retry" in shown
    assert "ambry: 1 file, 5 bytes" in shown
    assert "\x1b[3" not in shown, "NO_COLOR"
    assert "50%" in shown, "a bar without colours says nothing"


def test_an_error_stands_on_a_line_of_its_own_above_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was printed into the line of the bar, which was drawn again behind it."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    why = "of a very long name [bold]that is no markup[/] " * 3
    with Display(2, 10, quiet=False) as display:
        display.ended(0, 5, failed=True)
        assert report(Unavailable(why), "a/b") == EXIT_UNAVAILABLE
    lines = terminal.getvalue().replace("\r", "\n").split("\n")
    assert f"ambry: a/b: {why.strip()}" in [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", each) for each in lines]
    report(Unavailable("later"))
    assert terminal.getvalue().endswith("ambry: later\n"), "the display is gone"


def test_words_for_numbers() -> None:
    assert (counted(1, "retry", "retries"), counted(1_200, "file")) == ("1 retry", "1,200 files")
    assert [amount(each) for each in (0, 999, 1_000, 90_900_000, 2_500_000_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "90.9 MB",
        "2.5 TB",
    ]
