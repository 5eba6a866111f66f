"""Small valid files of every kind that is read here, for mutated.py to change."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.package import pack
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.columns import conform
from ambry.ml.snapshots.index import IndexBuilder
from ambry.ml.snapshots.schema import SnapshotAbout, snapshot_schema
from tests.support.strange_snapshots import arrow_file

TEXT = """\
age: {valType: INT, default: -1}
name: {valType: STRING}
flag: {valType: BOOLEAN}
week: {valType: FLOAT, dims: [days-1-0], default: 0.5}
seen: {valType: INT, dims: [places-1-0]}
kind: {valType: LONG, dims: [kinds-1-0]}
days: {type: discrete : {size: 3}}
places: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
NAMES = ("age", "flag", "week", "kind", "name", "seen")
URNS = [f"urn:li:(n,{name},1,0)" for name in NAMES]
KEYS = [0, 6, 7, 12, 30, 46, 47, 90, 118, 119, 200, -4]
_ABOUT = SnapshotAbout(entity="member", as_of=datetime(2026, 11, 27, 12, tzinfo=UTC))


def _batches(*, are_plain: bool = False) -> tuple[Any, list[Any]]:
    """Three batches of twenty entities, of which each third has nothing."""
    kinds = [METADATA.tensor_type(urn) for urn in URNS]
    schema = snapshot_schema(kinds, _ABOUT, pa.int64())
    batches = []
    for start in (0, 40, 80):
        keys = list(range(start, start + 40, 2))
        values: dict[str, list[Any]] = {
            "age": [key % 90 for key in keys],
            "flag": [bool(key % 4) for key in keys],
            "week": [np.arange(3, dtype=np.float32) * key for key in keys],
            "kind": [np.arange(3) for _ in keys],
            "name": [f"m{key}" for key in keys],
            "seen": [[(key, 1), (key + 1, 2)] for key in keys],
        }
        columns = [pa.array(keys, pa.int64())]
        for kind, name in zip(kinds, NAMES, strict=True):
            there = [value if key % 3 else None for key, value in zip(keys, values[name], strict=True)]
            columns.append(conform(there, kind))
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return schema, batches


def _arrow(options: Any = None) -> tuple[bytes, bytes]:
    schema, batches = _batches()
    data, places = arrow_file(schema, batches, "member", options)
    return data, IndexBuilder(places).build(schema, "member")


def _parquet(**options: Any) -> bytes:
    schema, batches = _batches()
    sink = pa.BufferOutputStream()
    with parquet.ParquetWriter(sink, schema, **options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _safetensors() -> bytes:
    from safetensors.numpy import save

    return bytes(save({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.int64)}, {"made": "here"}))


def _skops() -> bytes:
    import skops.io  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    return bytes(skops.io.dumps({"model": model, "names": ["a", "b"]}))


def _avro(codec: str = "null") -> bytes:
    import fastavro

    schema = {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "member", "type": "long"},
            {"name": "name", "type": ["null", "string"]},
            {"name": "cells", "type": {"type": "array", "items": {"type": "map", "values": "float"}}},
            {"name": "kind", "type": {"type": "enum", "name": "E", "symbols": ["u", "v"]}},
        ],
    }
    rows = [
        {
            "member": key << key % 60,
            "name": f"m{key}" if key % 3 else None,
            "cells": [{"a": 1.5}] * (key % 4),
            "kind": "v",
        }
        for key in range(40)
    ]
    out = io.BytesIO()
    fastavro.writer(out, schema, rows, codec=codec, sync_interval=200)
    return out.getvalue()


def _onnx() -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


_LZ4, _ZSTD = (pa.ipc.IpcWriteOptions(compression=codec) for codec in ("lz4", "zstd"))
FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "Arrow": ("snapshot.arrow", lambda: _arrow()[0]),
    "Arrow, lz4": ("snapshot.arrow", lambda: _arrow(_LZ4)[0]),
    "Arrow, zstd": ("snapshot.arrow", lambda: _arrow(_ZSTD)[0]),
    "an index": ("index", lambda: _arrow()[1]),
    "Parquet": ("snapshot.parquet", _parquet),
    "Parquet, zstd": ("snapshot.parquet", lambda: _parquet(compression="zstd", use_dictionary=False)),
    "safetensors": ("model.safetensors", _safetensors),
    "skops": ("model.skops", _skops),
    "Avro as a model": ("model.avro", _avro),
    "Avro, deflated": ("source.avro", lambda: _avro("deflate")),
    "Arrow as a model": ("model.arrow", lambda: _arrow(_ZSTD)[0]),
    "a table of Parquet": ("table.parquet", _parquet),
    "a table of Arrow": ("table.arrow", lambda: _arrow(_LZ4)[0]),
    "rows of Parquet": ("rows.parquet", _parquet),
    "rows of Arrow": ("rows.arrow", lambda: _arrow(_ZSTD)[0]),
    "a source of Parquet": ("source.parquet", _parquet),
    "definitions": ("features.zip", lambda: pack(METADATA)),
    "ONNX": ("model.onnx", _onnx),
}
"""By what they are: the name that mutated.py knows a reader by, and the file."""


def write_valid(what: str, directory: Path) -> tuple[str, Path]:
    """A valid file, and what belongs beside it. Gives the name of its reader."""
    reader, made = FILES[what]
    path = directory / reader
    path.write_bytes(made())
    if what.startswith("Arrow") and reader == "snapshot.arrow":
        options = {"Arrow": None, "Arrow, lz4": _LZ4, "Arrow, zstd": _ZSTD}[what]
        (directory / "index").write_bytes(_arrow(options)[1])
    if reader == "index":
        (directory / "snapshot.arrow").write_bytes(_arrow()[0])
    return reader, path
