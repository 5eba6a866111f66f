"""Definitions as text, in the form of LinkedIn's article, which reading.py reads back as the same values."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

from ambry.ml.features.definitions import (
    Availability,
    Categorical,
    Definitions,
    Dimension,
    DimensionKind,
    Discrete,
    Feature,
    FeatureDim,
    FeatureValue,
    Hashed,
)

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*", re.ASCII)


def format_definitions(definitions: Definitions) -> str:
    """Text of the features and dimensions in their order; the vocabularies are files of their own."""
    entries = [f"namespace: {_name(definitions.namespace)}"]
    entries += [_braced(feature.name, _feature_lines(feature)) for feature in definitions.features]
    entries += [_braced(dimension.name, _dimension_lines(dimension)) for dimension in definitions.dimensions]
    return "\n\n".join(entries) + "\n"


def _braced(name: str, lines: Iterator[str]) -> str:
    return "\n".join([f"{_name(name)}: {{", *(f"  {line}" for line in lines), "}"])


def _feature_lines(feature: Feature) -> Iterator[str]:
    if feature.doc:
        yield f"doc: {_quoted(feature.doc)}"
    yield f'version: "{feature.version}"'
    if feature.dims:
        yield f"dims: [{', '.join(_dim(dim) for dim in feature.dims)}]"
    yield f"valType: {feature.value_type.value}"
    if feature.availability is not Availability.BOTH:
        yield f"availability: {feature.availability.value}"
    if feature.default is not None:
        yield f"default: {_value(feature.default)}"


def _dimension_lines(dimension: Dimension) -> Iterator[str]:
    if dimension.doc:
        yield f"doc: {_quoted(dimension.doc)}"
    yield f'version: "{dimension.version}"'
    yield f"type: {_kind(dimension.kind)}"


def _kind(kind: DimensionKind) -> str:
    match kind:
        case Categorical(file):
            return f"categorical : {{ idMappingFile: {_quoted(file)} }}"
        case Discrete(None):
            return "discrete"
        case Discrete(size):
            return f"discrete : {{ size: {size} }}"
        case Hashed(buckets):
            return f"hashed : {{ buckets: {buckets} }}"
        case _:
            return "entity"


def _dim(dim: FeatureDim) -> str:
    reference = _name(str(dim.dimension))
    return f"{{ name: {_name(dim.local_name)}, dim: {reference} }}" if dim.local_name else reference


def _value(value: FeatureValue) -> str:
    if isinstance(value, bytes):
        return _quoted(base64.b64encode(value).decode("ascii"))
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
