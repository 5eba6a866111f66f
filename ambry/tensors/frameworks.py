"""Bytes as the arrays of numpy, or the tensors of torch; neither is imported before it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ambry.errors import InvalidRequest

Framework = Literal["numpy", "torch"]
_SHORT: dict[str, Framework] = {"np": "numpy", "pt": "torch"}
"""As safetensors calls them."""

_NUMPY = {
    "BOOL": "bool", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4", "I32": "<i4", "F32": "<f4",
    "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_ML_DTYPES = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"}
"""Types that numpy has from the package ml_dtypes."""
_TORCH = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16", "BF16": "bfloat16",
    "U32": "uint32", "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
}  # fmt: skip


def framework_of(said: str) -> Framework:
    """What a caller means. Raises InvalidRequest for one that is none, ModuleNotFoundError for one that is not installed."""
    framework = _SHORT.get(said, said)
    if framework == "numpy":
        _numpy()
        return "numpy"
    if framework == "torch":
        _torch()
        return "torch"
    raise InvalidRequest(f"framework is 'numpy' (or 'np') or 'torch' (or 'pt'), not {said!r}")


def array_of(framework: Framework, data: bytearray | memoryview, dtype: str, shape: Sequence[int]) -> Any:
    """An array over these bytes, which it shares. Raises InvalidRequest for a type that the framework does not have."""
    if framework == "torch":
        torch = _torch()
        kind = getattr(torch, _TORCH.get(dtype, ""), None)
        if kind is None:
            raise InvalidRequest(f"torch {torch.__version__} has no type for {dtype}")
        return torch.frombuffer(data, dtype=kind).reshape(shape) if len(data) else torch.empty(shape, dtype=kind)
    return _numpy().frombuffer(data, dtype=_numpy_type(dtype)).reshape(shape)


def memory_of(name: str, array: Any, dtype: str, shape: Sequence[int]) -> memoryview:
    """The bytes of an array of numpy, or a tensor of torch, that is of this type and shape, to be written to.

    Raises InvalidRequest for one that is of another, or not in one writable piece of this machine's memory.
    """
    is_torch = type(array).__module__.partition(".")[0] == "torch"
    kind = getattr(_torch(), _TORCH.get(dtype, ""), None) if is_torch else _numpy().dtype(_numpy_type(dtype))
    if getattr(array, "dtype", None) != kind or tuple(array.shape) != tuple(shape):
        there = f"{getattr(array, 'dtype', type(array).__name__)} {list(getattr(array, 'shape', []))}"
        raise InvalidRequest(f"the tensor {name!r} is {dtype} {list(shape)}, and what is there for it {there}")
    if is_torch:
        if array.device.type != "cpu" or not array.is_contiguous():
            raise InvalidRequest(
                f"what is there for {name!r} is not contiguous in memory of the CPU; load it there, and move it"
            )
        array = array.detach().reshape(-1).view(_torch().uint8).numpy()
    elif not (array.flags.c_contiguous and array.flags.writeable):
        raise InvalidRequest(f"what is there for {name!r} is not C-contiguous, or may not be written to")
    return memoryview(array.reshape(-1).view("u1"))


def _numpy_type(dtype: str) -> Any:
    if (plain := _NUMPY.get(dtype)) is not None:
        return plain
    name = _ML_DTYPES.get(dtype)
    if name is None:
        raise InvalidRequest(f"numpy has no type for {dtype}")
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise InvalidRequest(
            f"numpy has no type for {dtype} by itself: pip install ml_dtypes, or ask with framework='torch'"
        ) from None
    return getattr(ml_dtypes, name)


def _numpy() -> Any:
    try:
        import numpy
    except ModuleNotFoundError:
        raise ModuleNotFoundError("tensors need numpy: pip install 'ambry[tensors]'", name="numpy") from None
    return numpy


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError:
        raise ModuleNotFoundError("framework='torch' needs torch: pip install 'ambry[torch]'", name="torch") from None
    return torch
