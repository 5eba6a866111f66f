"""Small files that engines wrote themselves, what is in them, and how they are made again.

    python -m tests.golden.engine_files tests/golden/engines      Spark (pyspark, Java 17) writes all but webhdfs.json

    parquet-CODEC.parquet   Spark 4.3's writer: nested, maps, times with a zone (INT96, as it is by itself) and without one,
                            decimals, dictionaries, several row groups
    parquet-micros.parquet  times with a zone as 64 bits
    features-CODEC.avro     features of the first version, by Apache Avro 1.12.1 for Java, of Spark's jars
    features-spark.avro     spark-avro 4.0.1 in Spark 4.3.0, for which there is none of 4.3: SPARK_AVRO=the jar makes it, too
    rows-snappy.avro        Avro for Java, TrainingExampleAvro; model.avro: BayesianLinearModelAvro
    webhdfs.json            answers of a NameNode of Hadoop 3.5.0 (`ambry engines up hdfs` says HOST:PORT):
                            python -m tests.golden.engine_files tests/golden/engines HOST:PORT

tests/golden/test_engine_files.py reads them without an engine; tests/integration/test_spark.py and test_hdfs.py make them again
and compare by value: no two files of an engine have the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

GOLDEN = Path(__file__).with_name("engines")
CODECS = ("none", "snappy", "gzip", "zstd", "lz4_raw")
AVRO_CODECS = ("null", "deflate", "snappy", "zstandard")
ROWS = 150
_BEGAN_US = 1_764_201_600_000_000
_STEP_US = 1_000_001

COLUMNS = {
    "k": "id",
    "word": "if(id % 7 = 3, null, concat('word ', id % 5))",
    "at": f"timestamp_micros({_BEGAN_US} + id * {_STEP_US})",
    "wall": f"cast(timestamp_micros({_BEGAN_US} + id * {_STEP_US}) as timestamp_ntz)",
    "day": "date_add(date'2026-11-27', cast(id as int))",
    "price": "cast(id * 1.25 as decimal(10,2))",
    "big": "cast(concat(id, '.000000000000000001') as decimal(38,18))",
    "nested": "if(id % 4 = 0, null, named_struct('n', id, 'deep', named_struct('s', concat('s', id), 'f', double(id) / 8)))",
    "items": "transform(sequence(0, cast(id % 3 as int)), x -> named_struct('x', x, 'y', if(x = 1, null, x * 2)))",
    "attrs": "map('a', id, concat('k', id % 2), id * 2)",
    "small": "cast(id % 100 as tinyint)",
    "even": "id % 2 = 0",
    "raw": "cast(concat('b', id) as binary)",
    "ratio": "float(id) / 4",
    "grid": "array(array(id), array(id, id + 1))",
}


def row(number: int) -> dict[str, Any]:
    """Of the Parquet files."""
    at = datetime.fromtimestamp(_BEGAN_US // 1_000_000, UTC) + timedelta(microseconds=number * _STEP_US)
    deep = {"s": f"s{number}", "f": number / 8}
    return {
        "k": number,
        "word": None if number % 7 == 3 else f"word {number % 5}",
        "at": at,
        "wall": at.replace(tzinfo=None),
        "day": date(2026, 11, 27) + timedelta(days=number),
        "price": Decimal(number * 125).scaleb(-2),
        "big": Decimal(number).quantize(Decimal(1).scaleb(-18)) + Decimal(1).scaleb(-18),
        "nested": None if number % 4 == 0 else {"n": number, "deep": deep},
        "items": [{"x": x, "y": None if x == 1 else x * 2} for x in range(number % 3 + 1)],
        "attrs": [("a", number), (f"k{number % 2}", number * 2)],
        "small": number % 100,
        "even": number % 2 == 0,
        "raw": f"b{number}".encode(),
        "ratio": number / 4,
        "grid": [[number], [number, number + 1]],
    }


TRIPLE = {
    "type": "record",
    "name": "Triple",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "term", "type": ["null", "string"]},
        {"name": "value", "type": ["float", "double"]},
    ],
}
FEATURES = {
    "type": "record",
    "name": "topLevelRecord",
    "fields": [
        {"name": "member", "type": "long"},
        {"name": "features", "type": [{"type": "array", "items": [TRIPLE, "null"]}, "null"]},
    ],
}
EXAMPLE = {
    "type": "record",
    "name": "TrainingExampleAvro",
    "namespace": "com.linkedin.photon.avro.generated",
    "fields": [
        {"name": "uid", "type": ["null", "string", "long", "int"]},
        {"name": "label", "type": "double"},
        {"name": "features", "type": {"type": "array", "items": {**TRIPLE, "name": "FeatureAvro"}}},
        {"name": "metadataMap", "type": ["null", {"type": "map", "values": "string"}]},
        {"name": "weight", "type": ["null", "double"]},
        {"name": "offset", "type": ["null", "double"]},
    ],
}
MEANS = {
    "type": "record",
    "name": "NameTermValueAvro",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "term", "type": "string"},
        {"name": "value", "type": "double"},
    ],
}
MODEL = {
    "type": "record",
    "name": "BayesianLinearModelAvro",
    "namespace": "com.linkedin.photon.avro.generated",
    "fields": [
        {"name": "modelId", "type": "string"},
        {"name": "modelClass", "type": ["null", "string"]},
        {"name": "means", "type": {"type": "array", "items": MEANS}},
        {"name": "variances", "type": ["null", {"type": "array", "items": "NameTermValueAvro"}]},
        {"name": "lossFunction", "type": ["null", "string"]},
    ],
}
"""Fields and types as Photon's files are publicly described; of its own writer nothing can be had."""
MEMBERS = 60


