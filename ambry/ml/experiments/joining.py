"""Who saw what, beside what they did: a row for each unit that was exposed, with the arm of its first exposure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.experiments.assignment import Unit, unit_of
from ambry.ml.experiments.exposures import Exposure, first_exposures
from ambry.ml.snapshots.frames import pieces_of

ARM = "arm"
UNIT = "unit"


def joined(
    exposures: Iterable[Exposure],
    outcomes: Any,
    *,
    metrics: Sequence[str],
    segments: Sequence[str] = (),
    unit: str = UNIT,
    absent: float | None = None,
) -> dict[str, list[Any]]:
    """Columns for `evaluate(..., arm="arm")`: the unit, its arm, the metrics, and the segments.

    `outcomes` have a row of each unit, in any order, in any frame; of units that were never exposed nothing is taken. Segments
    are attributes of the first exposure, or else columns of the outcomes. A unit without outcomes has `absent` as its metrics:
    0 where who is not there did nothing, None where that is not known, and then it is left out of them.

    Raises InvalidRequest for a unit that stands twice in the outcomes, and for columns that are not there.
    """
    found = _by_unit(outcomes, unit, metrics, segments)
    columns: dict[str, list[Any]] = {name: [] for name in (unit, ARM, *metrics, *segments)}
    nothing = math.nan if absent is None else absent
    for each, exposure in first_exposures(exposures).items():
        row = found.get(each)
        columns[unit].append(each)
        columns[ARM].append(exposure.arm)
        for name in metrics:
            columns[name].append(nothing if row is None else row[name])
        for name in segments:
            columns[name].append(exposure.attributes.get(name, "" if row is None else row.get(name, "")))
    return columns


def _by_unit(
    outcomes: Any, unit: str, metrics: Sequence[str], segments: Sequence[str]
) -> dict[Unit, Mapping[str, Any]]:
    found: dict[Unit, Mapping[str, Any]] = {}
    for piece in pieces_of(outcomes):
        if lacking := [name for name in (unit, *metrics) if name not in piece]:
            raise InvalidRequest(f"the outcomes have no column {lacking[0]!r}; they have {', '.join(sorted(piece))}")
        names = [*metrics, *(name for name in segments if name in piece)]
        for each, *row in zip(*(_listed(piece[name]) for name in (unit, *names)), strict=True):
            key = unit_of(each)
            if key in found:
                raise InvalidRequest(f"the unit {each!r} stands twice in the outcomes; put its rows together first")
            found[key] = dict(zip(names, row, strict=True))
    return found


def _listed(column: Any) -> list[Any]:
    if hasattr(column, "to_pylist"):
        return list(column.to_pylist())
    return list(column.tolist()) if hasattr(column, "tolist") else list(column)
