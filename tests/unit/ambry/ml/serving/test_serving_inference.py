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
from ambry.ml.models.columns import Columns
from ambry.ml.serving import pieces
from ambry.ml.serving.inference import AnswerNotFinite, format_answer, parse_request
from ambry.ml.serving.pieces import NoJson, parse_json
from ambry.ml.serving.tensors import DATATYPES

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
    answer = json.loads(format_answer("m", "1.0.0", {"y": array}, request).body)
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
    answer = json.loads(format_answer("m", "2", {"y": np.array(["a"])}, request, arm="treatment").body)
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
        (body(shape=[1, 3]), "has 3 values, and data 2"),
        (body(shape=[]), "a shape is a list"),
        (body(shape=[-1]), "a shape is a list"),
        (body(shape=[2.0]), "a shape is a list"),
        (body(shape=[10**9, 10**9]), "at most 500000"),
        (body(datatype="FP65"), "a datatype is BOOL"),
        (body(datatype=None), "a datatype is BOOL"),
        (body(data=5), '"data" is a list'),
        (body(data=[1, "a"]), "not all FP64"),
        (body(data=[1, [2]]), "not all FP64"),
        (body(datatype="UINT8", data=[1, 256]), "not all UINT8"),
        (body(datatype="BYTES", data=["a", 1]), "not all BYTES"),
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


def test_inputs_lie_beside_each_other_in_the_order_of_the_features() -> None:
    """They did in the order of the request: the same names and values were 0.97 and 0.06."""
    columns = Columns(["urn:li:(flagship,amount,1,0)", "urn:li:(flagship,recent,1,0)"])
    amount, recent = np.array([[1, 2], [3, 4]]), np.array([5, 6])
    for inputs in (
        {"amount": amount, "recent": recent},
        {"recent": recent, "amount": amount},
        {"urn:li:(flagship,recent,1,0)": recent, "amount": amount},
        {"whatever": np.array([[1, 2, 5], [3, 4, 6]])},
    ):
        assert columns.matrix(inputs).tolist() == [[1, 2, 5], [3, 4, 6]]


