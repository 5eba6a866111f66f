"""What is wrong in a CSV is said by the name of its column, its row and its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.files import rows_of_file
from ambry.ml.tables import read_file

DEFINED = FeatureMetadata.of([parse_definitions("visits: {valType: INT}\nscore: {valType: FLOAT}", "members")])
KINDS = {urn.name: DEFINED.tensor_type(urn) for urn in DEFINED.urns}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "member,visits\n1,7\n2,seven\n",
            "'seven' in the column 'visits' is not INT; it is in row 3, the header is row 1",
        ),
        ("member,score\n1,x'y\n", "\"x'y\" in the column 'score' is not FLOAT; it is in row 2, the header is row 1"),
        (
            '\ufeffscore,member\n"1,5",1\n',
            "'1,5' in the column 'score' is not FLOAT; it is in row 2, the header is row 1",
        ),
        ("member,visits\n1,7\n2,8,9\n", "Expected 2 columns, got 3: 2,8,9; it is in row 3, the header is row 1"),
        ("", "Empty CSV file"),
    ],
)
def test_a_value_that_is_none_is_told_by_its_column_and_row(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "members.csv"
    path.write_text(text)
    with pytest.raises(InvalidRequest) as caught:
        list(rows_of_file(path, KINDS))
    assert caught.value.message == f"{path} cannot be read: {words}"


def test_a_text_that_is_none_is_told_by_its_column(tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    path.write_bytes(b"member,name\n1,a\n2,\xff\n")
    kinds = FeatureMetadata.of([parse_definitions("name: {valType: STRING}", "members")])
    with pytest.raises(
        InvalidRequest, match="the column 'name': CSV conversion error to string: invalid UTF8 data; it is in row 3"
    ):
        list(rows_of_file(path, {"name": kinds.tensor_type(kinds.urns[0])}))


def test_a_guessed_type_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambry.ml.tables.TYPES_SIZE", 100)
    path = tmp_path / "outcomes.tsv"
    path.write_text("unit\tright\n" + "".join(f"{unit}\t1\n" for unit in range(100)) + "100\tyes\n")
    with pytest.raises(
        DataCorrupt, match="'yes' in the column 'right' is not int64; it is in row 102, the header is row 1"
    ):
        list(read_file(path).batches)
