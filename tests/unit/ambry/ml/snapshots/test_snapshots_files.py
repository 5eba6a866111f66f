"""Cells of CSV: which of them are values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.files import rows_of_file

METADATA = FeatureMetadata.of([parse_definitions("country: {valType: STRING}\nage: {valType: INT}\n", "n")])
KINDS = {urn.name: METADATA.tensor_type(urn) for urn in METADATA.urns}
WORDS = ["NA", "null", "NULL", "NaN", "n/a", "N/A", "-nan", "#N/A", "None"]


def read(path: Path) -> list[dict[str, Any]]:
    return [row for batch in rows_of_file(path, KINDS) for row in batch.to_pylist()]


def test_a_text_is_what_it_is_and_an_empty_cell_is_no_value(tmp_path: Path) -> None:
    """NA, the code of Namibia, was no value, and a model had no coefficient of it."""
    path = tmp_path / "rows.csv"
    path.write_text(
        "member,country,age\n" + "".join(f"{at},{word},{at}\n" for at, word in enumerate(WORDS)) + '9,,\n8,"",1\n'
    )
    rows = read(path)
    assert [row["country"] for row in rows] == [*WORDS, None, ""]
    assert [row["age"] for row in rows] == [*range(len(WORDS)), None, 1]


def test_a_number_without_a_value_may_be_a_word(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("member,age,country\n1,NA,NA\n2,,US\n3,null,\n4,NaN,US\n")
    assert [row["age"] for row in read(path)] == [None] * 4
    assert [row["country"] for row in read(path)] == ["NA", "US", None, "US"]
    path.write_text("member,age,country\n1,none of it,NA\n")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read(path)


def test_texts_stand_beside_the_numbers_of_their_row_in_a_file_of_many_pieces(tmp_path: Path) -> None:
    expected = [(at % 90, WORDS[at % len(WORDS)] + "x" * (at % 50), at) for at in range(80_000)]
    path = tmp_path / "rows.csv"
    path.write_text("age,country,member\n" + "".join(f"{age},{text},{key}\n" for age, text, key in expected))
    assert path.stat().st_size > 2 << 20
    assert [(row["age"], row["country"], row["member"]) for row in read(path)] == expected


@pytest.mark.parametrize(
    "texts",
    [["0003", "3"], ["1", "-0"], ["+1"], ["NA", "1"], ["2024-01-01"], ["true"], ["1e3"], ["9223372036854775808", "1"]],
)
def test_a_key_is_the_text_that_stands_there(tmp_path: Path, texts: list[str]) -> None:
    """0003 was 3, so that two entities had one key, and nobody found it by the key that it has."""
    path = tmp_path / "rows.csv"
    path.write_text("member,age,country\n" + "".join(f"{key},{at},NA\n" for at, key in enumerate(texts)))
    rows = [row for batch in rows_of_file(path, KINDS, "member") for row in batch.to_pylist()]
    assert rows == [{"member": key, "age": at, "country": "NA"} for at, key in enumerate(texts)]


def test_keys_that_are_written_as_numbers_are_stay_numbers(tmp_path: Path) -> None:
    keys = [0, -7, 42, 9223372036854775807]
    path = tmp_path / "rows.csv"
    path.write_text("age,member\n" + "".join(f"1,{key}\n" for key in keys))
    rows = [row for batch in rows_of_file(path, KINDS, "member") for row in batch.to_pylist()]
    assert [row["member"] for row in rows] == keys


def test_a_key_far_below_the_first_piece_counts_for_all(tmp_path: Path) -> None:
    keys = [*map(str, range(300_000)), "007"]
    path = tmp_path / "rows.csv"
    path.write_text("member\n" + "".join(f"{key}\n" for key in keys))
    assert path.stat().st_size > 1 << 20
    assert [row["member"] for batch in rows_of_file(path, {}, "member") for row in batch.to_pylist()] == keys
