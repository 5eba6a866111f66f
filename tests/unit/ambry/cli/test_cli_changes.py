"""`ambry changes --state`: a state that nobody can go on with is named, with what to do."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from ambry.cli import changes
from ambry.cli.main import cli
from ambry.client.changes import ToldChange, ToldChanges
from ambry.client.sync.changes import ChangesFeed
from ambry.errors import AccessDenied, AmbryError, Unavailable


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


@pytest.mark.parametrize("to", [(), ("--to", "kafka://127.0.0.1:9/t")])
def test_a_state_that_cannot_be_written_is_told_before_the_first_change(
    to: tuple[str, ...], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All changes were told first, and with --to it named a file that nobody had asked for."""
    monkeypatch.setattr(ChangesFeed, "next_page", lambda feed: page("token-1"))
    found = CliRunner().invoke(cli, ["changes", "--state", "nowhere/token", *to], prog_name="ambry")
    assert found.exit_code != 0 and found.stdout == ""
    assert "nowhere/token:" in found.stderr and "nowhere/token.lock" not in found.stderr, found.stderr
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("to", [(), ("--to", "kafka://127.0.0.1:9/t")])
def test_no_token_is_not_the_beginning(to: tuple[str, ...]) -> None:
    found = CliRunner().invoke(cli, ["changes", "--since", "", *to], prog_name="ambry")
    assert found.exit_code == 2 and "--since is empty" in found.stderr


def test_a_token_that_is_too_long_to_be_one_is_not_asked_about(here: Path) -> None:
    """The answer was about a header of 16,384 bytes."""
    found = CliRunner().invoke(cli, ["changes", "--since", "A" * 17_000], prog_name="ambry")
    assert found.exit_code == 2 and "a token that was told, which has at most 16000 characters" in found.stderr


def page(token: str, *, delayed: bool = False) -> ToldChanges:
    return ToldChanges(changes=(ToldChange(type="name.put", name=token),), token=token, at_end=True, delayed=delayed)


def test_changes_that_cannot_be_told_are_no_success(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all data nodes down it told of a part, and of success."""
    monkeypatch.setattr(ChangesFeed, "next_page", lambda feed: page("token-1", delayed=True))
    found = CliRunner().invoke(cli, ["changes", "--state", "token"], prog_name="ambry")
    assert found.exit_code == 5 and "token-1" in found.stdout
    assert "some changes cannot be told now, since no replica of theirs answers; the same command tells" in found.stderr
    assert (here / "token").read_text() == "token-1\n", "which stands before them"


def test_who_follows_is_told_once_of_what_is_tried_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = "no endpoint answers; say AmbryClient(endpoints), or AMBRY_ENDPOINTS with AmbryClient.from_env()"
    script: list[ToldChanges | AmbryError] = [Unavailable(away, request_id=f"r{number}") for number in range(5)]
    script += [page("t1", delayed=True), page("t2", delayed=True), page("t3"), AccessDenied("the key was revoked")]

    def next_page(feed: ChangesFeed) -> ToldChanges:
        found = script.pop(0)
        if isinstance(found, AmbryError):
            raise found
        return found

    monkeypatch.setattr(ChangesFeed, "next_page", next_page)
    monkeypatch.setattr(changes, "AGAIN_S", 0.0)
    found = CliRunner().invoke(cli, ["changes", "--follow", "--state", "token"], prog_name="ambry")
    lines = found.stderr.splitlines()
    assert lines[:2] == [
        "no endpoint answers; say --endpoint, or AMBRY_ENDPOINTS (request r0); it is tried again",
        "some changes cannot be told now, since no replica of theirs answers; it is tried again",
    ]
    assert len(lines) == 3 and "revoked" in lines[2] and (here / "token").read_text() == "t3\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kept", [(), ("--state", "token")])
def test_who_follows_and_is_interrupted_is_told_where_to_go_on(
    number: signal.Signals, kept: tuple[str, ...], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --state nobody knew where it was, and SIGTERM ended it without a word."""
    script = [page("t1"), page("t2")]

    def next_page(feed: ChangesFeed) -> ToldChanges:
        if script:
            return script.pop(0)
        os.kill(os.getpid(), number)
        threading.Event().wait(60)
        raise AssertionError("nothing interrupted it")

    monkeypatch.setattr(ChangesFeed, "next_page", next_page)
    own = signal.signal(signal.SIGTERM, signal.default_int_handler)  # Not the end of the tests where it is not heard.
    try:
        found = CliRunner().invoke(cli, ["changes", "--follow", *kept], prog_name="ambry")
    finally:
        signal.signal(signal.SIGTERM, own)
    assert found.exit_code == 130
    assert found.stderr.split() == ([] if kept else ["next:", "--since", "t2"])