def features(number: int) -> dict[str, Any]:
    """Of features-*.avro: an age, which some lack, and a number for each of three days."""
    week: list[Any] = [("week", "0", number + 0.5), ("week", "2", 1.0)]
    told = [] if number % 5 == 0 else [("age", None, float(number))]
    return {
        "member": number,
        "features": [dict(zip(("name", "term", "value"), each, strict=True)) for each in told + week],
    }


def example(number: int) -> dict[str, Any]:
    """Of rows-snappy.avro."""
    return {
        "uid": None if number % 3 == 0 else f"u{number}",
        "label": float(number % 2),
        "features": [
            {"name": "age", "term": None, "value": float(number)},
            {"name": "job", "term": f"j{number % 4}", "value": 1.0},
        ],
        "metadataMap": {"memberId": f"m{number % 7}"},
        "weight": None if number % 2 else 2.0,
        "offset": number / 10,
    }


def coefficients(number: int) -> dict[str, Any]:
    """Of model.avro."""
    told = [("(INTERCEPT)", "", 0.25 * number), ("age", "", -1.5), ("job", "j1", number + 0.125)]
    means = [dict(zip(("name", "term", "value"), each, strict=True)) for each in told]
    return {
        "modelId": f"m{number}",
        "modelClass": "com.linkedin.photon.ml.supervised.classification.LogisticRegressionModel",
        "means": means,
        "variances": [{**each, "value": 1.0} for each in means],
        "lossFunction": None,
    }


def write_all(session: Any, directory: Path) -> None:
    """By a session of Spark."""
    session.conf.set("spark.sql.session.timeZone", "UTC")
    frame = session.range(0, ROWS, 1, 1).selectExpr(*(f"{text} as {name}" for name, text in COLUMNS.items()))
    sizes = {
        "parquet.block.size": "4096",
        "parquet.block.size.row.check.min": "80",
        "parquet.page.size.row.check.min": "40",
    }
    for codec in CODECS:
        write_parquet(frame.write.options(**sizes, compression=codec), directory / f"parquet-{codec}.parquet")
    session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    write_parquet(frame.select("k", "at").write, directory / "parquet-micros.parquet")
    session.conf.unset("spark.sql.parquet.outputTimestampType")
    java = session.sparkContext._jvm
    for codec in AVRO_CODECS:
        write_avro(
            java, directory / f"features-{codec}.avro", FEATURES, [features(each) for each in range(MEMBERS)], codec
        )
    write_avro(java, directory / "rows-snappy.avro", EXAMPLE, [example(each) for each in range(MEMBERS)], "snappy")
    write_avro(java, directory / "model.avro", MODEL, [coefficients(each) for each in range(3)], "deflate")


