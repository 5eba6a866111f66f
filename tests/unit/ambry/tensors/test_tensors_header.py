"""Headers of safetensors files: what safetensors writes is read, and what cannot be is refused in a sentence."""

from __future__ import annotations

import pickle
import zipfile
from io import BytesIO

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from ambry.errors import InvalidRequest
from ambry.tensors.header import header_end, parse_header, parse_index

DTYPES = st.sampled_from(["float32", "float16", "float64", "int8", "int64", "uint8", "uint16", "bool"])
SHAPES = st.lists(st.integers(0, 5), max_size=4)
MODELS = st.dictionaries(
    st.text(min_size=1, max_size=20).filter("__metadata__".__ne__), st.tuples(DTYPES, SHAPES), max_size=8
)


def file_of(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else msgspec.json.encode(header)
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def parsed(file: bytes) -> object:
    return parse_header(file[: header_end(file[:64], len(file))], len(file))


@given(MODELS, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_what_safetensors_writes_is_found_where_it_stands(
    model: dict[str, tuple[str, list[int]]], metadata: dict[str, str]
) -> None:
    tensors = {name: np.full(shape, index + 1, dtype) for index, (name, (dtype, shape)) in enumerate(model.items())}
    file = save(tensors, metadata=metadata or None)
    header = parse_header(file[: header_end(file[:9], len(file))], len(file))
    assert header.metadata == metadata
    assert set(header.tensors) == set(tensors)
    for name, tensor in header.tensors.items():
        assert file[tensor.begin : tensor.end] == tensors[name].tobytes()
        assert tensor.shape == tensors[name].shape


@given(st.binary(max_size=300))
def test_what_is_no_safetensors_file_is_refused(file: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parsed(file)


@given(MODELS.filter(bool), st.data())
def test_any_header_that_was_changed_is_refused_or_keeps_within_the_file(
    model: dict[str, tuple[str, list[int]]], data: st.DataObject
) -> None:
    file = bytearray(save({name: np.zeros(shape, dtype) for name, (dtype, shape) in model.items()}))
    at = data.draw(st.integers(0, len(file) - 1))
    file[at] ^= data.draw(st.integers(1, 255))
    try:
        header = parse_header(bytes(file[: header_end(file[:9], len(file))]), len(file))
    except InvalidRequest:
        return
    assert all(0 < tensor.begin <= tensor.end <= len(file) for tensor in header.tensors.values())


def test_a_header_whose_size_looks_like_the_beginning_of_a_pickle_is_a_header() -> None:
    """640 bytes: the first two are those of a pickle."""
    for padding in range(300):
        file = save({"a" * (300 + padding): np.zeros(1)})
        assert parse_header(file[: header_end(file[:9], len(file))], len(file)).tensors
    assert any(save({"a" * (300 + padding): np.zeros(1)})[:2] == b"\x80\x02" for padding in range(300))


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (pickle.dumps({"a": 1}), "pickle"),
        (b"", "no header"),
        (b"\x01\0\0", "no header"),
        (file_of({}, length=1 << 40), "no header"),
        (file_of(b"{"), "cannot be read"),
        (b'{"weight_map": {}}', "JSON"),
        (file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"), "and the file at"),
        (file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"1" * 12), "where the one before"),
        (file_of({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"1" * 8), "has 8 bytes"),
        (file_of({"a": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}}, b"1" * 8), "none can have"),
        (file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, b"1" * 8), "none can have"),
        (file_of({"a": {"dtype": "F32"}}), "cannot be read"),
        (file_of(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "cannot be read"),
        (file_of({"a": {"dtype": "F32", "shape": [1 << 32, 1 << 32, 0], "data_offsets": [0, 0]}}), "no array can have"),
        (file_of({"a": {"dtype": "U8", "shape": [1] * 65, "data_offsets": [0, 1]}}, b"1"), "no array can have"),
    ],
)
def test_why_it_is_refused_is_said(file: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        parsed(file)


def test_a_zip_file_of_pickles_is_called_one() -> None:
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("data.pkl", b"x")
    with pytest.raises(InvalidRequest, match="may run code"):
        parsed(made.getvalue())


def test_an_index_names_files_beside_it() -> None:
    assert parse_index(b'{"metadata": {}, "weight_map": {"a": "m-1.safetensors"}}') == {"a": "m-1.safetensors"}
    for index in (b"", b"[]", b"{}", b'{"weight_map": {"a": 1}}', b"[" * 100_000 + b"]" * 100_000):
        with pytest.raises(InvalidRequest, match="no index"):
            parse_index(index)
    for file in ("/etc/passwd", "../x", "a/../../x", ""):
        with pytest.raises(InvalidRequest, match="not beside it"):
            parse_index(msgspec.json.encode({"weight_map": {"a": file}}))