@pytest.mark.parametrize(
    ("names", "inputs", "words"),
    [
        ((), ("a", "b"), "nothing says which features"),
        (("a", "b"), ("a", "c"), "no feature 'c'"),
        (("a", "b", "c"), ("b", "a"), "missing: c"),
        (("a", "b"), ("a",), "missing: b"),
        (("urn:li:(n,a,1,0)", "b"), ("a", "urn:li:(n,a,1,0)"), "stands twice"),
        (("urn:li:(n,a,1,0)", "urn:li:(m,a,1,0)"), ("a", "urn:li:(n,a,1,0)"), "no feature 'a'"),
    ],
)
def test_inputs_that_are_not_the_features_are_refused(names: Any, inputs: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Columns(names).matrix({name: np.array([1.0]) for name in inputs})


def test_texts_are_no_columns() -> None:
    with pytest.raises(InvalidRequest, match="takes numbers"):
        Columns([]).matrix({"a": np.array(["x"], dtype=object)})


def test_what_json_does_not_have_is_told() -> None:
    """It was a 400, as if the request were wrong."""
    with pytest.raises(AnswerNotFinite, match="not finite"):
        format_answer("m", "1", {"y": np.array([np.nan])}, parse_request(body()))


def binary(array: Any, datatype: str, **more: Any) -> tuple[bytes, int]:
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    told = {"name": "x", "shape": list(array.shape), "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [told], **more}).encode()
    return head + raw, len(head)


@given(st.data(), st.sampled_from(sorted(NUMBERS)))
def test_arrays_of_every_type_come_back_in_binary(data: st.DataObject, datatype: str) -> None:
    array = data.draw(arrays.arrays(NUMBERS[datatype], arrays.array_shapes(min_dims=1, max_dims=3, max_side=3)))
    request = parse_request(*binary(array, datatype, parameters={"binary_data_output": True}))
    found = request.inputs["x"]
    assert found.dtype == array.dtype and found.tobytes() == array.tobytes() and found.flags.writeable
    answer = format_answer("m", "1", {"y": array}, request)
    told = json.loads(answer.body[: answer.header_size])["outputs"][0]
    assert told["parameters"] == {"binary_data_size": array.nbytes} and "data" not in told
    assert answer.body[answer.header_size :] == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_bytes_of_an_input_are_literal() -> None:
    texts = b"\x02\0\0\0ab\0\0\0\0"
    head = (
        b'{"inputs":[{"name":"t","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":10}},'
        b'{"name":"n","shape":[2],"datatype":"UINT16","parameters":{"binary_data_size":4}},'
        b'{"name":"j","shape":[2],"datatype":"INT8","data":[1,-1]}],'
        b'"outputs":[{"name":"b","parameters":{"binary_data":true}},{"name":"a"}]}'
    )
    request = parse_request(head + texts + b"\x01\0\0\x01", len(head))
    assert {name: array.tolist() for name, array in request.inputs.items()} == {
        "t": ["ab", ""],
        "n": [1, 256],
        "j": [1, -1],
    }
    outputs = {"a": np.array([1]), "b": np.array(["z"]), "c": np.array([2])}
    answer = format_answer("m", "1", outputs, request)
    assert answer.header_size is not None and answer.body[answer.header_size :] == b"\x01\0\0\0z"
    assert [each["name"] for each in json.loads(answer.body[: answer.header_size])["outputs"]] == ["b", "a"]
    with pytest.raises(InvalidRequest, match="no output 'a'"):
        format_answer("m", "1", {"b": np.array(["z"])}, request)


@pytest.mark.parametrize(
    ("shape", "datatype", "size", "raw", "words"),
    [
        ([2], "FP64", 16, b"1234567", "not all behind the JSON"),
        ([2], "FP64", 8, b"12345678", "2 values of FP64 have 16 bytes, not 8"),
        ([1], "FP64", 8, b"123456789", "1 bytes stand behind"),
        ([1], "BOOL", 1, b"\x02", "a byte 0 or 1"),
        ([1], "BYTES", 4, b"\x05\0\0\0", "each behind its length"),
        ([1], "BYTES", 5, b"\x01\0\0\0\xff", "each behind its length"),
        ([1], "FP64", -1, b"", "is a number of bytes"),
    ],
)
def test_bytes_that_are_no_input_are_told(shape: Any, datatype: str, size: int, raw: bytes, words: str) -> None:
    told = {"name": "x", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [told]}).encode()
    with pytest.raises(InvalidRequest, match=words):
        parse_request(head + raw, len(head))


def test_shapes_and_parameters_that_no_model_has_are_refused_early() -> None:
    """[8000000, 0] was parsed for 18 s, [0, 10**30] and attributes in a list were a 500, and a shape of 2 MB came back."""
    for shape in ([0, 2], [2, 0], [0, 10**30], [1] * 33, [10**30, 1]):
        with pytest.raises(InvalidRequest, match=r"a shape is a list|at most 500000 values") as caught:
            parse_request(body(shape=shape, data=[]))
        assert len(str(caught.value)) < 300
    for parameters in ({"unit": 1.5}, {"unit": "x" * 1_001}, {"attributes": [1]}, {"attributes": {"a": [1]}}):
        with pytest.raises(InvalidRequest, match=r"whole number|attributes"):
            parse_request(json.dumps(json.loads(body()) | {"parameters": parameters}).encode())
    for data in ([[1], [2, 3]], [[1, 2], [3, 4]], [1, True], [True, 2]):
        with pytest.raises(InvalidRequest, match=r"nested as its shape|not all FP64|values"):
            parse_request(body(data=data))


def test_answers_that_are_numbers_stay_numbers() -> None:
    """Of other byte orders and of objects they were texts."""
    for array in (np.array([1.5], dtype=">f8"), np.array([1.5], dtype=object), np.float64(1.5)):
        [output] = json.loads(format_answer("m", "1", {"y": array}, parse_request(body())).body)["outputs"]
        assert (output["datatype"], output["shape"], output["data"]) == ("FP64", [1], [1.5])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from([None, 1]), st.integers(0, 40), st.sampled_from(["", "]", ",", "{", '"', "1", "[", "nan"]))
def test_pieces_are_what_json_says(said: Any, indent: int | None, place: int, broken: str) -> None:
    """Pieces of a few bytes, so that every kind of cut happens; and texts that are no JSON are none."""
    text = json.dumps(said, indent=indent, ensure_ascii=place % 2 == 0)
    text = text[:place] + broken + text[place:]
    try:
        wanted = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        wanted = NoJson
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(pieces, "PIECE", 8)
            found: Any = parse_json(text.encode("utf-8", "surrogatepass"), values_max=10_000)
    except NoJson:
        found = NoJson
    assert found == wanted


def test_a_large_body_is_parsed_by_its_rows_and_bounded() -> None:
    rows = [[0.5, -1, 2e3]] * 30_000
    large = body(shape=[30_000, 3], data=rows)
    assert len(large) > 5 * pieces.PIECE
    assert parse_request(large).inputs["x"].tolist() == rows
    for data in ("[]," * 200_000 + "[]", "1," * 600_000 + "1", "{}," * 600_000 + "{}", '"",' * 600_000 + '""'):
        text = body(data="DATA").replace(b'"DATA"', b"[" + data.encode() + b"]")
        with pytest.raises(InvalidRequest, match=r"more than|values"):
            parse_request(text, cells_max=100_000)
    with pytest.raises(NoJson):
        parse_json(b"[" * 100_000, values_max=10_000)
