"""Avro files of strangers: what would end the process or take its memory is a sentence, and what is honest is read."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.avro_reading import AVRO_HEADER, AVRO_MAGIC, avro_errors, read_avro

CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from ambry.ml.avro_reading import avro_errors, read_avro
from ambry.ml.models.reading import LOADERS
from pathlib import Path
from types import SimpleNamespace

path = Path(sys.argv[1])
try:
    LOADERS["avro"](path.parent, SimpleNamespace(parts=[SimpleNamespace(path=path.name)]), "numpy", False)
except (ValueError, TypeError, EOFError, *avro_errors()) as error:
    print(f"refused: {error}")
"""
DEEP: dict[str, Any] = {"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}
ENDLESS: dict[str, Any] = {"type": "record", "name": "R", "fields": [{"name": "next", "type": "R"}]}
OTHERWISE: dict[str, Any] = {
    "type": "record",
    "name": "R",
    "fields": [{"name": "a", "type": {"type": "array", "items": {"type": "map", "values": ["null", "R"]}}}],
}


def of(name: str, kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "a", "type": kind}]}


def laughs() -> dict[str, Any]:
    """Twenty types, each of ten of the one before: 10^20 values of no bytes."""
    kind: Any = "null"
    for level in range(20):
        fields = [{"name": "f0", "type": kind}] + [
            {"name": f"f{at}", "type": f"L{level - 1}" if level else "null"} for at in range(1, 10)
        ]
        kind = {"type": "record", "name": f"L{level}", "fields": fields}
    return {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": kind}]}


def number(value: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


def avro(schema: Any, block: bytes, count: int = 1, codec: str = "null", size: int | None = None) -> bytes:
    """A file of one block, and what it says of it."""
    out = io.BytesIO()
    meta = {"avro.schema": json.dumps(schema).encode(), "avro.codec": codec.encode()}
    fastavro.schemaless_writer(out, AVRO_HEADER, {"magic": AVRO_MAGIC, "meta": meta, "sync": b"s" * 16})
    return out.getvalue() + number(count) + number(len(block) if size is None else size) + block + b"s" * 16


def deflated(size: int) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packing.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packing.flush()


TERA = 1 << 40
FLOATS = of("R", {"type": "array", "items": "float"})
OPTIONS = {"type": "array", "items": of("E", ["null", "string"])}
BOMBS: list[tuple[str, Callable[[], bytes], str]] = [
    ("deep", lambda: avro(DEEP, b"\x02" * 10_000_000), "holds itself"),
    ("endless", lambda: avro(ENDLESS, b""), "holds itself"),
    ("by way of others", lambda: avro(OTHERWISE, b"\x00"), "holds itself"),
    ("laughs", lambda: avro(laughs(), b"\x00"), "more than 20000 values"),
    ("nothing", lambda: avro(of("R", "null"), b"", TERA), "take no bytes"),
    ("lists of nothing", lambda: avro(of("R", {"type": "array", "items": "null"}), number(TERA) + b"\0"), "any length"),
    ("a long block", lambda: avro(of("R", "int"), b"", size=TERA), "at most 1073741824"),
    ("a block that is not there", lambda: avro(of("R", "int"), b"", size=1 << 30), "ends within a block"),
    ("many records", lambda: avro(of("R", "int"), b"\0", TERA), "records follow in 1 bytes"),
    ("long bytes", lambda: avro(of("R", "bytes"), number(TERA)), ""),
    ("a long text", lambda: avro(of("R", "string"), number(TERA)), ""),
    ("negative bytes", lambda: avro(of("R", "bytes"), number(-5)), ""),
    ("a long list", lambda: avro(FLOATS, number(TERA)), ""),
    ("a list of a negative length", lambda: avro(FLOATS, number(-TERA) + number(8)), ""),
    ("a long header", lambda: AVRO_MAGIC + number(1) + number(TERA), "longer than a header is"),
    ("a deflated block", lambda: avro(of("R", "int"), deflated(100 << 20), 100 << 20, "deflate"), "become more than"),
    ("deflated records", lambda: avro(of("R", "int"), deflated(40 << 20), 40 << 20, "deflate"), "MiB of memory"),
    ("deflated items", lambda: avro(of("R", OPTIONS), deflated(40 << 20), 1, "deflate"), "MiB of memory"),
    ("bzip2", lambda: avro(of("R", "int"), bz2.compress(bytes(100 << 20)), 100 << 20, "bzip2"), "become more than"),
    ("xz", lambda: avro(of("R", "int"), lzma.compress(bytes(100 << 20)), 100 << 20, "xz"), "become more than"),
    ("snappy", lambda: avro(of("R", "int"), b"\xff\xff\xff\xff\x0f" * 4, 1, "snappy"), "would become"),
    ("no codec", lambda: avro(of("R", "int"), b"", 1, "rot13"), "codec 'rot13' is not read"),
]


@pytest.mark.parametrize(
    ("made", "told"), [(made, told) for _, made, told in BOMBS], ids=[name for name, _, _ in BOMBS]
)
def test_a_bomb_is_a_sentence_within_two_gigabytes(tmp_path: Path, made: Callable[[], bytes], told: str) -> None:
    path = tmp_path / "x.avro"
    path.write_bytes(made())
    run = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("refused: ")
    assert told in run.stdout


def test_a_gathering_reader_counts_all_blocks() -> None:
    one = avro(of("R", "int"), deflated(1 << 20), 1 << 20, "deflate")
    header = len(one) - len(deflated(1 << 20)) - 16 - len(number(1 << 20) + number(len(deflated(1 << 20))))
    data = one + one[header:] * 5
    assert sum(1 for _ in read_avro(io.BytesIO(data)).records) == 6 << 20
    with pytest.raises(ValueError, match="MiB of memory"):
        list(read_avro(io.BytesIO(data), gathered=True).records)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
@given(
    values=st.lists(st.fixed_dictionaries({"a": st.none() | st.text(max_size=20), "b": st.lists(st.floats(width=32))}))
)
def test_what_fastavro_wrote_is_read_as_fastavro_reads_it(codec: str, values: list[dict[str, Any]]) -> None:
    pair = {"type": "record", "name": "n.Pair", "fields": [{"name": "x", "type": "float"}]}
    schema: dict[str, Any] = {
        "type": "record",
        "name": "R",
        "namespace": "m",
        "fields": [
            {"name": "a", "type": ["null", "string"], "default": None},
            {"name": "b", "type": {"type": "array", "items": pair}},
            {"name": "c", "type": {"type": "map", "values": "n.Pair"}},
            {"name": "d", "type": {"type": "enum", "name": "E", "symbols": ["u", "v"]}},
            {"name": "e", "type": ["E", {"type": "fixed", "name": "F", "size": 2}]},
        ],
    }
    records = [
        {"a": each["a"], "b": [{"x": x} for x in each["b"]], "c": {"k": {"x": 1.0}}, "d": "v", "e": b"ab"}
        for each in values
    ]
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, sync_interval=100, metadata={"said": "x"})
    read = read_avro(io.BytesIO(out.getvalue()), gathered=True)
    assert read.metadata["said"] == b"x"
    assert repr(list(read.records)) == repr(list(fastavro.reader(io.BytesIO(out.getvalue()))))


def test_a_file_may_have_no_records_and_values_of_any_type() -> None:
    out = io.BytesIO()
    fastavro.writer(out, "string", ["a", "b"])
    assert list(read_avro(io.BytesIO(out.getvalue())).records) == ["a", "b"]
    out = io.BytesIO()
    fastavro.writer(out, of("R", "int"), [])
    assert list(read_avro(io.BytesIO(out.getvalue())).records) == []


def test_what_packs_well_and_is_small_is_read() -> None:
    records = [{"a": "same"}] * 300_000
    out = io.BytesIO()
    fastavro.writer(out, of("R", "string"), records, codec="deflate")
    assert len(out.getvalue()) < 300_000 * 5 / 20
    assert list(read_avro(io.BytesIO(out.getvalue()), gathered=True).records) == records


def test_types_may_lie_deep_but_not_deeper_than_that() -> None:
    def nested(depth: int) -> Any:
        return {"type": "array", "items": nested(depth - 1)} if depth else "int"

    assert list(read_avro(io.BytesIO(avro(of("R", nested(30)), b"\0"))).records) == [{"a": []}]
    for depth in (100, 900):
        with pytest.raises((ValueError, *avro_errors()), match="deep"):
            read_avro(io.BytesIO(avro(of("R", nested(depth)), b"\0")))
