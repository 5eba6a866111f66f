"""`ambry features`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from fastavro import writer

from ambry import AmbryClient
from ambry.ml.features.tree import read_tree
from ambry.ml.sources.avro import write_avro
from ambry.ml.sources.name_term_value import triple_schema
from tests.support.whole_commands import run, said, told

pytestmark = pytest.mark.usefixtures("here")

URN = "urn:li:(flagship,actions,1,0)"
FEED = 'actions: {valType: INT, dims: [kinds-1-0, days-1-0], availability: ONLINE, doc: "on the feed"}\n'
FEED += "kinds: {type: categorical : {idMappingFile: kinds.csv}}\ndays: {type: discrete : {size: 31}}\n"
_numbers = count()


@pytest.fixture
def tree(here: Path) -> Path:
    (here / "definitions/flagship").mkdir(parents=True)
    (here / "definitions/flagship/feed.conf").write_text(FEED)
    (here / "definitions/flagship/kinds.csv").write_text("0, OUT_OF_VOCAB\n1, Comment\n2, Click\n")
    return here / "definitions"


@pytest.fixture
def name() -> str:
    return f"features-{next(_numbers)}"


def test_a_tree_is_checked_published_changed_and_looked_up(tree: Path, name: str) -> None:
    checked = told("features", "check", str(tree))
    assert (checked["namespaces"], checked["features"], checked["dimensions"]) == (["flagship"], 1, 2)
    assert said("features", "publish", str(tree), name, "--dry-run", "-q") == "1.0.0\n"
    assert said("features", "publish", str(tree), name) == "1.0.0\n"
    again = told("features", "publish", str(tree), name)
    assert again == {"version": "1.0.0", "sha256": checked["sha256"], "new": False, "changes": []}
    with (tree / "flagship/kinds.csv").open("a") as file:
        file.write("3, Share\n")
    assert told("features", "diff", str(tree), name) == {
        "part": "MINOR",
        "change": "dimension flagship/kinds-1-0: kinds.csv has new names: Share",
    }
    assert said("features", "publish", str(tree), name, "--dry-run") == "1.1.0\n"
    assert said("features", "publish", str(tree), name) == "1.1.0\n"
    shown = told("features", "show", f"{name}@1.0.0", URN)
    assert (shown["shape"], shown["doc"], shown["dims"]) == (
        [3, 31],
        "on the feed",
        {"kinds": "flagship/kinds-1-0 (categorical: Comment, Click)", "days": "flagship/days-1-0 (discrete: 31)"},
    )
    said("alias", "set", name, "stable", "1.1.0", "-q")
    assert said("features", "show", f"{name}@stable").splitlines()[1].split() == ["INT", "ONLINE", "4", "x", "31", URN]


def test_what_breaks_readers_is_told_and_not_published(tree: Path, name: str) -> None:
    said("features", "publish", str(tree), name)
    (tree / "flagship/kinds.csv").write_text("0, OUT_OF_VOCAB\n1, Comments\n2, Click\n")
    for command in (["publish"], ["publish", "--dry-run"], ["publish", "--version", "9.0.0"]):
        done = run("features", command[0], str(tree), name, *command[1:])
        assert (done.exit_code, done.stdout) == (8, "") and done.stderr.count("\n") == 1, done.output
        assert "id 1 was 'Comment' and is 'Comments' now" in done.stderr
    done = run("features", "diff", str(tree), name)
    assert done.exit_code == 8 and done.stdout.splitlines()[1].startswith("REFUSED")
    assert [line.split()[-1] for line in said("dataset", "versions", name).splitlines()] == ["VERSION", "1.0.0"]


def test_each_fault_of_a_tree_is_a_line_with_its_place(tree: Path) -> None:
    (tree / "flagship/feed.conf").write_text("actions: {\n  valTyp: INT\n}")
    (tree / "ads").mkdir()
    (tree / "ads/bids.conf").write_text("bid: {valType: INT")
    done = run("features", "check", str(tree))
    assert (done.exit_code, done.stdout) == (2, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["ads/bids.conf:1:6", "flagship/feed.conf:1:1"]


def test_a_wheel_is_written(tree: Path, here: Path) -> None:
    assert said("features", "wheel", str(tree), "flagship-features", "1.2.0", "-o", "dist").strip() == str(
        Path("dist/flagship_features-1.2.0-py3-none-any.whl")
    )
    assert (here / "dist/flagship_features-1.2.0-py3-none-any.whl").stat().st_size > 500


def test_what_is_not_there_is_told(tree: Path, name: str) -> None:
    assert run("features", "show", name).exit_code == 3
    assert run("features", "diff", str(tree), name).exit_code == 3
    said("features", "publish", str(tree), name)
    done = run("features", "show", name, "urn:li:(flagship,action,1,0)")
    assert done.exit_code == 2 and f"did you mean {URN}?" in done.stderr


def test_what_was_accepted_comes_into_the_tree(tree: Path, name: str, here: Path) -> None:
    said("features", "publish", str(tree), name)
    with (tree / "flagship/kinds.csv").open("a") as file:
        file.write("3, Share\n")
    said("features", "publish", str(tree), name)
    (tree / "flagship/kinds.csv").write_text("0, OUT_OF_VOCAB\n1, Comment\n2, Click\n")
    refused = run("features", "publish", str(tree), name)
    assert refused.exit_code == 8 and "features get --vocabularies" in refused.stderr
    kinds = str(tree / "flagship/kinds.csv")
    assert told("features", "get", name, str(tree), "--vocabularies") == {"path": kinds, "added": ["Share"]}
    assert said("features", "publish", str(tree), name, "-q") == "1.1.0\n"
    said("features", "get", f"{name}@1.0.0", str(here / "new"))
    assert (here / "new/flagship/kinds.csv").read_text() == "0, OUT_OF_VOCAB\n1, Comment\n2, Click\n"
    there = run("features", "get", name, str(here / "new"))
    assert there.exit_code == 1 and "says something else" in there.stderr


def test_a_snapshot_of_the_first_version_is_moved(tree: Path, name: str, here: Path) -> None:
    said("features", "publish", str(tree), name)
    (here / "old").mkdir()
    rows = {"member": [1, 2], "actions": [[[each] * 31 for each in (0, 5, 7)], None]}
    write_avro(here / "old/part-0.avro", rows, [URN], metadata=read_tree(tree), entity="member")
    what = ("features", "import", str(here / "old"), f"{name}-members", "--definitions", name, "--entity", "member")
    assert told(*what, "--as-of", "2026-11-27")["rows"] == 2
    what = ("features", "import", str(here / "dist"), name, "--definitions", name, "--entity", "member")
    nothing = run(*what, "--as-of", "2026-11-27")
    assert nothing.exit_code == 1 and "dist" in nothing.stderr


def test_what_an_import_leaves_out_or_without_a_value_is_told(tree: Path, name: str, here: Path) -> None:
    """Nothing was said, and a feature that a job had misspelt was missed later."""
    (tree / "flagship/more.conf").write_text("age: {valType: INT}\nyears: {valType: INT}\n")
    said("features", "publish", str(tree), name)
    triple = triple_schema("Triple")
    fields = [
        {"name": "member", "type": "long"},
        {"name": "features", "type": {"type": "array", "items": triple}},
    ]
    bag = [{"name": each, "term": "", "value": 1.0} for each in ("age", "yeers", *(f"z{more}" for more in range(6)))]
    with (here / "old.avro").open("wb") as file:
        writer(file, {"type": "record", "name": "R", "fields": fields}, [{"member": 1, "features": bag}])
    what = (
        "features",
        "import",
        str(here / "old.avro"),
        f"{name}-members",
        "--definitions",
        name,
        "--entity",
        "member",
    )
    made = run(*what, "--as-of", "2026-11-27")
    years = "urn:li:(flagship,years,1,0)"
    assert made.exit_code == 0 and made.stderr.splitlines() == [
        f"ambry: features that no record has, without a value: {URN}, {years}",
        "ambry: names that are no feature, left out: yeers, z0, z1, z2, z3 and 2 more",
    ]
    # What is defined and not asked for is no strange name.
    some = run(*what, "--as-of", "2026-11-28", "--feature", "age")
    assert some.stderr.splitlines() == ["ambry: names that are no feature, left out: yeers, z0, z1, z2, z3 and 2 more"]
    assert run(*what, "--as-of", "2026-11-29", "--quiet").stderr == ""


def test_a_snapshot_of_the_first_version_is_read_from_the_cluster_that_is_said(
    tree: Path, name: str, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was read from that of the environment."""
    meant, other = urls
    monkeypatch.setenv("AMBRY_ENDPOINTS", other)
    said("features", "publish", str(tree), name, "--endpoint", meant)
    for url, members in ((meant, [1, 2]), (other, [1, 2, 3])):
        rows = {"member": members, "actions": [None] * len(members)}
        write_avro(tree / f"{len(members)}.avro", rows, [URN], metadata=read_tree(tree), entity="member")
        with AmbryClient(url) as client:
            client.put(tree / f"{len(members)}.avro", name=f"{name}.avro")
            place = f"ambry://{client.default_account}/{client.default_container}/{name}.avro"
    what = ("features", "import", place, f"{name}-members", "--definitions", name, "--entity", "member")
    assert told(*what, "--as-of", "2026-11-27", "--endpoint", meant)["rows"] == 2


def test_two_published_versions_are_compared_the_later_one_beside_the_earlier(tree: Path, name: str) -> None:
    """A tree alone was compared, with one version."""
    said("features", "publish", str(tree), name)
    (tree / "flagship/feed.conf").write_text(FEED + "score: {valType: FLOAT}\n")
    said("features", "publish", str(tree), name)
    change = {"part": "MINOR", "change": "urn:li:(flagship,score,1,0) is new"}
    for places in ((f"{name}@1.0.0", f"{name}@1.1.0"), (name, f"{name}@1.0.0")):
        assert told("features", "diff", *places) == change
    assert said("features", "diff", name, f"{name}@1.1.0", "--json") == ""
    assert run("features", "diff", f"{name}@9.0.0", name).exit_code == 3
    gone = run("features", "diff", "definitoins/", name)
    assert gone.exit_code == 2 and "there is no file or directory 'definitoins/'" in gone.stderr
    mistyped = run("features", "diff", "feed.cnf", name)
    assert mistyped.exit_code == 3 and "there is no file or directory 'feed.cnf', and there is no d" in mistyped.stderr
