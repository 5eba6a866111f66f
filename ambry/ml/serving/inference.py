"""Requests and answers of the Open Inference Protocol (KServe's version 2) as arrays of numpy, in JSON.

    {"inputs": [{"name": "features", "shape": [2, 30], "datatype": "FP64", "data": [...]}], "parameters": {"unit": 42}}

`data` is flat or nested, row by row. Of the parameters of a request, ours are `unit` (whom an experiment assigns) and
`attributes`.
https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest

INPUTS_MAX = 64
CELLS_MAX = 4_000_000
"""Of one request."""
DATATYPES: Mapping[str, Any] = {
    "BOOL": np.dtype("bool"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("u2"),
    "UINT32": np.dtype("u4"),
    "UINT64": np.dtype("u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("i2"),
    "INT32": np.dtype("i4"),
    "INT64": np.dtype("i8"),
    "FP16": np.dtype("f2"),
    "FP32": np.dtype("f4"),
    "FP64": np.dtype("f8"),
    "BYTES": np.dtype("O"),
}
"""By their names in the protocol; BYTES are texts in JSON."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What is to be scored. All inputs have the same number of rows, the first part of their shapes."""

    inputs: Mapping[str, Any]
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))


def parse_request(data: bytes) -> InferenceRequest:
    """Raises InvalidRequest."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidRequest("the body is no JSON") from None
    if not isinstance(said, dict) or not isinstance(said.get("inputs"), list):
        raise InvalidRequest('the body is an object with "inputs", a list')
    if not 1 <= len(said["inputs"]) <= INPUTS_MAX:
        raise InvalidRequest(f"a request has 1 to {INPUTS_MAX} inputs, not {len(said['inputs'])}")
    inputs: dict[str, Any] = {}
    for each in said["inputs"]:
        name, array = _input(each)
        if name in inputs:
            raise InvalidRequest(f"the input {name!r} stands twice")
        inputs[name] = array
    rows = {len(array) for array in inputs.values()}
    if len(rows) > 1:
        raise InvalidRequest(f"the inputs have different numbers of rows: {', '.join(map(str, sorted(rows)))}")
    parameters = said.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidRequest('"parameters" is an object')
    return InferenceRequest(inputs, str(said.get("id", "")), parameters)


def format_answer(
    model: str, version: str, outputs: Mapping[str, Any], request: InferenceRequest, **more: Any
) -> bytes:
    """The answer as JSON. Raises InvalidRequest for numbers that JSON does not have."""
    told: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id:
        told["id"] = request.id
    if more:
        told["parameters"] = more
    told["outputs"] = [_output(name, np.asarray(array)) for name, array in outputs.items()]
    try:
        return json.dumps(told, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        raise InvalidRequest(
            "the model gave a number that is not finite, which JSON does not have; look at its inputs"
        ) from None


def _input(said: Any) -> tuple[str, Any]:
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise InvalidRequest('an input is an object with "name", "shape", "datatype" and "data"')
    name, shape, datatype = said["name"], said.get("shape"), said.get("datatype")
    if not isinstance(shape, list) or not shape or not all(_is_count(each) for each in shape):
        raise InvalidRequest(f"input {name!r}: a shape is a list of whole numbers, not {shape!r}")
    if prod(shape) > CELLS_MAX:
        raise InvalidRequest(f"input {name!r}: a request has at most {CELLS_MAX} numbers, not {prod(shape)}")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise InvalidRequest(f"input {name!r}: a datatype is {', '.join(DATATYPES)}, not {datatype!r}")
    if not isinstance(data := said.get("data"), list):
        raise InvalidRequest(f'input {name!r}: "data" is a list')
    array = _array(name, data, datatype)
    if array.size != prod(shape):
        raise InvalidRequest(f"input {name!r}: the shape {shape} has {prod(shape)} numbers, and data {array.size}")
    if datatype == "BYTES" and not all(isinstance(each, str) for each in array.flat):
        raise InvalidRequest(f"input {name!r}: BYTES are texts in JSON")
    return name, array.reshape(shape)


def _array(name: str, data: list[Any], datatype: str) -> Any:
    """Numbers as they were sent: none is rounded, cut, wrapped or made of a text. Raises InvalidRequest."""
    wanted = DATATYPES[datatype]
    try:
        array = np.array(data, dtype=object if wanted.kind == "O" else None) if data else np.zeros(0, wanted)
        if (
            wanted.kind in "iu"
            and array.dtype.kind in "fO"
            and all(type(each) is int for each in np.array(data, object).flat)
        ):
            # Whole numbers beyond 63 bits beside smaller ones, which numpy takes for floats.
            return np.array(data, dtype=wanted)
        kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf", "O": "O"}[wanted.kind]
        if array.size and array.dtype.kind not in kinds:
            raise ValueError
        with np.errstate(over="ignore"):
            typed = array.astype(wanted)
        whole = wanted.kind in "iu" and not np.array_equal(typed, array)
        too_large = wanted.kind == "f" and not np.isfinite(typed).all()
        if whole or too_large:
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise InvalidRequest(f"input {name!r}: its data are not all {datatype}") from None
    return typed


def _output(name: str, array: Any) -> dict[str, Any]:
    datatype = next((known for known, dtype in DATATYPES.items() if dtype == array.dtype), None)
    if datatype is None:
        array, datatype = array.astype(str).astype(object), "BYTES"
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": array.reshape(-1).tolist()}


def _is_count(each: object) -> bool:
    return isinstance(each, int) and not isinstance(each, bool) and each >= 0


def columns_of(inputs: Mapping[str, Any]) -> Any:
    """All inputs beside each other as one matrix of (rows, columns), in the order of the request. Raises InvalidRequest."""
    parts: Sequence[Any] = [array.reshape(len(array), -1) for array in inputs.values()]
    if any(part.dtype == object for part in parts):
        raise InvalidRequest("this model takes numbers, and an input is BYTES")
    return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
