"""`ambry vocab`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

from tests.support.whole_commands import run, said, told

pytestmark = pytest.mark.usefixtures("here")

_numbers = count()
TEXT = """\
a: {valType: INT, dims: [kinds-1-0]}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
"""


@pytest.fixture
def name(here: Path) -> str:
    (here / "tree/flagship").mkdir(parents=True)
    (here / "tree/flagship/feed.conf").write_text(TEXT)
    (here / "tree/flagship/kinds.csv").write_text("0, OUT_OF_VOCAB\n1, Comment\n2, Click\n")
    made = f"features-{next(_numbers)}"
    said("features", "publish", "tree", made, "-q")
    return made


def test_names_are_proposed_reviewed_accepted_and_listed(name: str) -> None:
    id = said("vocab", "propose", name, "kinds", "comment", "Share", "--who", "ann", "--why", "new in spring").strip()
    shown = told("vocab", "review", name, id)
    assert (shown["state"], shown["newest"], shown["ids"]) == ("open", "1.0.0", {"comment": 3, "Share": 4})
    assert shown["like"] == {"comment": ["Comment"]}
    assert said("vocab", "accept", name, id, "Share", "--who", "bob", "--why", "in the logs") == "1.1.0\n"
    other = told("vocab", "propose", name, "flagship/kinds-1-0", "Shar", "--who", "eve", "--why", "?")
    assert said("vocab", "reject", name, other["id"], "--who", "bob", "--why", "a typing error") == ""
    rows = [line.split() for line in said("vocab", "ls", name).splitlines()]
    assert rows[0] == ["ID", "STATE", "VERSION", "MADE", "AUTHOR", "DIMENSION", "NAMES"]
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
        (id, "published", "Share"),
        (other["id"], "rejected", "Shar"),
    ]
    [done] = [json.loads(line) for line in said("vocab", "ls", name, "--state", "published", "--json").splitlines()]
    assert (done["version"], done["author"], done["reason"], done["reviewer"], done["review_reason"]) == (
        "1.1.0",
        "ann",
        "new in spring",
        "bob",
        "in the logs",
    )
    assert (done["names"], done["accepted"]) == (["comment", "Share"], ["Share"])
    assert "Comment, Click, Share" in said("features", "show", name, "urn:li:(flagship,a,1,0)")


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["propose", "{}", "kinds", "Click", "--why", "x"], 2, "has 'Click' already"),
        (["propose", "{}", "kinds", "Share"], 2, "Missing option '--why'"),
        (["propose", "{}", "sorts", "Share", "--why", "x"], 2, "the dimension 'sorts' is not defined"),
        (["propose", "none", "kinds", "Share", "--why", "x"], 3, "none"),
        (["accept", "{}", "0123456789ab", "--why", "x"], 3, "no proposal 0123456789ab"),
        (["review", "{}", "x"], 2, "`ambry vocab ls` lists them"),
    ],
)
def test_what_is_not_right_is_told(name: str, args: list[str], code: int, words: str) -> None:
    done = run("vocab", *(each.format(name) for each in args))
    assert (done.exit_code, done.stdout) == (code, "") and words in done.stderr


def test_who_comes_second_hears_who_decided(name: str) -> None:
    id = said("vocab", "propose", name, "kinds", "Share", "--why", "new").strip()
    said("vocab", "reject", name, id, "--who", "bob", "--why", "not ours")
    done = run("vocab", "accept", name, id, "--why", "x")
    assert done.exit_code == 1 and "bob has rejected" in done.stderr
