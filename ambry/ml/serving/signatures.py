"""What a model takes and gives, as the metadata of the Open Inference Protocol say it: names, datatypes, and shapes of which
-1 is any number. What nobody knows before a model has scored is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.ml.serving.tensors import known

ANY = -1
MATRIX = "input"
"""What the one input of a model is called whose features nobody named; any other name is taken too."""
_ONNX = {
    "bool": "BOOL",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def told(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def specs_of_columns(names: Sequence[str], width: int | None = None) -> tuple[TensorSpec, ...]:
    """Inputs of numbers by features, or in one matrix where nobody named them. `width` is the number of their columns."""
    if not names:
        return (TensorSpec(MATRIX, "FP64", (ANY, ANY if width is None else width)),)
    # Fewer features than columns: some are tensors.
    shape = (ANY,) if width in (None, len(names)) else (ANY, ANY)
    return tuple(TensorSpec(name, "FP64", shape) for name in names)


def specs_of_onnx(values: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """Of what a session of onnxruntime says of its inputs or outputs; sequences and maps are left out."""
    found = []
    for each in values:
        kind = _ONNX.get(str(each.type).removeprefix("tensor(").removesuffix(")"))
        if kind is not None and str(each.type).startswith("tensor("):
            dims = getattr(each, "shape", None) or [None]
            found.append(TensorSpec(each.name, kind, tuple(dim if isinstance(dim, int) else ANY for dim in dims)))
    return tuple(found)


def specs_of_answer(outputs: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    """Of what a model gave for some rows."""
    arrays = {name: known(np.asarray(each)) for name, each in outputs.items()}
    return tuple(TensorSpec(name, datatype, (ANY, *array.shape[1:])) for name, (datatype, array) in arrays.items())
