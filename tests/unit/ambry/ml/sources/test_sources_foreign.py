"""What strangers wrote, and what lies torn: a sentence of ours, with where and what to do, for every kind of source."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry import InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.sources.avro import AvroSource, write_avro
from ambry.ml.sources.foreign import foreign
from ambry.ml.sources.parquet import ParquetSource
from ambry.ml.sources.sql import SqlSource, _number, write_sql
from tests.support.flipped_footers import with_wrong_levels

URN = "urn:li:(n,a,1,0)"


def metadata(value_type: str = "DOUBLE") -> FeatureMetadata:
    return FeatureMetadata.of([parse_definitions(f"a: {{valType: {value_type}, dims: []}}\n", "n")])


def test_an_error_of_the_system_stays_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), foreign("a file", "write it again"):
        (tmp_path / "none").read_bytes()
    with pytest.raises(InvalidRequest, match=r"^a file: torn; write it again$"), foreign("a file", "write it again"):
        raise OSError("torn")


def test_an_archive_of_parquet_that_cannot_be_had_tells_no_secret(tmp_path: Path) -> None:
    (tmp_path / "none.zip").write_text("none")
    with pytest.raises(OSError, match="cannot be read: File is not a zip file"):
        ParquetSource(f"zip://x.parquet::file://{tmp_path}/none.zip", metadata(), entity="k")
    with pytest.raises(OSError, match="http://127") as raised:
        ParquetSource("zip://x.parquet::http://127.0.0.1:1/a.zip?sig=SEC%2FRET", metadata(), entity="k")
    assert "SEC" not in str(raised.value) and "RET" not in str(raised.value)


class _Answering(BaseHTTPRequestHandler):
    """Answers with the status that the path begins with."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_parquet_over_http_says_what_the_server_answered() -> None:
    """Whatever it was, Arrow had it that there is no such file."""
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            for status, kind, words in (
                (500, OSError, "it cannot be read: 500"),
                (503, OSError, "it cannot be read: 503"),
                (403, FileNotFoundError, r"or it is not for whoever asks \(the server answered 403\)"),
                (404, FileNotFoundError, r"there is no such file.* \(the server answered 404\)"),
            ):
                url = f"http://127.0.0.1:{server.server_port}/{status}/x.parquet"
                with pytest.raises(OSError, match=words) as raised:
                    ParquetSource(f"{url}?sig=SECRET", metadata(), entity="k")
                assert type(raised.value) is kind and raised.value.filename == url
                assert "SECRET" not in str(raised.value)
        finally:
            server.shutdown()
            thread.join()


def test_what_is_no_parquet_or_torn(tmp_path: Path) -> None:
    place = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"k": list(range(1000)), "a": [each / 7 for each in range(1000)]}), place)
    whole = place.read_bytes()
    for torn in (b"", b"no parquet at all", whole[: len(whole) // 2]):
        place.write_bytes(torn)
        with pytest.raises(InvalidRequest, match=r"t\.parquet is no Parquet .*; fetch or write it again"):
            ParquetSource(str(place), metadata(), entity="k")
    place.write_bytes(whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :])
    source = ParquetSource(str(place), metadata(), entity="k")
    with pytest.raises(InvalidRequest, match=r"t\.parquet: the columns k, a cannot be read: .*; write the file again"):
        source.read([URN], [3])
    (tmp_path / "t.parquet").write_bytes(with_wrong_levels("k"))
    source = ParquetSource(str(place), metadata(), entity="k")
    with pytest.raises(
        InvalidRequest, match=r"the column 'k' has 2 levels, and its sizes are not of so many; write the"
    ):
        source.read([], [3])
    with pytest.raises(FileNotFoundError):
        ParquetSource(str(tmp_path / "none"), metadata(), entity="k")


def test_columns_of_parquet_that_stand_twice(tmp_path: Path) -> None:
    place = str(tmp_path / "t.parquet")
    parquet.write_table(pa.Table.from_arrays([pa.array([1])] * 3, names=["k", "a", "a"]), place)
    with pytest.raises(InvalidRequest, match="has 2 columns 'a'; write it with a name for each column"):
        ParquetSource(place, metadata(), entity="k")


def test_files_of_one_directory_that_disagree(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"k": [1], "a": [0.5]}), tmp_path / "1.parquet")
    parquet.write_table(pa.table({"k": [2], "a": ["text"]}), tmp_path / "2.parquet")
    source = ParquetSource(str(tmp_path), metadata(), entity="k")
    with pytest.raises(InvalidRequest, match=r"the columns k, a cannot be read: .*; write the file again"):
        source.read([URN], [1, 2])


