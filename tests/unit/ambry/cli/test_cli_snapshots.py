"""`ambry snapshot`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import json
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry.ml.snapshots.files import write_file
from tests.support.fixed_lists import needs_fixed_lists
from tests.support.whole_commands import run, said
from tests.support.wrong_clocks import DAYS, set_wrong

pytestmark = pytest.mark.usefixtures("here")

AGE, SHARE, ACTIONS, RAW, NOTE = (f"urn:li:(n,{name},1,0)" for name in ("age", "share", "actions", "raw", "note"))
FEED = """\
age: {valType: INT, default: -1}
share: {valType: FLOAT, dims: [kinds-1-0]}
actions: {valType: INT, dims: [kinds-1-0, days-1-0], availability: ONLINE}
raw: {valType: BYTES}
note: {valType: STRING}
days: {type: discrete}
kinds: {type: categorical : {idMappingFile: kinds.csv}}
"""
_numbers = count()


def told(*args: str) -> Any:
    lines = [json.loads(line) for line in said(*args, "--json").splitlines()]
    return lines[0] if len(lines) == 1 else lines


@pytest.fixture
def definitions(here: Path) -> str:
    (here / "definitions/n").mkdir(parents=True)
    (here / "definitions/n/feed.conf").write_text(FEED)
    (here / "definitions/n/kinds.csv").write_text("0, OUT_OF_VOCAB\n1, Comment\n2, Click\n")
    name = f"definitions-{next(_numbers)}"
    said("features", "publish", "definitions", name)
    return name


@pytest.fixture
def name() -> str:
    return f"members-{next(_numbers)}"


LINES = """\
{"member": 42, "age": 7, "share": [0, 0.5, 0.5], "actions": [["Click", 7, 3], ["Reshare", 0, 1]], "raw": "AP8=", "note": ""}

