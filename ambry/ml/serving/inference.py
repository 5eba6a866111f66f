"""Requests and answers of the Open Inference Protocol (KServe's version 2) as arrays of numpy, in JSON and in binary.

    {"inputs": [{"name": "features", "shape": [2, 30], "datatype": "FP64", "data": [...]}], "parameters": {"unit": 42}}

`data` is flat or nested, row by row. Of the parameters of a request, ours are `unit` (whom an experiment assigns) and
`attributes`. By the binary tensor data extension an input says `"parameters": {"binary_data_size": N}` in place of its data,
which stand behind the JSON in the order of the inputs; `binary_data_output` asks for answers of that form.

https://github.com/kserve/open-inference-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.serving.pieces import parse_json
from ambry.ml.serving.tensors import DATATYPES, STEP, from_bytes, from_json, known, to_bytes

HEADER_SIZE = "Inference-Header-Content-Length"
"""Bytes of the JSON, where binary data follow it."""
INPUTS_MAX = 64
CELLS_MAX = 500_000
"""Numbers and texts of one request, unless said otherwise."""
DIMS_MAX = 32
ATTRIBUTES_MAX = 64
TEXT_CHARACTERS_MAX = 1_000
"""Of a unit, an attribute, a name, an id."""
_OTHER_VALUES_MAX = 10_000
"""Of a body, besides its numbers."""


class AnswerNotFinite(ValueError):
    """A model gave a number that JSON does not have."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What is to be scored. All inputs have the same number of rows, the first part of their shapes."""

    inputs: Mapping[str, Any]
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, bool] | None = None
    """Which are wanted, and which of them in binary; None is all."""
    binary: bool = False
    """Whether all outputs are wanted in binary."""

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, slots=True)
class InferenceAnswer:
    """The body of an answer."""

    body: bytes
    header_size: int | None = None
    """Bytes of its JSON, where binary data follow."""


def parse_request(
    body: bytes | bytearray, header_size: int | None = None, *, cells_max: int = CELLS_MAX
) -> InferenceRequest:
    """`header_size` is what HEADER_SIZE says. Raises InvalidRequest."""
    if header_size is not None and not 0 <= header_size <= len(body):
        raise InvalidRequest(f"{HEADER_SIZE} is {header_size}, and the body has {len(body)} bytes")
    said = parse_json(bytes(memoryview(body)[:header_size]), values_max=cells_max + _OTHER_VALUES_MAX)
    if not isinstance(said, dict) or not isinstance(said.get("inputs"), list):
        raise InvalidRequest('the body is an object with "inputs", a list')
    if not 1 <= len(said["inputs"]) <= INPUTS_MAX:
        raise InvalidRequest(f"a request has 1 to {INPUTS_MAX} inputs, not {len(said['inputs'])}")
    parameters = _object(said, "parameters", "the request")
    _check_unit(parameters)
    asked = [_Input.of(each) for each in said["inputs"]]
    _check_together(asked, cells_max)
    behind = memoryview(body)[len(body) if header_size is None else header_size :]
    inputs: dict[str, Any] = {}
    for each in asked:
        if each.binary_size is None:
            inputs[each.name] = from_json(each.name, each.data, each.shape, each.datatype)
            continue
        part, behind = behind[: each.binary_size], behind[each.binary_size :]
        if len(part) != each.binary_size:
            raise InvalidRequest(
                f"input {each.name!r}: its {each.binary_size} bytes of binary data are not all behind the JSON; "
                f"{HEADER_SIZE} says where that ends"
            )
        inputs[each.name] = from_bytes(each.name, part, each.shape, each.datatype)
    if len(behind):
        raise InvalidRequest(f"{len(behind)} bytes stand behind the request that no input has")
    identity = said.get("id", "")
    if not isinstance(identity, str) or len(identity) > TEXT_CHARACTERS_MAX:
        raise InvalidRequest(f'"id" is a text of at most {TEXT_CHARACTERS_MAX} characters')
    binary = _flag(parameters, "binary_data_output")
    return InferenceRequest(inputs, identity, parameters, _outputs(said, binary), binary)


def format_answer(
    model: str, version: str, outputs: Mapping[str, Any], request: InferenceRequest, **more: Any
) -> InferenceAnswer:
    """The answer. Raises AnswerNotFinite for numbers that JSON does not have, InvalidRequest for outputs that are not there."""
    wanted = request.outputs if request.outputs is not None else dict.fromkeys(outputs, request.binary)
    if missing := [name for name in wanted if name not in outputs]:
        raise InvalidRequest(f"the model has no output {missing[0][:100]!r}; it has {', '.join(outputs)}")
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id:
        head["id"] = request.id
    if more:
        head["parameters"] = more
    told, behind = [], []
    for name, is_binary in wanted.items():
        datatype, array = known(outputs[name])
        output: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
        if is_binary:
            behind.append(to_bytes(array, datatype))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
            told.append(_text(output))
        else:
            told.append(f'{_text(output)[:-1]},"data":[{_data(name, array)}]}}')
    text = f'{_text(head)[:-1]},"outputs":[{",".join(told)}]}}'.encode("utf-8", "replace")
    return InferenceAnswer(b"".join([text, *behind]), len(text) if behind else None)