def sql(tmp_path: Path, *statements: str) -> str:
    with sqlite3.connect(tmp_path / "x.sqlite") as made:
        for each in statements:
            made.execute(each)
    return f"sqlite:///{tmp_path / 'x.sqlite'}"


def test_numeric_columns_of_sql(tmp_path: Path) -> None:
    url = sql(
        tmp_path,
        "create table t (k numeric(18, 0), a numeric(18, 2))",
        "insert into t values (1, 2), (2, 2.5), (3, null)",
    )
    source = SqlSource(url, "t", metadata(), entity="k")
    assert source.read([URN], [3, 2, 1]).column("a").to_pylist() == [None, 2.5, 2.0]
    assert SqlSource(url, "t", metadata("INT"), entity="k").read([URN], [1]).column("a").to_pylist() == [2]
    with pytest.raises(InvalidRequest, match=r"n,a,1,0.*2\.5"):
        SqlSource(url, "t", metadata("INT"), entity="k").read([URN], [2])
    with pytest.raises(InvalidRequest, match=r"'a' is NUMERIC\(18, 2\); a key is a whole number or a text"):
        SqlSource(url, "t", metadata(), entity="a")


def test_a_numeric_is_what_it_was() -> None:
    assert repr(_number(Decimal("9007199254740993"))) == "9007199254740993"
    assert repr(_number(Decimal("0.1"))) == "0.1"
    assert _number(Decimal("1e400")) == Decimal("1e400")


def test_a_view_of_sql_without_types(tmp_path: Path) -> None:
    url = sql(
        tmp_path,
        "create table t (k integer, a double)",
        "create view v as select k + 0 as k, a * 2 as a from t",
        "create view w as select 'm' || k as k, a from t",
        "create view f as select k / 2.0 as k, a from t",
    )
    assert SqlSource(url, "v", metadata(), entity="k").read([URN], [1]).column("a").to_pylist() == [None]
    sql(tmp_path, "insert into t values (1, 0.5), (2, 4)")
    assert SqlSource(url, "v", metadata(), entity="k").read([URN], [2, 1]).column("a").to_pylist() == [8.0, 1.0]
    assert SqlSource(url, "w", metadata(), entity="k").read([URN], ["m2"]).column("a").to_pylist() == [4.0]
    with pytest.raises(InvalidRequest, match="'k' is float; a key is a whole number or a text"):
        SqlSource(url, "f", metadata(), entity="k")


def test_values_of_sql_that_are_not_of_their_column(tmp_path: Path) -> None:
    url = sql(tmp_path, "create table t (k integer, a numeric)", "insert into t values (1, 'text')")
    with pytest.raises(InvalidRequest, match="the table 't': a value of k, a is not of its column's type"):
        SqlSource(url, "t", metadata(), entity="k").read([URN], [1])


def test_columns_of_sql_that_would_have_one_name(tmp_path: Path) -> None:
    defined = FeatureMetadata.of([parse_definitions("a: {valType: INT}\nb: {valType: INT}\n", "n")])
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    for columns in ({URN: "b"}, {URN: "B"}, {URN: "k"}):
        with pytest.raises(
            InvalidRequest, match=r"the table 't' would have one column for .*; give one of them another"
        ):
            write_sql(url, "t", {"k": [1], "b": [1]}, defined.urns, metadata=defined, entity="k", columns=columns)


TRIPLE = {
    "type": "record",
    "name": "T",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "term", "type": ["null", "string"]},
        {"name": "value", "type": ["null", "double", "string"]},
    ],
}


def avro(place: Path, bag: Any, records: list[Any], **more: Any) -> Path:
    fields = [{"name": "k", "type": "long"}, {"name": "features", "type": bag}]
    with place.open("wb") as file:
        fastavro.writer(file, {"type": "record", "name": "R", "fields": fields}, records, **more)
    return place


