"""Avro containers: written the same for the same, read though their schemas have defaults that Avro forbids."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.photon.avro_files import avro_records, container, encoder

SCHEMA: dict[str, Any] = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}
FORBIDDEN: dict[str, Any] = {**SCHEMA, "fields": [{"name": "a", "type": "string", "default": None}]}


def read(path: Path) -> list[Any]:
    with avro_records(path) as (_, records):
        return list(records)


@given(st.lists(st.text(max_size=50), max_size=30))
def test_a_container_is_what_fastavro_reads_and_says_where_its_records_lie(texts: list[str]) -> None:
    encoded = [encoder(SCHEMA)({"a": text}) for text in texts]
    data, places = container(SCHEMA, encoded)
    assert [record["a"] for record in fastavro.reader(io.BytesIO(data))] == texts
    assert [data[offset : offset + size] for offset, size in places] == encoded
    assert container(SCHEMA, encoded) == (data, places)


def test_many_records_lie_in_several_blocks() -> None:
    data, _ = container(SCHEMA, [encoder(SCHEMA)({"a": "x" * 1_000}) for _ in range(200)])
    assert sum(1 for _ in fastavro.block_reader(io.BytesIO(data))) > 2
    assert len(list(fastavro.reader(io.BytesIO(data)))) == 200


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_default_that_avro_forbids_is_passed_over(tmp_path: Path, codec: str) -> None:
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, [{"a": "x"}, {"a": "y"}], codec=codec)
    data = out.getvalue()
    at = data.index(b"avro.schema") + len(b"avro.schema")
    header = io.BytesIO()
    fastavro.schemaless_writer(header, "bytes", json.dumps(FORBIDDEN).encode())
    length = io.BytesIO(data[at:])
    fastavro.schemaless_reader(length, "bytes", None)
    path = tmp_path / "old.avro"
    path.write_bytes(data[:at] + header.getvalue() + data[at + length.tell() :])
    with pytest.raises(Exception, match=r"(?i)default"):
        list(fastavro.reader(io.BytesIO(path.read_bytes())))
    assert read(path) == [{"a": "x"}, {"a": "y"}]


def damaged() -> list[bytes]:
    whole, _ = container(SCHEMA, [encoder(SCHEMA)({"a": "x" * 50}) for _ in range(3)])
    return [
        b"",
        b"Obj",
        b"Obj\x01",
        b"PK\x03\x04" + whole,
        whole[:40],
        whole[:-20],
        whole.replace(b'"string"', b'"strong"'),
    ]


@pytest.mark.parametrize("data", damaged())
def test_what_is_no_file_or_torn_is_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.avro"
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match=r"x\.avro (is no Avro file|cannot be read to its end)"):
        read(path)


@given(st.integers(0, 200), st.integers(0, 255))
def test_no_damage_of_one_byte_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, at: int, value: int) -> None:
    data = bytearray(damaged()[0] or container(SCHEMA, [encoder(SCHEMA)({"a": "x" * 50})] * 3)[0])
    data[at % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "x.avro"
    path.write_bytes(data)
    try:
        read(path)
    except InvalidRequest as refused:
        assert "x.avro" in refused.message


@pytest.mark.parametrize(
    "item", ["null", {"type": "record", "name": "E", "fields": []}, {"type": "fixed", "name": "F", "size": 0}]
)
def test_a_list_of_nothing_could_be_of_any_length(tmp_path: Path, item: Any) -> None:
    schema = {**SCHEMA, "fields": [{"name": "a", "type": {"type": "array", "items": item}}]}
    path = tmp_path / "x.avro"
    # 2^60 elements that take no bytes.
    path.write_bytes(container(schema, [b"\x80\x80\x80\x80\x80\x80\x80\x80\x20\x00"])[0])
    with pytest.raises(InvalidRequest, match="lists of what takes no bytes"):
        read(path)


def test_a_header_that_never_ends_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.avro"
    path.write_bytes(b"Obj\x01" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" * 100)
    with pytest.raises(InvalidRequest, match="is no Avro file of records"):
        read(path)
