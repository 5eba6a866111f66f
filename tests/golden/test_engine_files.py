"""What engines wrote themselves is read without them: Spark's Parquet, Avro of Java, and the answers of a name node."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

pytest.importorskip("fastavro", reason="pip install 'ambry[photon]'")

from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.photon.avro_files import avro_records
from ambry.ml.photon.layout import MODEL_SCHEMA, read_model
from ambry.ml.photon.reading import read_examples, write_examples
from ambry.ml.sources.avro import AvroSource
from ambry.ml.sources.first_version import avro_files
from ambry.ml.sources.parquet import ParquetSource
from ambry.spark.columns import as_spark, spark_arrow_schema
from ambry.spark.contents import ParquetStored
from ambry.spark.plan import conditions_in, wanted
from tests.golden import engine_files
from tests.golden.engine_files import AVRO_CODECS, CODECS, GOLDEN, MEMBERS, ROWS

DEFINITIONS = "age: {valType: INT}\nweek: {valType: FLOAT, dims: [days-1-0]}\ndays: {type: discrete : {size: 3}}\n"
METADATA = FeatureMetadata.of([parse_definitions(DEFINITIONS, "n")])
AGE, WEEK = (next(str(urn) for urn in METADATA.urns if urn.name == name) for name in ("age", "week"))


class RangesOfFile:
    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()

    def get_ranges(self, ref: Any, spans: Sequence[tuple[int, int]], *, coalesce: int) -> list[bytes]:
        return [self._data[start:end] for start, end in spans]


def stored(name: str) -> tuple[Any, Any]:
    path = GOLDEN / name
    return ParquetStored(None, parquet.read_metadata(path), name), RangesOfFile(path)  # type: ignore[arg-type]


def rows_of(name: str, columns: list[str], numbers: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """As Spark gets them, all or of some row groups."""
    file, client = stored(name)
    schema = spark_arrow_schema(file.schema, columns)
    pieces = [each for each in file.pieces(columns) if numbers is None or each.number in numbers]
    return [row for batch in file.batches(client, pieces, columns) for row in as_spark(batch, schema).to_pylist()]


@pytest.mark.parametrize("codec", CODECS)
def test_parquet_of_spark_is_read_by_its_ranges(codec: str) -> None:
    name = f"parquet-{codec}.parquet"
    file, _ = stored(name)
    assert "parquet-mr" in file.footer.created_by and file.footer.schema.column(2).physical_type == "INT96"
    for columns in (list(engine_files.COLUMNS), ["nested", "word"], ["attrs"], ["big", "wall", "at"]):
        assert rows_of(name, columns) == [
            {name: engine_files.row(number)[name] for name in columns} for number in range(ROWS)
        ]
    pieces = file.pieces(["k"])
    kept = [each.number for each in wanted(pieces, conditions_in("k >= 130"))]
    assert 0 < len(kept) < len(pieces)
    assert set(range(130, ROWS)) <= {row["k"] for row in rows_of(name, ["k"], kept)}


def test_times_with_a_zone_are_the_same_however_they_lie() -> None:
    assert rows_of("parquet-micros.parquet", ["at"]) == [{"at": engine_files.row(each)["at"]} for each in range(ROWS)]
    assert stored("parquet-micros.parquet")[0].footer.schema.column(1).physical_type == "INT64"


def test_parquet_of_spark_is_a_source_of_features() -> None:
    metadata = FeatureMetadata.of([parse_definitions("ratio: {valType: FLOAT}\neven: {valType: BOOLEAN}\n", "n")])
    source = ParquetSource(GOLDEN / "parquet-zstd.parquet", metadata, entity="k")
    found = source.read([str(urn) for urn in metadata.urns], [7, 149, 500])
    assert found.column("ratio").to_pylist() == [1.75, 37.25, None]
    assert found.column("even").to_pylist() == [False, False, None]


@pytest.mark.parametrize("name", [f"features-{codec}.avro" for codec in (*AVRO_CODECS, "spark")])
def test_features_of_the_first_version_are_read_as_they_were_written(name: str) -> None:
    check_features(GOLDEN / name)


def check_features(place: Any) -> None:
    source = AvroSource(place, METADATA, entity="member")
    table = pa.Table.from_batches(list(source.batches([AGE, WEEK])))
    assert table.column("member").to_pylist() == list(range(MEMBERS))
    assert table.column("age").to_pylist() == [None if each % 5 == 0 else each for each in range(MEMBERS)]
    week = np.stack([np.asarray(each) for each in table.column("week").combine_chunks().to_numpy_ndarray()])
    assert week.tolist() == [[each + 0.5, 0.0, 1.0] for each in range(MEMBERS)]


def test_rows_of_photon_are_read_as_java_wrote_them() -> None:
    found = read_examples(GOLDEN / "rows-snappy.avro", ids=["memberId"])
    rows = [engine_files.example(each) for each in range(MEMBERS)]
    assert found.response.tolist() == [row["label"] for row in rows]
    assert found.weight.tolist() == [row["weight"] or 1.0 for row in rows]
    assert found.offset.tolist() == [row["offset"] for row in rows]
    assert list(found.ids["memberId"]) == [row["metadataMap"]["memberId"] for row in rows]
    assert list(found.uids) == [row["uid"] or str(place) for place, row in enumerate(rows)]
    shard = found.shard("features")
    assert shard.index.features == (("age", ""), *(("job", f"j{each}") for each in range(4)))
    assert shard.matrix.toarray()[:, 0].tolist() == [float(each) for each in range(MEMBERS)]


def test_a_model_of_photon_is_read_as_java_wrote_it(tmp_path: Path) -> None:
    of_entities = tmp_path / "random-effect" / "per-member"
    (of_entities / "coefficients").mkdir(parents=True)
    shutil.copy(GOLDEN / "model.avro", of_entities / "coefficients" / "part-00000.avro")
    (of_entities / "id-info").write_text("memberId\nfeatures\n")
    (tmp_path / "model-metadata.json").write_text('{"modelType": "LOGISTIC_REGRESSION", "modelName": "m"}')
    model = read_model(tmp_path)
    assert model.random["per-member"].entities == ("m0", "m1", "m2")
    for number in range(3):
        told = {(each["name"], each["term"]): each["value"] for each in engine_files.coefficients(number)["means"]}
        assert model.coefficients("per-member", f"m{number}") == {name: value for name, value in told.items() if value}


def fields_of(schema: Any) -> dict[str, Any]:
    """Names and types, without what documents and defaults them, and without the names of types within."""
    if isinstance(schema, list):
        return {"union": [fields_of(each) for each in schema]}
    if isinstance(schema, str):
        return {"type": "record" if schema.endswith("Avro") else schema}
    if schema["type"] == "record":
        return {"type": "record", **{each["name"]: fields_of(each["type"]) for each in schema["fields"]}}
    if schema["type"] == "array":
        return {"type": "array", "of": fields_of(schema["items"])}
    return {"type": "map", "of": fields_of(schema["values"])}


def test_what_is_written_has_the_fields_that_photons_files_have(tmp_path: Path) -> None:
    """As they are publicly described: of Photon's own writer nothing can be had."""
    assert fields_of(MODEL_SCHEMA) == fields_of(engine_files.MODEL)
    assert (MODEL_SCHEMA["namespace"], MODEL_SCHEMA["name"]) == (
        engine_files.MODEL["namespace"],
        engine_files.MODEL["name"],
    )
    write_examples(tmp_path / "rows.avro", read_examples(GOLDEN / "rows-snappy.avro", ids=["memberId"]))
    with avro_records(tmp_path / "rows.avro") as (schema, _):
        own, public = fields_of(schema), fields_of(engine_files.EXAMPLE)
    assert schema["name"].rpartition(".")[2] == "TrainingExampleAvro"
    # Ours are called `response`, and a term is never missing; both are among what is read.
    assert own.keys() == {*public, "response"} - {"label"}
    for name in ("metadataMap", "weight", "offset"):
        assert own[name] == public[name]
    assert own["features"]["of"].keys() == public["features"]["of"].keys()


