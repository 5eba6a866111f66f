"""Requests of the Open Inference Protocol, there and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ambry.errors import InvalidRequest
from ambry.ml.serving.inference import DATATYPES, columns_of, format_answer, parse_request

NUMBERS = {name: dtype for name, dtype in DATATYPES.items() if dtype != np.dtype("O")}


def body(**change: Any) -> bytes:
    return json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2.5], **change}]}
    ).encode()


@given(st.data(), st.sampled_from(sorted(NUMBERS)))
def test_arrays_of_every_type_come_back(data: st.DataObject, datatype: str) -> None:
    shapes = arrays.array_shapes(min_dims=1, max_dims=3, max_side=3)
    elements = {"allow_nan": False, "allow_infinity": False} if NUMBERS[datatype].kind == "f" else {}
    array = data.draw(arrays.arrays(NUMBERS[datatype], shapes, elements=elements or None))
    for told in (array.tolist(), array.reshape(-1).tolist()):
        request = parse_request(body(shape=list(array.shape), datatype=datatype, data=told))
        assert request.inputs["x"].dtype == array.dtype and np.array_equal(request.inputs["x"], array)
    answer = json.loads(format_answer("m", "1.0.0", {"y": array}, request))
    [output] = answer["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("y", list(array.shape), datatype)
    assert np.array_equal(np.array(output["data"], dtype=array.dtype).reshape(array.shape), array)


def test_whole_numbers_of_64_bits_beside_small_ones_are_not_rounded() -> None:
    found = parse_request(body(datatype="UINT64", data=[2**63 + 1, 0])).inputs["x"]
    assert found.tolist() == [[2**63 + 1, 0]]
    for wrong in ([2**64, 0], [2**63, -1], [2**63, 0.5]):
        with pytest.raises(InvalidRequest, match="not all UINT64"):
            parse_request(body(datatype="UINT64", data=wrong))


def test_what_is_said_with_a_request_goes_along() -> None:
    said = json.loads(body()) | {"id": "r1", "parameters": {"unit": 7}}
    request = parse_request(json.dumps(said).encode())
    assert (request.id, request.parameters, request.rows) == ("r1", {"unit": 7}, 1)
    answer = json.loads(format_answer("m", "2", {"y": np.array(["a"])}, request, arm="treatment"))
    assert (answer["id"], answer["model_version"], answer["parameters"]) == ("r1", "2", {"arm": "treatment"})
    assert answer["outputs"][0] == {"name": "y", "shape": [1], "datatype": "BYTES", "data": ["a"]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", '"inputs"'),
        (b'{"inputs": []}', "1 to 64 inputs"),
        (b'{"inputs": [1]}', "an input is an object"),
        (body(shape=[1, 3]), "has 3 numbers, and data 2"),
        (body(shape=[]), "a shape is a list"),
        (body(shape=[-1]), "a shape is a list"),
        (body(shape=[2.0]), "a shape is a list"),
        (body(shape=[10**9, 10**9]), "at most 4000000"),
        (body(datatype="FP65"), "a datatype is BOOL"),
        (body(datatype=None), "a datatype is BOOL"),
        (body(data=5), '"data" is a list'),
        (body(data=[1, "a"]), "not all FP64"),
        (body(data=[1, [2]]), "not all FP64"),
        (body(datatype="UINT8", data=[1, 256]), "not all UINT8"),
        (body(datatype="BYTES", data=["a", 1]), "BYTES are texts"),
        (body(datatype="INT64", data=[1.9, 2]), "not all INT64"),
        (body(datatype="INT64", data=["5", "6"]), "not all INT64"),
        (body(datatype="BOOL", data=["false", "true"]), "not all BOOL"),
        (body(datatype="INT8", data=[True, False]), "not all INT8"),
        (body(datatype="FP16", data=[1e6, 1]), "not all FP16"),
        (body(datatype="FP64", data=[None, 1]), "not all FP64"),
        (json.dumps({"inputs": json.loads(body())["inputs"] * 2}).encode(), "stands twice"),
        (json.dumps(json.loads(body()) | {"parameters": 5}).encode(), '"parameters" is an object'),
    ],
)
def test_what_is_no_request_is_told(data: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request(data)
    assert words in str(caught.value)


def test_inputs_of_one_request_have_as_many_rows() -> None:
    two = json.loads(body())["inputs"] + [{"name": "y", "shape": [2], "datatype": "FP64", "data": [1, 2]}]
    with pytest.raises(InvalidRequest, match="different numbers of rows: 1, 2"):
        parse_request(json.dumps({"inputs": two}).encode())


def test_inputs_lie_beside_each_other_as_columns() -> None:
    matrix = columns_of({"a": np.array([[1, 2], [3, 4]]), "b": np.array([5, 6])})
    assert matrix.tolist() == [[1, 2, 5], [3, 4, 6]]
    with pytest.raises(InvalidRequest, match="takes numbers"):
        columns_of({"a": np.array(["x"], dtype=object)})


def test_what_json_does_not_have_is_told() -> None:
    with pytest.raises(InvalidRequest, match="not finite"):
        format_answer("m", "1", {"y": np.array([np.nan])}, parse_request(body()))
