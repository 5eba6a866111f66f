"""`ambry changes --state`: a state that nobody can go on with is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli.main import cli


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is no token of changes alone"),
        (b"\xff\xfe\0" * 20, "is no token of changes alone"),
        (b"one two", "is no token of changes alone"),
        (b'{"token":1}', "since is beginning"),
        (b"A" * 17_000, "is no token of changes alone"),
        (b"token" + b" " * (64 << 10) + b"more", "is no token of changes alone"),
    ],
)
def test_a_damaged_state_is_named_and_kept(data: bytes, why: str, here: Path) -> None:
    """An empty one began anew, one that is no text was a traceback, and a token that is none did not say where it stood."""
    (here / "token").write_bytes(data)
    found = CliRunner().invoke(cli, ["changes", "--state", "token"], prog_name="ambry")
    assert found.exit_code == 2 and found.stdout == ""
    assert "state token" in found.stderr and why in found.stderr
    assert "name another one (--state), or remove it and say where to begin (--since)" in found.stderr
    assert (here / "token").read_bytes() == data


def test_a_token_that_is_too_long_to_be_one_is_not_asked_about(here: Path) -> None:
    """The answer was about a header of 16,384 bytes."""
    found = CliRunner().invoke(cli, ["changes", "--since", "A" * 17_000], prog_name="ambry")
    assert found.exit_code == 2 and "a token that was told, which has at most 16000 characters" in found.stderr
