"""Who saw what, beside what they did: a row for each unit that was exposed, with the arm of its first exposure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ambry.errors import InvalidRequest
from ambry.ml.experiments.assignment import Unit, key_of, unit_of
from ambry.ml.experiments.columns import parts_of
from ambry.ml.experiments.exposures import Exposure, first_exposures
from ambry.ml.snapshots.frames import pieces_of

ARM = "arm"
SAID_ARM = "arm (said)"
"""The column `arm` of the outcomes, beside that of the exposures."""
UNIT = "unit"


def joined(
    exposures: Iterable[Exposure],
    outcomes: Any,
    *,
    metrics: Sequence[str],
    segments: Sequence[str] = (),
    unit: str = UNIT,
    absent: float | None = None,
    said_arms: bool = False,
) -> dict[str, list[Any]]:
    """Columns for `evaluate(..., arm="arm")`: the unit, its arm, the metrics, and the segments.

    `outcomes` have a row of each unit, in any order, in any frame; of units that were never exposed nothing is taken. Segments
    are attributes of the first exposure, or else columns of the outcomes. A unit without outcomes has `absent` as its metrics:
    0 where who is not there did nothing, None where that is not known, and then it is left out of them.

    Of a ratio such as `clicks/views` both columns are there. With `said_arms` the column `arm` of the outcomes comes along, as
    `evaluate(..., said_arm=SAID_ARM)` takes it.

    Raises InvalidRequest for a unit that stands twice in the outcomes, and for columns that are not there.
    """
    metrics, segments = list(dict.fromkeys(metrics)), list(dict.fromkeys(segments))
    found, metrics = _by_unit(outcomes, unit, metrics, [*segments, ARM] if said_arms else segments)
    names = [unit, ARM, *metrics, *segments]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InvalidRequest(
            f"{twice[0]!r} is one of the unit, {ARM!r}, the metrics and the segments, and not two; call a column otherwise"
        )
    columns: dict[str, list[Any]] = {name: [] for name in [*names, *([SAID_ARM] if said_arms else [])]}
    nothing = math.nan if absent is None else absent
    for each, exposure in first_exposures(exposures).items():
        row = found.get(each)
        columns[unit].append(each)
        columns[ARM].append(exposure.arm)
        for name in metrics:
            columns[name].append(nothing if row is None else row[name])
        for name in segments:
            columns[name].append(exposure.attributes.get(name, "" if row is None else row.get(name, "")))
        if said_arms:
            columns[SAID_ARM].append("" if row is None else row.get(ARM, ""))
    return columns


def _by_unit(
    outcomes: Any, unit: str, metrics: Sequence[str], segments: Sequence[str]
) -> tuple[dict[Unit, Mapping[str, Any]], list[str]]:
    """The rows, and the columns of the metrics."""
    found: dict[Unit, Mapping[str, Any]] = {}
    needed: list[str] = []
    for piece in pieces_of(outcomes):
        needed = needed or list(dict.fromkeys(part for metric in metrics for part in parts_of(metric, piece)))
        if lacking := [name for name in (unit, *needed) if name not in piece]:
            raise InvalidRequest(f"the outcomes have no column {lacking[0]!r}; they have {', '.join(sorted(piece))}")
        names = [*needed, *(name for name in segments if name in piece)]
        columns = [_listed(piece[name]) for name in (unit, *names)]
        for each, *row in zip(*columns, strict=True):
            key_of(each)  # Refuses what is no unit.
            key = unit_of(each)
            if key in found:
                raise InvalidRequest(f"the unit {each!r} stands twice in the outcomes; put its rows together first")
            found[key] = dict(zip(names, row, strict=True))
    return found, needed or [part for metric in metrics for part in parts_of(metric, ())]


def _listed(column: Any) -> list[Any]:
    if hasattr(column, "to_pylist"):
        return list(column.to_pylist())
    return list(column.tolist()) if hasattr(column, "tolist") else list(column)
