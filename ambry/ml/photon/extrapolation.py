"""Anderson's extrapolation of coordinate descent: from what the last sweeps did, where they are going.

Where effects share what they explain, a sweep takes the same small part of what is left, in the same few directions. The
combination of the last sweeps whose changes cancel is near the end: of a linear model with few fixed columns, at it. A start
that makes the next sweep change more than the one before is given up by who asks (descent.py), and forgotten here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ambry.ml.photon.models import FixedModel, RandomModel

WINDOW = 5
"""Sweeps that are combined."""
IGNORED = 1e-12
"""Of the largest direction: what is smaller is noise."""

Model = FixedModel | RandomModel


class Extrapolation:
    """Takes the models before and after each sweep. They have the same entities and features."""

    def __init__(self, window: int = WINDOW) -> None:
        self._sweeps: deque[tuple[Mapping[str, Model], Mapping[str, Any]]] = deque(maxlen=window + 1)
        """What came out, and by how much it differs from what went in."""

    def forget(self) -> None:
        """All sweeps."""
        self._sweeps.clear()

    def next(self, before: Mapping[str, Model], after: Mapping[str, Model]) -> dict[str, Model]:
        """Where to begin the next sweep: at `after`, while there are no earlier ones to learn from."""
        changes = {name: model.means - before[name].means for name, model in after.items()}
        self._sweeps.append((after, changes))
        *earlier, _ = self._sweeps
        if not earlier:
            return dict(after)
        differences = [{name: then[name] - changes[name] for name in changes} for _, then in earlier]
        gram = np.array([[_product(one, other) for other in differences] for one in differences])
        size = np.sqrt(np.maximum(np.diagonal(gram), np.finfo(float).tiny))
        target = np.array([-_product(each, changes) for each in differences])
        shares = np.linalg.lstsq(gram / np.outer(size, size), target / size, rcond=IGNORED)[0] / size
        made = dict(after)
        for (there, _), share in zip(earlier, shares.tolist(), strict=True):
            for name, model in after.items():
                means = made[name].means + share * (there[name].means - model.means)
                made[name] = replace(made[name], means=means)
        return made


def _product(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    total = 0.0
    for name, values in one.items():
        total += float(values @ other[name] if isinstance(values, np.ndarray) else values.multiply(other[name]).sum())
    return total
