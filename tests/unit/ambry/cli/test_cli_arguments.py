"""What is written in the place of a number or a time is read, or refused with a sentence, whatever it is."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ambry.cli.main import cli

DIGITS = "9" * 5000
BLOB = "A" * 48


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cat", BLOB, "--range", f"{DIGITS}-"], "is not a range"),
        (["cat", BLOB, "--range", f"-{DIGITS}"], "is not a range"),
        (["ttl", BLOB, f"{DIGITS}s"], "is no duration"),
        (["ttl", BLOB, "99999999999w"], "is more than a thousand years"),
        (["find", "x", "--older", "99999999999w"], "is more than a thousand years"),
        (["dataset", "parts", "x", "--unused", "--older", "999999999999"], "is more than a thousand years"),
        (["dataset", "create", "x", "--keep", DIGITS], "is not how many versions are kept"),
        (["key", "rotate", "a" * 16, "--overlap", "²d"], "is no time"),
        (["snapshot", "as-of", "x", "0001-01-01T00:00:00+14:00"], "is no point in time"),
        (["snapshot", "as-of", "x", "9999-12-31T23:59:59-14:00"], "is no point in time"),
        (["key", "create", "k", "--grant", "read", "--expires", "9999-12-31T23:59:59-14:00"], "is no date"),
    ],
)
def test_what_is_beyond_all_numbers_and_calendars_is_a_mistake_of_usage(words: list[str], says: str) -> None:
    """Each was a traceback: of Python's bound of 4,300 digits, or of its years from 1 to 9999."""
    done = CliRunner().invoke(cli, [*words, "--endpoint", "http://127.0.0.1:1", "--retries", "0"])
    assert done.exit_code == 2 and says in done.stderr, (done.exception, done.output[-300:])
