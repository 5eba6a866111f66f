"""Whether keys in CSV are texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyarrow import csv

from ambry.ml.csv_keys import keys_are_texts


@pytest.mark.parametrize(
    ("keys", "texts"),
    [
        (["0", "-1", "9223372036854775807"], False),
        (["9223372036854775808"], True),
        (["1", "", "2"], False),
        (["1", "01"], True),
        (["-0"], True),
        (["NA"], True),
        (['"7"'], False),
        ([" 7"], True),
        ([], False),
    ],
)
def test_keys_are_texts_where_one_is_not_written_as_a_number_is(tmp_path: Path, keys: list[str], texts: bool) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("n,key\n" + "".join(f"1,{key}\n" for key in keys))
    assert keys_are_texts(path, "key") is texts
    path.write_text(path.read_text().replace(",", "\t"))
    assert keys_are_texts(path, "key", parse_options=csv.ParseOptions(delimiter="\t")) is texts


def test_what_cannot_be_looked_at_is_left_to_who_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert not keys_are_texts(path, "key"), "nothing is there"
    path.write_text("")
    assert not keys_are_texts(path, "key")
    path.write_text("n,other\n1,2\n")
    assert not keys_are_texts(path, "key")
    path.write_text("key,n\n01,2\n1,2,3\n")
    assert not keys_are_texts(path, "key"), "a row too long"
    os.mkfifo(tmp_path / "pipe")
    assert not keys_are_texts(tmp_path / "pipe", "key"), "it can be read once"
