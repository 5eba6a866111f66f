"""Bytes as arrays of numpy and jax, or tensors of torch and tensorflow; none is imported before it is asked for.

An array shares the memory that it was made of. jax and tensorflow share what begins at a multiple of ALIGNMENT_BYTES, of types
that numpy has by itself; anything else they copy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

from ambry.errors import InvalidRequest

Framework = Literal["numpy", "torch", "jax", "tensorflow"]
_FRAMEWORKS: dict[str, Framework] = {
    "numpy": "numpy", "torch": "torch", "jax": "jax", "tensorflow": "tensorflow",
    "np": "numpy", "pt": "torch", "flax": "jax", "tf": "tensorflow",
}  # fmt: skip
"""By their own names, and by those of safetensors."""
_INSTALLED_BY: dict[Framework, str] = {
    "numpy": "'ambry[tensors]'", "torch": "'ambry[torch]'", "jax": "jax", "tensorflow": "tensorflow",
}  # fmt: skip
ALIGNMENT_BYTES = 64
"""Of memory that every framework takes as it is (XLA's and Eigen's own alignment)."""

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
    framework = _FRAMEWORKS.get(said)
    if framework is None:
        raise InvalidRequest(
            "framework is 'numpy' (or 'np'), 'torch' (or 'pt'), 'jax' (or 'flax') or 'tensorflow' (or 'tf'), "
            f"not {said!r}"
        )
    _library(framework)
    return framework


def array_of(framework: Framework, data: memoryview, dtype: str, shape: Sequence[int]) -> Any:
    """An array over these bytes, which it shares as this module says. `data` may be written to.

    Raises InvalidRequest for a type that the framework does not have.
    """
    if framework == "torch":
        torch = _library("torch")
        kind = getattr(torch, _TORCH.get(dtype, ""), None)
        if kind is None:
            raise InvalidRequest(f"torch {torch.__version__} has no type for {dtype}")
        return torch.frombuffer(data, dtype=kind).reshape(shape) if len(data) else torch.empty(shape, dtype=kind)
    return shared(framework, _library("numpy").frombuffer(data, dtype=_numpy_type(dtype)).reshape(shape))


def shared(framework: Framework, array: Any) -> Any:
    """An array of numpy as one of the framework, over the same memory as this module says. `array` may be written to.

    Raises InvalidRequest for numbers of 64 bits where jax has none.
    """
    if framework == "torch":
        return _library("torch").from_numpy(array)
    if framework == "tensorflow":
        tensorflow = _library("tensorflow")
        # Its kernels read aligned memory, and what dlpack brings them from elsewhere ends the process.
        if _is_taken(array):
            return tensorflow.experimental.dlpack.from_dlpack(array.__dlpack__())
        return tensorflow.convert_to_tensor(array)
    if framework == "jax":
        jax = _library("jax")
        if array.dtype.kind in "iuf" and array.dtype.itemsize == 8 and not jax.config.jax_enable_x64:
            # It would be cast to 32 bits, and what is beyond them be lost.
            raise InvalidRequest(
                f"jax has no {array.dtype} as it is set: say jax.config.update('jax_enable_x64', True) at the start, or take "
                "another framework"
            )
        return jax.dlpack.from_dlpack(array) if _is_taken(array) else jax.numpy.array(array)
    return array


def _is_taken(array: Any) -> bool:
    """Whether dlpack gives it to jax and tensorflow as it lies; what is empty lies nowhere."""
    return bool(array.size and array.dtype.isbuiltin == 1 and array.ctypes.data % ALIGNMENT_BYTES == 0)


def room(size: int, first: int = 0) -> memoryview:
    """Memory of that many bytes, whose byte `first` lies at a multiple of ALIGNMENT_BYTES."""
    data = bytearray(size + ALIGNMENT_BYTES)
    start = -(ctypes.addressof(ctypes.c_char.from_buffer(data)) + first) % ALIGNMENT_BYTES
    return memoryview(data)[start : start + size]


def memory_of(name: str, array: Any, dtype: str, shape: Sequence[int]) -> memoryview:
    """The bytes of an array of numpy, or a tensor of torch, that is of this type and shape, to be written to.

    Raises InvalidRequest for one that is of another, or not in one writable piece of this machine's memory.
    """
    library = type(array).__module__.partition(".")[0]
    if library in ("jax", "jaxlib", "tensorflow"):
        raise InvalidRequest(f"what is there for {name!r} is never written to; `load` makes arrays of {library}")
    is_torch = library == "torch"
    kind = (
        getattr(_library("torch"), _TORCH.get(dtype, ""), None)
        if is_torch
        else _library("numpy").dtype(_numpy_type(dtype))
    )
    if getattr(array, "dtype", None) != kind or tuple(array.shape) != tuple(shape):
        there = f"{getattr(array, 'dtype', type(array).__name__)} {list(getattr(array, 'shape', []))}"
        raise InvalidRequest(f"the tensor {name!r} is {dtype} {list(shape)}, and what is there for it {there}")
    if is_torch:
        if array.device.type != "cpu" or not array.is_contiguous():
            raise InvalidRequest(
                f"what is there for {name!r} is not contiguous in memory of the CPU; load it there, and move it"
            )
        array = array.detach().reshape(-1).view(_library("torch").uint8).numpy()
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


def _library(framework: Framework) -> Any:
    try:
        return import_module(framework)
    except ModuleNotFoundError as missing:
        if missing.name != framework:
            raise
        need = "tensors need numpy" if framework == "numpy" else f"framework={framework!r} needs {framework}"
        raise ModuleNotFoundError(f"{need}: pip install {_INSTALLED_BY[framework]}", name=framework) from None
