"""Bytes as arrays of every framework that is installed: over the same memory where that is safe, and never changed."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from ambry.errors import InvalidRequest
from ambry.tensors.frameworks import ALIGNMENT_BYTES, Framework, array_of, framework_of, memory_of, room, shared

VALUES = np.arange(-8, 24).reshape(4, 8)
TYPES = {
    "BOOL": "bool", "U8": "u1", "I8": "i1", "U16": "u2", "I16": "i2", "F16": "f2", "U32": "u4", "I32": "i4", "F32": "f4",
    "U64": "u8", "I64": "i8", "F64": "f8", "C64": "c8",
}  # fmt: skip


def library(name: Framework, *, wide: bool = True) -> Any:
    """One that is installed; `wide` are jax's numbers of 64 bits."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed; `make libraries` does it")
    found: Any = import_module(name)
    if name == "jax":
        found.config.update("jax_enable_x64", wide)
    return found


def filled(values: Any, shift: int = 0) -> memoryview:
    memory = room(values.nbytes, -shift)
    memory[:] = values.tobytes()
    return memory


def address_of(array: Any) -> int:
    return int(np.from_dlpack(array).ctypes.data)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 1_000_000])
@pytest.mark.parametrize("first", [0, 1, 8, 64, 100])
def test_room_begins_where_it_is_asked_to(size: int, first: int) -> None:
    memory = room(size, first)
    assert (len(memory), memory.readonly) == (size, False)
    if first < size:
        assert np.frombuffer(memory, np.uint8)[first:].ctypes.data % ALIGNMENT_BYTES == 0


@pytest.mark.parametrize(
    "name",
    [
        "numpy",
        pytest.param("torch", marks=pytest.mark.slow),
        pytest.param("jax", marks=pytest.mark.slow),
        pytest.param("tensorflow", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("shift", [0, 8])
def test_an_array_has_its_values_and_shares_what_may_be_shared(name: Framework, shift: int) -> None:
    """tensorflow ended the process at the first sum over what began at a multiple of 8 and not of 64."""
    library(name)
    for dtype, plain in TYPES.items():
        values = VALUES.astype(plain)
        memory = filled(values, shift)
        array = array_of(name, memory, dtype, values.shape)
        back = np.asarray(array)
        assert (back.dtype, back.shape) == (values.dtype, values.shape)
        assert np.array_equal(back, values)
        if name == "tensorflow" and dtype == "F64":
            assert float(import_module("tensorflow").reduce_sum(array * array)) == (VALUES * VALUES).sum()
        if name in ("numpy", "torch") or not shift:
            assert address_of(array) == np.frombuffer(memory, np.uint8).ctypes.data, dtype
        assert array_of(name, room(0), dtype, (0, 3)).shape == (0, 3)
    one = array_of(name, filled(np.ones(1, "f4")), "F32", ())
    assert (tuple(one.shape), float(one)) == ((), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_types_that_numpy_has_not_by_itself_keep_their_values(name: Framework) -> None:
    library(name)
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    for dtype, plain in (("BF16", types.bfloat16), ("F8_E5M2", types.float8_e5m2), ("F8_E4M3", types.float8_e4m3fn)):
        values = VALUES.astype(plain)
        array = array_of(name, filled(values), dtype, values.shape)
        as_text = str(array.dtype).removeprefix("torch.").removeprefix("<dtype: '").removesuffix("'>")
        assert as_text == np.dtype(plain).name
        told = array.float().numpy() if name == "torch" else np.asarray(array).astype("f4")
        assert np.array_equal(told, values.astype("f4"))


@pytest.mark.slow
def test_jax_is_not_given_numbers_that_it_would_cut() -> None:
    """Without its numbers of 64 bits, 2**40 became 0 with a warning."""
    library("jax", wide=False)
    try:
        for plain in ("i8", "u8", "f8"):
            with pytest.raises(InvalidRequest, match=r"jax has no .*64 as it is set: .*jax_enable_x64"):
                shared("jax", np.full(8, 2**40, plain))
        assert shared("jax", np.ones(8, "c8")).dtype == "complex64"
    finally:
        library("jax")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_what_is_never_written_to_takes_no_bytes(name: Framework) -> None:
    library(name)
    array = shared(name, np.zeros(16, "f4"))
    with pytest.raises(
        InvalidRequest, match=f"what is there for 'w' is never written to; `load` makes arrays of {name}"
    ):
        memory_of("w", array, "F32", (16,))


def test_a_framework_is_called_as_it_is_and_as_safetensors_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (framework_of("numpy"), framework_of("np")) == ("numpy", "numpy")
    with pytest.raises(InvalidRequest, match=r"'numpy' \(or 'np'\), .* 'tensorflow' \(or 'tf'\), not 'mxnet'"):
        framework_of("mxnet")
    for said, told in (("jax", "jax"), ("flax", "jax"), ("tf", "tensorflow"), ("tensorflow", "tensorflow")):
        monkeypatch.setitem(import_module("sys").modules, told, None)
        with pytest.raises(ModuleNotFoundError, match=f"framework='{told}' needs {told}: pip install {told}"):
            framework_of(said)
    monkeypatch.setitem(import_module("sys").modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs torch: pip install 'ambry\[torch\]'"):
        framework_of("pt")
