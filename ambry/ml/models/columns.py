"""Which inputs a model takes, and in which order: by the names of its features, not in the order of a request.

A model of one matrix takes one input with all of its columns, whatever it is called, or one input for each feature. A feature
that the manifest names by its URN may be called by the URN, or by its name where no other one of the model has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.features.urn import FeatureUrn
from ambry.ml.listed import listed


class Columns:
    """The names of a model's features in their order; none where nobody said them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        short = [_short(name) for name in self.names]
        often = Counter(short)
        self._places = {name: place for place, name in enumerate(short) if often[name] == 1}
        self._places.update({name: place for place, name in enumerate(self.names)})

    def ordered(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The inputs as the model takes them: all columns in one, or one for each feature. Raises InvalidRequest."""
        if len(inputs) == 1:
            [(name, array)] = inputs.items()
            if len(self.names) < 2 or name not in self._places:
                return [array]
        elif not self.names:
            raise InvalidRequest(
                f"the request has {len(inputs)} inputs, and nothing says which features of the model they are: "
                "send one input with all columns, or publish the model with the features that it takes"
            )
        found: list[Any] = [None] * len(self.names)
        for name, array in inputs.items():
            place = self._places.get(name)
            if place is None:
                raise InvalidRequest(f"the model has no feature {name[:100]!r}; it takes {listed(self.names)}")
            if found[place] is not None:
                raise InvalidRequest(f"the feature {self.names[place]} stands twice, under two of its names")
            found[place] = array
        if missing := [name for name, array in zip(self.names, found, strict=True) if array is None]:
            raise InvalidRequest(f"the model takes {len(self.names)} features; missing: {listed(missing)}")
        return found

    def matrix(self, inputs: Mapping[str, Any]) -> Any:
        """The inputs beside each other as one matrix of (rows, columns). Raises InvalidRequest."""
        parts = [array.reshape(len(array), -1) for array in self.ordered(inputs)]
        if any(part.dtype == object for part in parts):
            raise InvalidRequest("this model takes numbers, and an input is BYTES")
        return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def _short(name: str) -> str:
    with suppress(InvalidRequest):
        return FeatureUrn.parse(name).name
    return name
