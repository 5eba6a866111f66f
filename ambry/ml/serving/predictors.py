"""Models as functions from inputs to outputs, by the kind that they were published as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.models.loading import StoredModel
from ambry.ml.serving.inference import columns_of

Predict = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Arrays by the names of inputs, to arrays by the names of outputs. Called by several threads."""


def predictor_of(model: StoredModel, *, trust: bool = False, function: str = "") -> Predict:
    """How a model scores: an ONNX model, an estimator of scikit-learn, a pyfunc of MLflow; any other by `function`,
    `module:name`, a function that is called with the model's StoredModel and gives the Predict.

    Raises InvalidRequest for a kind that cannot score by itself, and what loading the model raises.
    """
    if function:
        return _made(function, model)
    match model.manifest.kind:
        case "onnx":
            return _onnx(model.load())
        case "sklearn" | "pickle":
            return _estimator(model.load(trust=trust))
        case "mlflow":
            return _pyfunc(model.load(trust=trust))
        case kind:
            raise InvalidRequest(
                f"{model} is of the kind {kind!r}, which says nothing of how it scores; name a function, module:name, that does"
            )


def _onnx(session: Any) -> Predict:
    wanted = [(each.name, each.type) for each in session.get_inputs()]
    names = [each.name for each in session.get_outputs()]

    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if len(wanted) == 1 and set(inputs) != {wanted[0][0]}:
            inputs = {wanted[0][0]: columns_of(inputs)}
        missing = [name for name, _ in wanted if name not in inputs]
        if missing:
            raise InvalidRequest(
                f"the model takes the inputs {', '.join(name for name, _ in wanted)}; missing: {', '.join(missing)}"
            )
        fed = {name: inputs[name].astype(_ONNX_TYPES.get(kind, inputs[name].dtype)) for name, kind in wanted}
        outputs = session.run(None, fed)
        return {name: each for name, each in zip(names, outputs, strict=True) if isinstance(each, np.ndarray)}

    return predict


_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def _estimator(estimator: Any) -> Predict:
    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = columns_of(inputs)
        wanted = getattr(estimator, "n_features_in_", rows.shape[1])
        if rows.shape[1] != wanted:
            raise InvalidRequest(f"the model takes {wanted} columns, and the request has {rows.shape[1]}")
        outputs = {"predict": np.asarray(estimator.predict(rows))}
        if hasattr(estimator, "predict_proba"):
            outputs["predict_proba"] = np.asarray(estimator.predict_proba(rows))
        return outputs

    return predict


def _pyfunc(model: Any) -> Predict:
    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"predict": np.asarray(model.predict(columns_of(inputs)))}

    return predict


def _made(function: str, model: StoredModel) -> Predict:
    """Raises InvalidRequest for what makes no function."""
    make = _function(function)
    try:
        predict = make(model)
    except TypeError as error:
        raise InvalidRequest(f"{function!r} does not take a model: {error}") from error
    if not callable(predict):
        raise InvalidRequest(f"{function!r} makes {type(predict).__name__} of a model, and no function that scores")
    return predict


def _function(text: str) -> Callable[[StoredModel], Predict]:
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise InvalidRequest(f"{text!r} names no function; write module:name")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidRequest(f"there is no function {text!r}: {error}") from error
    if not callable(found):
        raise InvalidRequest(f"{text!r} is no function")
    made: Callable[[StoredModel], Predict] = found
    return made
