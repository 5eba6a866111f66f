"""Types of features to try columns with, and values of each value type."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions

DIMENSIONS = """\
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
days: {type: discrete}
week: {type: discrete : {size: 7}}
words: {type: hashed : {buckets: 1000}}
member: {type: entity}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
NAMES = ("OUT_OF_VOCAB", "Comment", "Click")


def kind_of(value_type: str, *dims: str, default: str = "", more: str = "") -> TensorType:
    """The feature `a` over dims of DIMENSIONS; `more` names lie on the vocabulary of kinds, too."""
    said = f", default: {default}" if default else ""
    text = f"a: {{valType: {value_type}, dims: [{', '.join(f'{dim}-1-0' for dim in dims)}]{said}}}\n{DIMENSIONS}{more}"
    return FeatureMetadata.of([parse_definitions(text, "n")]).tensor_type("urn:li:(n,a,1,0)")


NUMBERS: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.INT: st.integers(-(2**31), 2**31 - 1),
    ValueType.LONG: st.integers(-(2**63), 2**63 - 1),
    ValueType.FLOAT: st.floats(width=32, allow_nan=False),
    ValueType.DOUBLE: st.floats(allow_nan=False),
    ValueType.BOOLEAN: st.booleans(),
}
VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    **NUMBERS,
    ValueType.STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    ValueType.BYTES: st.binary(max_size=5),
}
EXTREMES: dict[ValueType, list[Any]] = {
    ValueType.INT: [0, -1, 2**31 - 1, -(2**31)],
    ValueType.LONG: [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)],
    ValueType.FLOAT: [0.0, -0.0, float(np.finfo("f4").max), float(np.finfo("f4").smallest_subnormal), np.inf, -np.inf],
    ValueType.DOUBLE: [0.0, -0.0, np.finfo("f8").max, 5e-324, np.inf, -np.inf, 0.1],
    ValueType.BOOLEAN: [True, False],
    ValueType.STRING: ["", "a\0b", "é😀\ufffd", " ", "None", "x" * 5_000],
    ValueType.BYTES: [b"", b"\0", bytes(range(256)), b"x" * 5_000],
}