def write_by_spark(session: Any, path: Path) -> None:
    """By spark-avro, of which the session has the jar, with the codec that it takes by itself: snappy."""
    triple = "named_struct('name', '{}', 'term', {}, 'value', {})".format
    age = f"if(id % 5 = 0, array(), array({triple('age', 'cast(null as string)', 'double(id)')}))"
    week = f"array({triple('week', repr('0'), 'id + 0.5D')}, {triple('week', repr('2'), '1.0D')})"
    frame = session.range(0, MEMBERS, 1, 1).selectExpr("id as member", f"concat({age}, {week}) as features")
    with tempfile.TemporaryDirectory() as made:
        frame.write.mode("append").format("avro").save(made)
        [part] = Path(made).glob("part-*.avro")
        shutil.copy(part, path)


def write_parquet(writer: Any, path: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        writer.mode("append").parquet(made)
        [part] = Path(made).glob("part-*.parquet")
        shutil.copy(part, path)


def write_avro(java: Any, path: Path, schema: dict[str, Any], records: list[dict[str, Any]], codec: str) -> None:
    """By Avro for Java, from its own form in JSON."""
    avro = java.org.apache.avro
    parsed = getattr(avro, "Schema$Parser")().parse(json.dumps(schema))
    reader = avro.generic.GenericDatumReader(parsed)
    writer = avro.file.DataFileWriter(avro.generic.GenericDatumWriter(parsed))
    writer.setCodec(avro.file.CodecFactory.fromString(codec))
    writer.setSyncInterval(1_000)
    writer.create(parsed, java.java.io.File(str(path)))
    for record in records:
        decoder = avro.io.DecoderFactory.get().jsonDecoder(parsed, json.dumps(_tagged(record, schema, {})))
        writer.append(reader.read(None, decoder))
    writer.close()


def _tagged(value: Any, kind: Any, known: dict[str, Any]) -> Any:
    """Avro's JSON: what is of a union says of which type."""
    if isinstance(kind, list):
        if value is None:
            return None
        one = next(each for each in kind if each != "null" and _fits(value, each))
        return {_name(one, known): _tagged(value, one, known)}
    if isinstance(kind, str):
        return _tagged(value, known[kind], known) if kind in known else value
    if kind["type"] == "record":
        known[kind["name"]] = kind
        return {each["name"]: _tagged(value[each["name"]], each["type"], known) for each in kind["fields"]}
    if kind["type"] == "array":
        return [_tagged(each, kind["items"], known) for each in value]
    return {name: _tagged(each, kind["values"], known) for name, each in value.items()}


def _fits(value: Any, kind: Any) -> bool:
    return not (kind == "float" and isinstance(value, float)) and not (
        isinstance(value, str) and kind in ("long", "int")
    )


def _name(kind: Any, known: dict[str, Any]) -> str:
    """Of a type of a union."""
    if isinstance(kind, str):
        return kind
    return str(kind["name"]) if kind["type"] == "record" else str(kind["type"])


ASKED = ("GETFILESTATUS /golden", "LISTSTATUS /golden", "GETFILESTATUS /golden/part-0.avro", "GETFILESTATUS /nowhere")


def name_node_answers(address: str) -> dict[str, Any]:
    """What a NameNode says, of a directory with two files that is made there."""
    import fsspec

    files = fsspec.filesystem("webhdfs", host=address.partition(":")[0], port=int(address.partition(":")[2]), user="me")
    files.makedirs("/golden", exist_ok=True)
    for number in range(2):
        with files.open(f"/golden/part-{number}.avro", "wb") as file:
            file.write((GOLDEN / "features-snappy.avro").read_bytes())
    found = {}
    for asked in ASKED:
        operation, _, path = asked.partition(" ")
        try:
            with urlopen(f"http://{address}/webhdfs/v1{path}?op={operation}&user.name=me", timeout=30) as answer:
                found[asked] = {"status": answer.status, "body": json.load(answer)}
        except HTTPError as error:
            found[asked] = {"status": error.code, "body": json.load(error)}
    return found


def main(directory: str, name_node: str = "") -> None:
    if name_node:
        text = json.dumps(name_node_answers(name_node), indent=1) + "\n"
        (Path(directory) / "webhdfs.json").write_text(text)
        return
    from tests.support.spark_here import spark_here

    jar = os.environ.get("SPARK_AVRO")
    if jar:
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"--jars {jar} pyspark-shell"
    with tempfile.TemporaryDirectory() as scratch, spark_here(Path(scratch)) as session:
        write_all(session, Path(directory))
        if jar:
            write_by_spark(session, Path(directory) / "features-spark.avro")


if __name__ == "__main__":
    main(*sys.argv[1:])
