"""Models as functions from inputs to outputs, by the kind that they were published as."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ambry.errors import AmbryError, InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.listed import listed
from ambry.ml.models.columns import Columns
from ambry.ml.models.loading import StoredModel
from ambry.ml.serving.signatures import MATRIX, TensorSpec, specs_of_answer, specs_of_columns, specs_of_onnx

if TYPE_CHECKING:
    from ambry.ml.photon.unmatched import UnmatchedCounts

Predict = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Arrays by the names of inputs, to arrays by the names of outputs. Called by several threads. Raises InvalidRequest for inputs
that it does not take; what else it raises is a fault of the model."""

PLACES_MAX = 8
"""So many of the directories that Python looks in are named."""
MESSAGE_CHARACTERS_MAX = 500
"""Of what a library says of inputs."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """How a model scores, which columns its inputs are, and what is known of its inputs and outputs."""

    predict: Predict
    columns: Columns
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    unmatched: UnmatchedCounts | None = None
    """Of a model of Photon's: what rows left out, and what of them it does not know."""


def predictor_of(model: StoredModel, *, trust: bool = False, function: str = "") -> Predictor:
    """How a model scores: an ONNX model, an estimator of scikit-learn, a pyfunc of MLflow, a model of Photon's; any other by
    `function`, `module:name`, a function that is called with the model's StoredModel and gives the Predict.

    Raises InvalidRequest for a kind that cannot score by itself and for what cannot be loaded, and what the store raises.
    """
    features = model.manifest.features
    if function:
        return Predictor(_made(function, model), Columns(features), specs_of_columns(features) if features else ())
    if model.manifest.kind == "photon":
        from ambry.ml.serving.entity_models import photon_predictor

        return photon_predictor(model)
    if model.manifest.kind not in ("onnx", "sklearn", "pickle", "mlflow"):
        raise InvalidRequest(
            f"{model} is of the kind {model.manifest.kind!r}, which says nothing of how it scores; "
            "name a function, module:name, that does"
        )
    try:
        loaded = model.load(trust=trust)
    except (AmbryError, ImportError, OSError, MemoryError):
        raise
    except Exception as error:
        # Of any kind: each library has its own for files that it does not read.
        raise InvalidRequest(f"{model} could not be loaded: {_said(error)}") from error
    match model.manifest.kind:
        case "onnx":
            return _onnx(loaded, features)
        case "mlflow":
            return _pyfunc(loaded, features)
        case _:
            return _estimator(loaded, features)


def _onnx(session: Any, features: tuple[str, ...]) -> Predictor:
    wanted = {each.name: each.type for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]
    if len(wanted) == 1:
        columns = Columns(features)
        [(only, kind)] = wanted.items()

        def fed(inputs: Mapping[str, Any]) -> dict[str, Any]:
            array = inputs[only] if set(inputs) == {only} else columns.matrix(inputs)
            return {only: _as_onnx(only, array, kind)}

    else:
        columns = Columns(tuple(wanted))

        def fed(inputs: Mapping[str, Any]) -> dict[str, Any]:
            if unknown := sorted(set(inputs) - set(wanted)):
                raise InvalidRequest(f"the model has no input {unknown[0][:100]!r}; it takes {listed(tuple(wanted))}")
            if missing := [name for name in wanted if name not in inputs]:
                raise InvalidRequest(f"the model takes {len(wanted)} inputs; missing: {listed(missing)}")
            return {name: _as_onnx(name, inputs[name], kind) for name, kind in wanted.items()}

    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        arrays = fed(inputs)
        with _inputs_refused():
            answers = session.run(None, arrays)
        return {name: each for name, each in zip(outputs, answers, strict=True) if isinstance(each, np.ndarray)}

    return Predictor(predict, columns, specs_of_onnx(session.get_inputs()), specs_of_onnx(session.get_outputs()))


_ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}


def _as_onnx(name: str, array: Any, kind: str) -> Any:
    """Numbers as the model has them; none becomes another one but by the precision of its floats. Raises InvalidRequest."""
    wanted = _ONNX_TYPES.get(kind)
    if wanted is None or array.dtype == wanted:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        made = array.astype(wanted) if array.dtype != object else None
    floats = made is not None and made.dtype.kind == "f" and array.dtype.kind in "iuf"
    if (
        made is None
        or (not floats and not np.array_equal(made, array))
        or (floats and not np.array_equal(np.isinf(made), np.isinf(array)))
    ):
        raise InvalidRequest(f"the model takes {kind} as {name!r}, which its {array.dtype} are not")
    return made


