"""Inputs as libraries take them, by stand-ins of their models, and what they say of inputs that they do not take."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ambry.errors import InvalidRequest
from ambry.ml.serving import predictors
from ambry.ml.serving.predictors import Predictor


class Session:
    """As of onnxruntime: adds its inputs up."""

    def __init__(self, **inputs: str) -> None:
        self._inputs = inputs
        self.fed: dict[str, Any] = {}

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=name, type=kind) for name, kind in self._inputs.items()]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="sum", type="tensor(double)"), SimpleNamespace(name="maps", type="seq(map)")]

    def run(self, outputs: None, fed: dict[str, Any]) -> list[Any]:
        self.fed = fed
        if any((array == -1).any() for array in fed.values()):
            raise InvalidArgument("Got invalid dimensions")
        return [sum(array.sum(axis=-1) for array in fed.values()), [{}]]


class InvalidArgument(Exception):
    """Of the name of onnxruntime's."""


def of_onnx(session: Session, *features: str) -> Predictor:
    return predictors._onnx(session, features)


def test_an_onnx_model_has_its_numbers_or_is_told_why_not() -> None:
    """1.9 of FP64 was 1 for a model of INT64."""
    session = Session(x="tensor(float)", n="tensor(int64)")
    scored = of_onnx(session)
    n, x = np.array([[3.0], [4.0]]), np.array([[1, 2], [3, 4]])
    assert scored.predict({"n": n, "x": x})["sum"].tolist() == [6.0, 11.0]
    assert {name: array.dtype.str for name, array in session.fed.items()} == {"x": "<f4", "n": "<i8"}
    assert scored.columns.matrix({"n": n, "x": x}).tolist() == [[1, 2, 3], [3, 4, 4]]
    for wrong, words in (
        ({"n": np.array([[1.9]]), "x": x[:1]}, "takes tensor"),
        ({"n": n, "x": np.array([[1e300], [1.0]])}, "takes tensor"),
        ({"n": n, "x": np.array([["a"], ["b"]], dtype=object)}, "takes tensor"),
        ({"n": n}, "missing: x"),
        ({"n": n, "x": x, "z": x}, "no input 'z'"),
        ({"n": n, "x": -np.ones((2, 1))}, "does not take these inputs: InvalidArgument"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            scored.predict(wrong)


def test_an_onnx_model_of_one_input_takes_its_features_in_their_order() -> None:
    session = Session(rows="tensor(double)")
    scored = of_onnx(session, "urn:li:(n,a,1,0)", "urn:li:(n,b,1,0)")
    for inputs in ({"b": np.array([2.0]), "a": np.array([1.0])}, {"rows": np.array([[1.0, 2.0]])}):
        scored.predict(inputs)
        assert session.fed["rows"].tolist() == [[1.0, 2.0]]


class Pyfunc:
    """As of MLflow: says what it was given."""

    def __init__(self, *names: str) -> None:
        schema = SimpleNamespace(
            is_tensor_spec=lambda: not names, has_input_names=lambda: bool(names), input_names=lambda: list(names)
        )
        self.metadata = SimpleNamespace(get_input_schema=lambda: schema)

    def predict(self, given: Any) -> Any:
        if isinstance(given, np.ndarray):
            return given.sum(axis=1)
        return given["a"] * 10 + given["b"]


def test_a_pyfunc_takes_the_names_of_its_signature_as_a_frame() -> None:
    scored = predictors._pyfunc(Pyfunc("a", "b"), ())
    a, b = np.array([1, 2]), np.array([0.5, 0.25])
    inputs: list[Mapping[str, Any]] = [{"b": b, "a": a}, {"all": np.array([[1, 0.5], [2, 0.25]])}]
    assert [scored.predict(each)["predict"].tolist() for each in inputs] == [[10.5, 20.25]] * 2
    for wrong in ({"a": a}, {"all": np.ones((1, 3))}, {"a": np.ones((1, 2)), "b": np.ones(1)}):
        with pytest.raises(InvalidRequest, match=r"takes 2|one column"):
            scored.predict(wrong)
    assert predictors._pyfunc(Pyfunc(), ()).predict({"x": np.ones((1, 3))})["predict"].tolist() == [3.0]


PEOPLE = pd.DataFrame(
    {"age": [20, 30, 40, 50, 60, 70], "spend": [9.5, 1.0, 7.5, 2.0, 8.5, 3.0], "country": ["de", "at"] * 3}
)
BOUGHT = np.array([1, 0, 1, 0, 1, 0])


def of_people(*names: str) -> Any:
    """A pipeline that picks its columns by their names, as it is usual for frames."""
    picked = [("scaled", StandardScaler(), [name for name in names if name != "country"])]
    if "country" in names:
        picked.append(("known", OneHotEncoder(handle_unknown="ignore"), ["country"]))
    return make_pipeline(ColumnTransformer(picked), LogisticRegression()).fit(PEOPLE[list(names)], BOUGHT)


@pytest.mark.parametrize("names", [("age", "spend"), ("age", "spend", "country")])
@pytest.mark.parametrize("features", [(), ("urn:li:(shop,age,1,0)", "urn:li:(shop,spend,1,0)", "country")])
def test_an_estimator_that_was_fitted_on_a_frame_is_given_one(
    names: tuple[str, ...], features: tuple[str, ...]
) -> None:
    """It warned in each request that its names are not there, and refused those of a ColumnTransformer, and texts."""
    fitted = of_people(*names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = predictors._estimator(fitted, features[: len(names)])
        answer = scored.predict({name: PEOPLE[name].to_numpy() for name in reversed(names)})
        simple = predictors._estimator(LogisticRegression().fit(PEOPLE[["age", "spend"]], BOUGHT), ())
        plain = simple.predict({"all": PEOPLE[["age", "spend"]].to_numpy()})
    np.testing.assert_array_equal(answer["predict_proba"], fitted.predict_proba(PEOPLE[list(names)]))
    assert plain["predict"].tolist() == BOUGHT.tolist()
    with pytest.raises(InvalidRequest, match=f"takes {len(names)} columns, and the request has 5"):
        scored.predict({"all": np.ones((2, 5))})


def test_an_estimator_without_names_takes_numbers() -> None:
    scored = predictors._estimator(LogisticRegression().fit(PEOPLE[["age"]].to_numpy(), BOUGHT), ("age",))
    assert scored.predict({"age": np.array([20])})["predict"].shape == (1,)
    with pytest.raises(InvalidRequest, match="takes numbers"):
        scored.predict({"age": np.array(["x"], object)})