def _text(told: Any) -> str:
    return json.dumps(told, separators=(",", ":"))


def _data(name: str, array: Any) -> str:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise AnswerNotFinite(
            f"the output {name!r} has a number that is not finite, which JSON does not have; "
            "look at its inputs, or ask for binary_data_output"
        )
    flat = array.reshape(-1)
    return ",".join(_text(flat[begin : begin + STEP].tolist())[1:-1] for begin in range(0, len(flat), STEP))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """One input, before its data are looked at."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    binary_size: int | None

    @classmethod
    def of(cls, said: Any) -> _Input:
        """Raises InvalidRequest."""
        if not isinstance(said, dict) or not isinstance(said.get("name"), str):
            raise InvalidRequest('an input is an object with "name", "shape", "datatype" and "data"')
        name, shape, datatype = said["name"], said.get("shape"), said.get("datatype")
        if not 1 <= len(name) <= TEXT_CHARACTERS_MAX:
            raise InvalidRequest(f"the name of an input has 1 to {TEXT_CHARACTERS_MAX} characters")
        if (
            not isinstance(shape, list)
            or not 1 <= len(shape) <= DIMS_MAX
            or not all(type(each) is int and each > 0 for each in shape)
        ):
            raise InvalidRequest(
                f"input {name!r}: a shape is a list of 1 to {DIMS_MAX} whole numbers above 0, not {shape!r:.100}"
            )
        if not isinstance(datatype, str) or datatype not in DATATYPES:
            raise InvalidRequest(f"input {name!r}: a datatype is {', '.join(DATATYPES)}, not {datatype!r:.100}")
        size = _object(said, "parameters", f"input {name!r}").get("binary_data_size")
        if size is not None and ("data" in said or type(size) is not int or size < 0):
            raise InvalidRequest(f'input {name!r}: "binary_data_size" is a number of bytes, in place of "data"')
        data = said.get("data", [] if size is not None else None)
        if not isinstance(data, list):
            raise InvalidRequest(f'input {name!r}: "data" is a list')
        return cls(name=name, shape=shape, datatype=datatype, data=data, binary_size=size)


def _check_together(inputs: list[_Input], cells_max: int) -> None:
    """Raises InvalidRequest."""
    names = [each.name for each in inputs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidRequest(f"the input {twice!r} stands twice")
    if (cells := sum(prod(each.shape) for each in inputs)) > cells_max:
        shown = cells if cells < 1 << 64 else "many more"
        raise InvalidRequest(f"a request has at most {cells_max} values, not {shown}; send fewer rows at a time")
    rows = {each.shape[0] for each in inputs}
    if len(rows) > 1:
        raise InvalidRequest(f"the inputs have different numbers of rows: {', '.join(map(str, sorted(rows)))}")


def _check_unit(parameters: Mapping[str, Any]) -> None:
    """Raises InvalidRequest: what is said of a unit is written down, and so is small."""
    unit = parameters.get("unit")
    if unit is not None and (type(unit) not in (int, str) or len(str(unit)) > TEXT_CHARACTERS_MAX):
        raise InvalidRequest(f'"unit" is a whole number, or a text of at most {TEXT_CHARACTERS_MAX} characters')
    attributes = parameters.get("attributes")
    if attributes is None:
        return
    if not isinstance(attributes, dict) or len(attributes) > ATTRIBUTES_MAX:
        raise InvalidRequest(f'"attributes" is an object of at most {ATTRIBUTES_MAX} names')
    for name, value in attributes.items():
        if (
            not isinstance(value, str | int | float | bool | None)
            or max(len(name), len(str(value))) > TEXT_CHARACTERS_MAX
        ):
            raise InvalidRequest(
                f"attributes are texts of at most {TEXT_CHARACTERS_MAX} characters, numbers and booleans; {name[:100]!r} is not"
            )


def _outputs(said: Mapping[str, Any], binary: bool) -> Mapping[str, bool] | None:
    """Raises InvalidRequest."""
    outputs = said.get("outputs")
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or not all(
        isinstance(each, dict) and isinstance(each.get("name"), str) for each in outputs
    ):
        raise InvalidRequest('"outputs" is a list of objects with a "name"')
    return {each["name"]: _flag(_object(each, "parameters", "an output"), "binary_data", binary) for each in outputs}


def _object(said: Mapping[str, Any], name: str, whose: str) -> Mapping[str, Any]:
    found = said.get(name)
    if found is not None and not isinstance(found, dict):
        raise InvalidRequest(f'"{name}" is an object, and that of {whose} is none')
    return found or {}


def _flag(parameters: Mapping[str, Any], name: str, default: bool = False) -> bool:
    found = parameters.get(name, default)
    if not isinstance(found, bool):
        raise InvalidRequest(f'"{name}" is true or false')
    return found
