"""What is said of inputs and outputs before anything is scored."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from ambry.ml.serving.signatures import TensorSpec, specs_of_answer, specs_of_columns, specs_of_onnx


def test_features_are_inputs_and_what_is_not_named_is_one_matrix() -> None:
    assert specs_of_columns(["a", "b"], 2) == (TensorSpec("a", "FP64", (-1,)), TensorSpec("b", "FP64", (-1,)))
    assert specs_of_columns(["a", "b"], 31) == (TensorSpec("a", "FP64", (-1, -1)), TensorSpec("b", "FP64", (-1, -1)))
    assert specs_of_columns([], 30) == (TensorSpec("input", "FP64", (-1, 30)),)
    assert specs_of_columns([])[0].told() == {"name": "input", "datatype": "FP64", "shape": [-1, -1]}


def test_onnx_says_types_and_shapes_and_maps_are_left_out() -> None:
    values = [
        SimpleNamespace(name="x", type="tensor(float)", shape=[None, 3, "width"]),
        SimpleNamespace(name="ids", type="tensor(uint8)", shape=[1]),
        SimpleNamespace(name="zipmap", type="seq(map(int64,tensor(float)))", shape=None),
    ]
    assert specs_of_onnx(values) == (TensorSpec("x", "FP32", (-1, 3, -1)), TensorSpec("ids", "UINT8", (1,)))


def test_an_answer_tells_what_the_next_one_is() -> None:
    found = specs_of_answer({"y": np.array([1]), "p": np.zeros((1, 2), np.float32), "t": np.array(["a"])})
    assert [(each.datatype, each.shape) for each in found] == [("INT64", (-1,)), ("FP32", (-1, 2)), ("BYTES", (-1,))]
