"""docs/ambry.1 is made of the commands, and tells of all of them."""

from __future__ import annotations

from ambry.cli.failures import EXIT_CODES
from ambry.cli.main import cli
from tools.man_page import ENVIRONMENT, PAGE, commands_of, page

AGAIN = "python -m tools.man_page writes it anew"


def test_every_command_exit_code_and_variable_is_in_the_man_page() -> None:
    lines = PAGE.read_text("utf-8").splitlines()
    told = {line.removeprefix(".B ").replace("\\", "").split(" [")[0] for line in lines if line.startswith(".B ")}
    paths = [path for path, _ in commands_of(cli, "ambry")]
    assert {"ambry cp", "ambry alias set", "ambry cluster up", "ambry completion"} <= set(paths)
    missing = [path for path in paths if not any(line == path or line.startswith(path + " ") for line in told)]
    assert missing == [], AGAIN
    assert {str(code) for code in EXIT_CODES} | set(ENVIRONMENT) <= told, AGAIN


def test_it_is_roff_that_says_what_is_meant() -> None:
    text = page()
    assert text.startswith(".TH AMBRY 1 ")
    assert "--" not in text and "\\-\\-help" in text, "a dash of an option can be copied"
    assert not any(line.startswith("'") for line in text.splitlines())