class _NameNode(BaseHTTPRequestHandler):
    """Says what a NameNode said, and the bytes of files where a DataNode has them."""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        operation = parse_qs(asked.query)["op"][0]
        path = asked.path.removeprefix("/webhdfs/v1")
        if asked.path.startswith("/of-a-datanode"):
            return self._say(200, (GOLDEN / "features-snappy.avro").read_bytes(), {})
        if operation == "OPEN":
            there = f"http://127.0.0.1:{self.server.server_port}/of-a-datanode{path}?op=OPEN"  # type: ignore[attr-defined]
            return self._say(307, b"", {"Location": there})
        answer = json.loads((GOLDEN / "webhdfs.json").read_text())[f"{operation} {path}"]
        return self._say(answer["status"], json.dumps(answer["body"]).encode(), {"Content-Type": "application/json"})

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def name_node() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _NameNode) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_name_node_is_understood(name_node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    files = avro_files(f"hdfs://{name_node}/golden")
    assert files == [f"webhdfs://{name_node}/golden/part-{number}.avro" for number in range(2)]
    assert avro_files(f"hdfs://{name_node}/golden/part-0.avro") == files[:1]
    check_features(files[0])
    with pytest.raises(FileNotFoundError, match="there is no such file or directory"):
        avro_files(f"hdfs://{name_node}/nowhere")
