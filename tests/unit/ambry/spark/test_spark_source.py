"""What is meant by a place and by options, before Spark makes a plan of it."""

from __future__ import annotations

import pyarrow as pa
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")

from pyspark.sql.types import StructType

from ambry.errors import InvalidRequest
from ambry.spark.source import AmbryDataSource, columns_in, is_read_as_stored, place_in

ID = "AAEAAQABAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    "place", ["members", "members@champion", "a/b", "ambry://a/c/x", f"ambry+id://{ID}", "http://h:1/named/a/c/x?sig=1"]
)
def test_a_place_of_ambry_is_taken_as_it_is(place: str) -> None:
    assert place_in({"path": place}) == place


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("hdfs://user:WORD@host/x", "hdfs://host/x"),
        ("s3://key:WO/RD@bucket/x?sig=1@WORD", "s3://..."),
        ("https://host/x.parquet?sig=WORD", "https://host/x.parquet"),
        ("file:///data/x", "file:///data/x"),
    ],
)
def test_a_place_of_others_is_refused_without_what_opens_it(place: str, shown: str) -> None:
    """It was looked for as a name, and the answer told all of it."""
    with pytest.raises(InvalidRequest) as refused:
        place_in({"path": place})
    assert refused.value.message.startswith(f"{shown} is no place of ambry; write NAME")
    assert "WORD" not in refused.value.message and "RD@" not in refused.value.message


def test_no_place_is_told_with_what_to_write() -> None:
    with pytest.raises(InvalidRequest, match=r"say what is meant: \.load"):
        place_in({})


def test_an_option_that_is_none_is_refused_where_a_frame_is_made() -> None:
    """A frame with all columns was there, and was refused when it was computed."""
    source = AmbryDataSource({"endpoints": "http://127.0.0.1:9", "path": "members", "colums": "clicks"})
    with pytest.raises(InvalidRequest, match="no option 'colums' here"):
        source.schema()


@pytest.mark.parametrize(
    ("said", "as_stored"),
    [
        ("k double", True),
        ("k float", False),
        ("k string", False),
        ("i short", True),
        ("i boolean", False),
        ("i integer", False),
    ],
)
def test_a_column_that_is_read_as_another_type_leaves_nothing_out(said: str, as_stored: bool) -> None:
    """Of 0.7, read as a float, k < 0.7 holds, and of the bounds, which are of doubles, it does not: rows were missing."""
    stored = pa.schema([("k", pa.float64()), ("i", pa.uint8())])
    name, kind = said.split()
    schema = StructType().add(name, kind)
    assert is_read_as_stored(stored, schema, name) is as_stored
    assert is_read_as_stored(stored, StructType().add("other", "long"), name)


def test_columns_with_commas_and_blanks_are_a_list_in_json() -> None:
    """A URN was cut at its commas: a snapshot with such columns could not be trained on with Spark."""
    assert columns_in(" a, b ") == ["a", "b"]
    assert columns_in('["urn:li:(one,age,1,0)", " b "]') == ["urn:li:(one,age,1,0)", " b "]
    for wrong in ("[a]", "[1]", "[" * 100_000):
        with pytest.raises(InvalidRequest, match="the option columns is"):
            columns_in(wrong)


@pytest.mark.parametrize("said", ["a,,b", "a,", ",", "", " "])
def test_an_empty_name_among_columns_is_told_as_that(said: str) -> None:
    """It was a column that is not there, called ''."""
    with pytest.raises(InvalidRequest, match=r"the option columns is '[^']*', in which a name is empty; write a,b"):
        columns_in(said)
    assert columns_in('["a", ""]') == ["a", ""]


@pytest.mark.parametrize(("option", "instead"), [("paths", "union for several"), ("location", "createTempView")])
def test_what_spark_itself_says_as_an_option_is_told_as_what_was_asked_for(option: str, instead: str) -> None:
    """load(["a", "b"]) and CREATE TABLE were told of an option that nobody had said."""
    source = AmbryDataSource({"endpoints": "http://127.0.0.1:9", "path": "members", option: "x"})
    with pytest.raises(InvalidRequest, match=instead):
        source.schema()