{"member": 17, "share": null, "actions": [], "raw": "", "note": "a, \\"b\\""}
{"member": -5, "age": 9, "actions": [{"kinds": 1, "days": 2, "value": 4}]}
"""
ROWS = [
    {
        "member": -5,
        "actions": [[1, 2, 4]],
        "age": 9,
        "note": None,
        "raw": None,
        "share": None,
    },
    {"member": 17, "actions": [], "age": None, "note": 'a, "b"', "raw": "", "share": None},
    {
        "member": 42,
        "actions": [[0, 0, 1], [2, 7, 3]],
        "age": 7,
        "note": "",
        "raw": "AP8=",
        "share": [0.0, 0.5, 0.5],
    },
]


def write(definitions: str, name: str, file: str, *more: str) -> str:
    return said("snapshot", "write", file, name, "--definitions", definitions, "--entity", "member", *more).strip()


def test_a_snapshot_is_written_listed_shown_and_read(here: Path, definitions: str, name: str) -> None:
    (here / "members.jsonl").write_text(LINES)
    assert write(definitions, name, "members.jsonl", "--as-of", "2026-11-27") == "1795737600000"
    assert write(definitions, name, "members.jsonl", "--as-of", "2026-11-28T01:00+01:00") == "1795824000000"
    listed = told("snapshot", "ls", name)
    assert [entry["as_of"] for entry in listed] == ["2026-11-27T00:00:00.000+00:00", "2026-11-28T00:00:00.000+00:00"]
    assert said("snapshot", "ls", name).splitlines()[1].startswith("1795737600000  2026-11-27")
    shown = told("snapshot", "show", f"{name}@1795737600000")
    assert (shown["rows"], shown["entity"], shown["batches"]) == (3, "member (int64)", 1)
    assert shown["definitions"] == f"{definitions}@1.0.0"
    assert shown["features"][ACTIONS] == "INT [kinds: 3 x days: ?]"
    assert told("snapshot", "read", name) == ROWS
    assert told("snapshot", "read", name, AGE, "--key", "42", "--key", "6") == [
        {"member": 42, "age": 7},
        {"member": 6, "age": -1},
    ]
    assert said("snapshot", "read", name, SHARE, "--key", "42") == "member  share\n42      [0.0, 0.5, 0.5]\n"
    assert said("snapshot", "as-of", name, "2026-11-27T23:59:59Z") == "1795737600000\n"
    assert told("snapshot", "as-of", name, "2030-01-01")["version"] == "1795824000000"
    done = run("snapshot", "as-of", name, "2026-11-26")
    assert (done.exit_code, done.stdout) == (3, "") and "there is no version" in done.stderr


@pytest.mark.parametrize("days", DAYS)
def test_a_snapshot_of_now_is_of_the_time_of_the_store(
    here: Path, definitions: str, name: str, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """One of a clock days ahead was the newest for so long, whatever others wrote."""
    (here / "members.jsonl").write_text(LINES)
    set_wrong(monkeypatch, days)
    version = int(write(definitions, name, "members.jsonl"))
    assert abs(version / 1_000 - time.time()) < 600


@pytest.mark.parametrize("suffix", [pytest.param("parquet", marks=needs_fixed_lists), "arrow", "csv", "jsonl"])
def test_what_is_read_to_a_file_is_written_again(here: Path, definitions: str, name: str, suffix: str) -> None:
    (here / "members.jsonl").write_text(LINES)
    write(definitions, name, "members.jsonl", "--as-of", "2026-11-27")
    assert said("snapshot", "read", name, "--to", f"out.{suffix}") == f"out.{suffix}\n"
    write(definitions, name, f"out.{suffix}", "--as-of", "2026-11-28")
    assert told("snapshot", "read", name) == ROWS
    told("snapshot", "read", name, "--key", "17", "--to", f"one.{suffix}")
    write(definitions, name, f"one.{suffix}", "--as-of", "2026-11-29")
    assert told("snapshot", "read", name) == {**ROWS[1], "age": -1}


@needs_fixed_lists
def test_files_of_others_are_written(here: Path, definitions: str, name: str) -> None:
    """A frame of pandas, of which one column is called otherwise, and a stream of Arrow."""
    frame = pd.DataFrame({"member": ["b", "a"], "years": [1, 2], "share": [np.array([1, 2, 3.0]), None], "x": [0, 0]})
    frame.to_parquet(here / "x.parquet")
    write(definitions, name, "x.parquet", "--column", f"{AGE}=years", "--format", "parquet", "--allow-missing")
    assert told("snapshot", "show", name)["batches"] == 1
    assert told("snapshot", "read", name) == [
        {"member": "a", "years": 2, "share": None},
        {"member": "b", "years": 1, "share": [1.0, 2.0, 3.0]},
    ]
    assert told("snapshot", "read", name, AGE, "--key", "b") == {"member": "b", "years": 1}
    table = pa.table({"member": [3], "age": [4]})
    with pa.OSFile("x.arrow", "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    write(definitions, name, "x.arrow", "--feature", AGE)
    assert told("snapshot", "read", name) == {"member": 3, "age": 4}
    assert parquet.read_table(here / "x.parquet").num_rows == 2


@pytest.mark.parametrize(
    ("text", "file", "words"),
    [
        ("{}", "x.txt", "what it is, its suffix says"),
        ("{", "x.jsonl", "x.jsonl:1: this is no JSON"),
        ("[1]", "x.jsonl", "x.jsonl:1: a line is an object"),
        ('{"member": 1, "years": 3}', "x.jsonl", "no feature of the definitions has a column here"),
        ('{"member": 1, "age": 0.5}', "x.jsonl", "0.5 in row 0 is not INT"),
        ('{"member": 1, "age": 3}\n{"member": 1, "age": 4}', "x.jsonl", "stands twice"),
        ('{"member": 1, "raw": "?"}', "x.jsonl", "is no base64"),
        ("x", "x.parquet", "cannot be read"),
        ('member,share\n1,"[1"\n', "x.csv", "is no tensor as JSON"),
        ("member,age\n1,x\n", "x.csv", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line(
    here: Path, definitions: str, name: str, text: str, file: str, words: str
) -> None:
    (here / file).write_text(text)
    options = ("--definitions", definitions, "--entity", "member", "--allow-missing")
    done = run("snapshot", "write", file, name, *options)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_a_file_without_rows_is_refused_unless_it_may_be(here: Path, definitions: str, name: str, suffix: str) -> None:
    for column in ("age", "years"):
        file = f"{column}.{suffix}"
        write_file(here / file, pa.schema([("member", pa.int64()), (column, pa.int32())]), [])
    options = (name, "--definitions", definitions, "--entity", "member", "--feature", AGE)
    done = run("snapshot", "write", f"age.{suffix}", *options)
    assert done.exit_code == 2 and "there are no rows" in done.stderr and "--allow-empty" in done.stderr, done.output
    done = run("snapshot", "write", f"years.{suffix}", *options, "--allow-empty")
    assert done.exit_code == 2 and "no column 'age'; they have member, years" in done.stderr, done.output
    assert told("snapshot", "write", f"age.{suffix}", *options, "--allow-empty")["rows"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--entity", "prson"], "no column is called 'prson', as --entity says; there are member, age"),
        (
            ["--entity", "member", "--column", "aeg=years"],
            f"--column aeg=years: no feature is called 'aeg'; did you mean {AGE}?",
        ),
        (["--entity", "member", "--feature", "shar"], f"--feature: no feature is called 'shar'; did you mean {SHARE}?"),
        (["--entity", "member", "--column", f"{AGE}=years"], "no column is called 'years', as --column says"),
        (["--entity", "member", "--feature", "share"], "none of the 1 rows has 'share'; they have age, member"),
        (["--entity", "member", "--feature", AGE, "--column", f"{NOTE}=note"], "it is no feature that is written"),
    ],
)
def test_columns_that_are_not_there_are_told(
    here: Path, definitions: str, name: str, options: list[str], words: str
) -> None:
    (here / "members.jsonl").write_text('{"member": 1, "age": 2}\n')
    done = run("snapshot", "write", "members.jsonl", name, "--definitions", definitions, *options)
    assert done.exit_code == 2 and words in done.stderr, done.output


def test_no_feature_and_no_column_is_left_out_in_silence(here: Path, definitions: str, name: str) -> None:
    """`snapshot write` made a version without the features whose column was misspelt, and said nothing."""
    (here / "members.csv").write_text('member,age,shares,town\n1,2,"[0, 1, 0]",Rome\n')
    options = ("members.csv", name, "--definitions", definitions, "--entity", "member")
    done = run("snapshot", "write", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"no column for {ACTIONS}; {NOTE}; {RAW}; {SHARE} (is it 'shares'?)." in done.stderr
    assert run("snapshot", "ls", name).exit_code == 3  # Nothing was written, no dataset either.
    done = run("snapshot", "write", *options, "--allow-missing", "--column", "share=shares", "--as-of", "2026-11-27")
    assert (done.exit_code, done.stdout) == (0, "1795737600000\n")
    assert done.stderr.splitlines() == [
        f"ambry: features without a column, left out: {ACTIONS}, {NOTE}, {RAW}",
        "ambry: columns that are no feature, left out: town",
    ]
    assert told("snapshot", "read", name, "age", SHARE) == {"member": 1, "age": 2, "shares": [0.0, 1.0, 0.0]}
    done = run("snapshot", "write", *options, "--feature", "age", "--as-of", "2026-11-28", "-q")
    assert (done.exit_code, done.stderr) == (0, "")


def test_whole_numbers_of_a_csv_of_pandas_are_whole(here: Path, definitions: str, name: str) -> None:
    """Where one is missing, pandas writes the others as 3.0: "CSV conversion error to int32"."""
    frame = pd.DataFrame({"member": [1, 2, 3], "age": [3, None, 2**31 - 1]})
    frame.to_csv(here / "members.csv", index=False)
    write(definitions, name, "members.csv", "--allow-missing")
    assert [row["age"] for row in told("snapshot", "read", name)] == [3, None, 2**31 - 1]
    (here / "members.csv").write_text("member,age\n1,3.5\n")
    done = run(
        "snapshot", "write", "members.csv", name, "--definitions", definitions, "--entity", "member", "--feature", "age"
    )
    assert done.exit_code == 2 and f"{AGE}: 3.5 in row 0 is not INT" in done.stderr


def test_a_feature_of_a_later_line_of_json_is_not_left_out(here: Path, definitions: str, name: str) -> None:
    """The first line alone said which features there are."""
    (here / "members.jsonl").write_text('{"member": 1, "age": 2}\n{"member": 2, "note": "x"}\n')
    write(definitions, name, "members.jsonl", "--allow-missing")
    assert told("snapshot", "read", name, "note") == [{"member": 1, "note": None}, {"member": 2, "note": "x"}]


def test_keys_and_times_that_are_none_are_told(here: Path, definitions: str, name: str) -> None:
    (here / "members.jsonl").write_text(LINES)
    write(definitions, name, "members.jsonl")
    done = run("snapshot", "read", name, "--key", "x")
    assert done.exit_code == 2 and "'x' is no key" in done.stderr
    done = run("snapshot", "as-of", name, "yesterday")
    assert done.exit_code == 2 and "is no point in time" in done.stderr
    done = run("snapshot", "read", name, "urn:li:(n,nothing,1,0)")
    assert done.exit_code == 2 and "is not in" in done.stderr