def _estimator(estimator: Any, features: tuple[str, ...]) -> Predictor:
    fitted = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
    names = features or fitted
    columns = Columns(names)
    wanted = getattr(estimator, "n_features_in_", None)

    def predict(inputs: Mapping[str, Any], *, framed: bool) -> Mapping[str, Any]:
        rows = _frame_of_all(columns, fitted, inputs) if framed else columns.matrix(inputs)
        if wanted is not None and rows.shape[1] != wanted:
            raise InvalidRequest(f"the model takes {wanted} columns, and the request has {rows.shape[1]}")
        with _inputs_refused():
            outputs = {"predict": np.asarray(estimator.predict(rows))}
            if hasattr(estimator, "predict_proba"):
                outputs["predict_proba"] = np.asarray(estimator.predict_proba(rows))
        return outputs

    if fitted:
        # Columns are in the order of their names here, and a matrix of numbers is scored in a fifth of the time of a frame.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
    answered, taken = _answer_for_zeros(predict, wanted, framed=False)
    only_framed = bool(fitted) and not taken
    if only_framed:
        answered, _ = _answer_for_zeros(predict, wanted, framed=True)

    def score(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        texts = bool(fitted) and any(array.dtype == object for array in inputs.values())
        return predict(inputs, framed=only_framed or texts)

    return Predictor(score, columns, specs_of_columns(names, wanted), answered)


def _answer_for_zeros(
    predict: Callable[..., Mapping[str, Any]], wanted: int | None, *, framed: bool
) -> tuple[tuple[TensorSpec, ...], bool]:
    """An estimator says nothing of its outputs, nor whether a matrix is enough: it is asked for a row of zeros."""
    if wanted is None:
        return (), True
    try:
        return specs_of_answer(predict({MATRIX: np.zeros((1, int(wanted)))}, framed=framed)), True
    except ModuleNotFoundError:
        raise
    except Exception:
        # Of any kind: it is of others what takes no such row, and then it is not known.
        return (), False


def _frame_of_all(columns: Columns, fitted: tuple[str, ...], inputs: Mapping[str, Any]) -> Any:
    """Inputs, texts among them, as a frame with the names that an estimator was fitted with: it may pick columns by them."""
    pd = needed("pandas")
    parts = [array.reshape(len(array), -1) for array in columns.ordered(inputs)]
    frame = pd.DataFrame(dict(enumerate(column for part in parts for column in part.T)))
    if frame.shape[1] == len(fitted):
        frame.columns = fitted
    return frame


def _pyfunc(model: Any, features: tuple[str, ...]) -> Predictor:
    schema = getattr(getattr(model, "metadata", None), "get_input_schema", lambda: None)()
    named = schema is not None and not schema.is_tensor_spec() and schema.has_input_names()
    columns = Columns(tuple(schema.input_names()) if schema is not None and named else features)

    def predict(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        given = _frame(columns, inputs) if named else columns.matrix(inputs)
        with _inputs_refused():
            return {"predict": np.asarray(model.predict(given))}

    return Predictor(predict, columns, specs_of_columns(columns.names))


def _frame(columns: Columns, inputs: Mapping[str, Any]) -> Any:
    """The columns of a signature with names, which MLflow takes as a frame of pandas. Raises InvalidRequest."""
    import pandas as pd

    parts = columns.ordered(inputs)
    if len(parts) == 1 and len(columns.names) != 1:
        matrix = parts[0].reshape(len(parts[0]), -1)
        parts = list(matrix.T)
    if len(parts) != len(columns.names):
        raise InvalidRequest(f"the model takes {len(columns.names)} columns, and the request has {len(parts)}")
    if any(part.size != len(part) for part in parts):
        raise InvalidRequest("each feature of this model is one column")
    return pd.DataFrame({name: part.reshape(-1) for name, part in zip(columns.names, parts, strict=True)})


@contextmanager
def _inputs_refused() -> Generator[None]:
    """What a library says of inputs that it does not take, as InvalidRequest."""
    try:
        yield
    except AmbryError:
        raise
    except Exception as error:
        # Classes of libraries that may not be there: by their names.
        of_inputs = type(error).__name__ in ("InvalidArgument",) or (
            type(error).__name__ == "MlflowException"
            and getattr(error, "error_code", "") in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
        )
        if not (of_inputs or isinstance(error, ValueError)):
            raise
        raise InvalidRequest(f"the model does not take these inputs: {_said(error)}") from error


def _made(function: str, model: StoredModel) -> Predict:
    """Raises InvalidRequest for what makes no function."""
    make = _function(function)
    try:
        predict = make(model)
    except (AmbryError, OSError, MemoryError):
        raise
    except Exception as error:
        # Of any kind: it is others who wrote it.
        raise InvalidRequest(f"{function} could not make a scorer of {model}: {_said(error)}") from error
    if not callable(predict):
        raise InvalidRequest(f"{function!r} makes {type(predict).__name__} of a model, and no function that scores")
    return predict


def _function(text: str) -> Callable[[StoredModel], Predict]:
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise InvalidRequest(f"{text!r} names no function; write module:name")
    try:
        holder = import_module(module)
        found = getattr(holder, name, None)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            # Not what it imports itself, which Python tells.
            places = listed([each or str(Path.cwd()) for each in sys.path], PLACES_MAX)
            raise InvalidRequest(
                f"there is no function {text!r}: no module {error.name!r} is in {places}; name its directory in PYTHONPATH"
            ) from error
        # Of any kind: importing it runs what others wrote.
        raise InvalidRequest(f"there is no function {text!r}: {_said(error)}") from error
    if found is None:
        raise InvalidRequest(f"there is no function {text!r}: {getattr(holder, '__file__', module)} has none")
    if not callable(found):
        raise InvalidRequest(f"{text!r} is no function")
    made: Callable[[StoredModel], Predict] = found
    return made


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MESSAGE_CHARACTERS_MAX]