def test_avro_files_of_strangers(tmp_path: Path) -> None:
    place = tmp_path / "t.avro"
    for schema, values in (("string", ["x"]), (["null", "string"], [None])):
        with place.open("wb") as file:
            fastavro.writer(file, schema, values)
        with pytest.raises(InvalidRequest, match="its values are no records; fetch or write it again"):
            AvroSource(place, metadata(), entity="k")
    place.write_text("k,visits\n1,2\n")
    with pytest.raises(InvalidRequest, match="it does not begin as one does; name one, or write a snapshot of CSV"):
        AvroSource(place, metadata(), entity="k")
    for said in ("no json", "[]"):
        avro(place, {"type": "array", "items": TRIPLE}, [], metadata={"ambry.features": said})
        with pytest.raises(InvalidRequest, match=r"is no Avro file of features: .*; fetch or write it again"):
            AvroSource(place, metadata(), entity="k")
    for bag, value in (({"type": "map", "values": "double"}, {"a": 1.0}), ("string", "a")):
        source = AvroSource(avro(place, bag, [{"k": 1, "features": value}]), metadata(), entity="k")
        with pytest.raises(InvalidRequest, match="the field 'features' of 1 is no list of names, terms and values"):
            source.read([URN], [1])


def test_avro_without_a_value(tmp_path: Path) -> None:
    bag = {"type": "array", "items": TRIPLE}
    place = avro(tmp_path / "t.avro", bag, [{"k": 1, "features": [{"name": "a", "term": "1", "value": None}]}])
    text = "a: {valType: FLOAT, dims: [days-1-0]}\ndays: {type: discrete : {size: 3}}\n"
    tensors = FeatureMetadata.of([parse_definitions(text, "n")])
    with pytest.raises(InvalidRequest, match="the cell '1' in row 0 has no value; leave it out"):
        AvroSource(place, tensors, entity="k").read([URN], [1])
    avro(place, bag, [{"k": 1, "features": [{"name": "a", "term": None, "value": "x"}]}])
    with pytest.raises(InvalidRequest, match="the value 'x' of a is no number"):
        AvroSource(place, metadata(), entity="k").read([URN], [1])


def test_terms_of_avro_that_are_no_texts(tmp_path: Path) -> None:
    for kind, term in (("long", 7), ("bytes", b"x"), ("boolean", True)):
        fields = [*TRIPLE["fields"][:1], {"name": "term", "type": ["null", kind]}, *TRIPLE["fields"][2:]]
        bag = {"type": "array", "items": {**TRIPLE, "fields": fields}}
        place = avro(tmp_path / "t.avro", bag, [{"k": 1, "features": [{"name": "a", "term": term, "value": 1.0}]}])
        with pytest.raises(InvalidRequest, match=rf"the term {term!r} of a is no text; say `bag`"):
            AvroSource(place, metadata(), entity="k").read([URN], [1])


def test_a_torn_avro_file(tmp_path: Path) -> None:
    records = [{"k": key, "features": [{"name": "a", "term": None, "value": key / 7}]} for key in range(1000)]
    for codec in ("null", "deflate"):
        place = avro(tmp_path / "t.avro", {"type": "array", "items": TRIPLE}, records, codec=codec)
        whole = place.read_bytes()
        for torn in (whole[:-500], whole[:1000] + b"\xff" * 200 + whole[1200:]):
            place.write_bytes(torn)
            with pytest.raises(InvalidRequest, match=r"cannot be read to its end: .*; fetch or write it again"):
                AvroSource(place, metadata(), entity="k").read([URN], [1])


def test_what_avro_would_merge_is_refused(tmp_path: Path) -> None:
    defined = FeatureMetadata.of([parse_definitions("a: {valType: INT}\nb: {valType: INT}\n", "n")])
    place = tmp_path / "t.avro"
    with pytest.raises(InvalidRequest, match="two features would be called 'b'"):
        write_avro(place, {"k": [1], "b": [1]}, defined.urns, metadata=defined, entity="k", columns={URN: "b"})
    with pytest.raises(InvalidRequest, match="would both be the field 'k'"):
        write_avro(place, {"k": [1], "a": [1.0]}, [URN], metadata=metadata(), entity="k", bag="k")


def test_two_writers_of_one_avro_file(tmp_path: Path) -> None:
    place = tmp_path / "t.avro"

    def rows() -> Iterator[Any]:
        yield pa.table({"k": [1], "a": [1.0]})
        write_avro(place, {"k": [9], "a": [9.0]}, [URN], metadata=metadata(), entity="k")
        yield pa.table({"k": [2], "a": [2.0]})

    assert write_avro(place, rows(), [URN], metadata=metadata(), entity="k") == 2
    assert AvroSource(place, metadata(), entity="k").read([URN], [1, 2]).column("a").to_pylist() == [1.0, 2.0]
    assert [each.name for each in tmp_path.iterdir()] == ["t.avro"]
