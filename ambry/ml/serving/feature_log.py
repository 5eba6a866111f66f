"""What models were given and what they said, for a part of the requests: JSON lines in blobs beside the model.

    <dataset>.scored/2026-11-27/<12 hexadecimal digits>-000000.jsonl
    {"model": "fraud@1.2.0", "arm": "treatment", "unit": 42, "rows": 1, "inputs": {"x": [[0.5, 1.5]]},
     "outputs": {"predict": [1]}, "at": 1764280000000}

A number that is not finite is null. Of a large request there are its first rows, CELLS_MAX numbers in all; `rows` says how many
it had. As a table they are read by scored.py.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from ambry.client.sync.client import AmbryClient
from ambry.errors import InvalidRequest
from ambry.ml.line_log import LineLog
from ambry.ml.places import version_of
from ambry.ml.scored import scored_folder
from ambry.ml.serving.inference import InferenceRequest

CELLS_MAX = 10_000
TEXT_CHARACTERS_MAX = 1_000


class FeatureLog(LineLog):
    """Takes a part of what is scored, by chance. Usable by threads; close it."""

    def __init__(
        self,
        client: AmbryClient,
        dataset: str,
        part: float,
        *,
        ttl_s: int | None = None,
        every_s: float | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`part` of all requests, from 0 to 1. `ttl_s` and `every_s` as of a LineLog."""
        if not 0 <= part <= 1:
            raise InvalidRequest(f"a part of the requests is a number from 0 to 1, not {part!r}")
        self._chosen = part
        self._chance = chance or random.Random()  # nosec B311  # chooses what is kept, and guards nothing
        place = version_of(dataset)
        super().__init__(client, scored_folder(place), ttl_s=ttl_s, every_s=every_s)

    def record(self, model: str, arm: str, request: InferenceRequest, outputs: Mapping[str, Any]) -> None:
        """Take one, or pass it by."""
        if not self._chance.random() < self._chosen:
            return
        unit = request.parameters.get("unit")
        arrays = {name: np.asarray(array) for name, array in (*request.inputs.items(), *outputs.items())}
        row = sum(prod(array.shape[1:]) for array in arrays.values())
        rows = max(0, min(request.rows, CELLS_MAX // max(1, row)))
        self.take(
            {
                "model": model,
                **({"arm": arm} if arm else {}),
                **({"unit": unit} if unit is not None else {}),
                "rows": request.rows,
                "inputs": {name: _cells(array, rows) for name, array in request.inputs.items()},
                "outputs": {name: _cells(np.asarray(array), rows) for name, array in outputs.items()},
            }
        )


def _cells(array: Any, rows: int) -> Any:
    array = array[:rows] if array.ndim else array
    if array.dtype.kind in "biu":
        return array.tolist()
    cells = np.empty(array.shape, dtype=object)
    for place, each in np.ndenumerate(array):
        if array.dtype.kind == "f":
            cells[place] = float(each) if np.isfinite(each) else None
        else:
            cells[place] = str(each)[:TEXT_CHARACTERS_MAX]
    return cells.tolist()
