"""An experiment is evaluated: is the split what it should be, and what does each arm do to each metric, for whom.

Nothing of an effect is worth reading where the sample ratio is off: who is missing is not missing by chance. So `trustworthy`
comes first, and a decision asks it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.experiments.document import Experiment
from ambry.ml.experiments.statistics import Effect, effect_of, sample_ratio_p
from ambry.ml.snapshots.frames import pieces_of

SAMPLE_RATIO_P_MIN = 0.001
"""Below this, the split did not happen as it was meant."""
ALPHA = 0.05
ALL = "all"
"""The segment of everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """One arm beside the control, on one metric, in one segment."""

    metric: str
    arm: str
    segment: str
    units: int
    control_units: int
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an experiment has shown."""

    experiment: str
    control: str
    counts: Mapping[str, int]
    """Units by arm."""
    sample_ratio_p: float
    alpha: float
    comparisons: tuple[ArmComparison, ...]

    @property
    def trustworthy(self) -> bool:
        """Whether the split is what it should be."""
        return self.sample_ratio_p >= SAMPLE_RATIO_P_MIN

    def of(self, metric: str, arm: str, segment: str = ALL) -> ArmComparison:
        """Raises InvalidRequest."""
        for found in self.comparisons:
            if (found.metric, found.arm, found.segment) == (metric, arm, segment):
                return found
        raise InvalidRequest(
            f"the evaluation of {self.experiment!r} has nothing of {metric!r} for {arm!r} in {segment!r}"
        )

    def encode(self) -> bytes:
        """As JSON, for a blob beside the experiment."""
        told = {
            "experiment": self.experiment,
            "control": self.control,
            "counts": dict(self.counts),
            "sample_ratio_p": self.sample_ratio_p,
            "trustworthy": self.trustworthy,
            "alpha": self.alpha,
            "comparisons": [{**asdict(each), "effect": _finite(asdict(each.effect))} for each in self.comparisons],
        }
        return json.dumps(told, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def evaluate(
    experiment: Experiment,
    outcomes: Any,
    *,
    unit: str = "unit",
    arm: str | None = None,
    metrics: Sequence[str] = (),
    segments: Sequence[str] = (),
    alpha: float = ALPHA,
) -> Evaluation:
    """Evaluate rows of one unit each: any frame, or an iterator of frames (frames.py), with the metrics as columns.

    The arm of a unit is what the experiment assigns to it, or what the column `arm` says, such as that of its first exposure;
    units that are in no arm are left out. `metrics` are those of the experiment without any; `segments` are columns of which
    each value is compared by itself too.

    Raises InvalidRequest for a unit that stands twice, a column that is not there, and arms that nobody has defined.
    """
    rows = _columns(outcomes)
    names = [each.name for each in experiment.arms]
    units = _column(rows, unit)
    if len(set(units.tolist())) != len(units):
        raise InvalidRequest(f"a unit stands twice in the column {unit!r}; put the rows of a unit together first")
    if arm is None:
        arms = np.where(_targeted(rows, experiment, len(units)), experiment.arms_of(units.tolist()), -1)
    else:
        arms = _arms(_column(rows, arm), names)
    counts = {name: int((arms == place).sum()) for place, name in enumerate(names)}
    found = []
    for metric in metrics or experiment.metrics:
        values = _numbers(_column(rows, metric), metric)
        for segment, inside in _segments(rows, segments, len(units)):
            found += _compare(metric, segment, values, arms, inside & ~np.isnan(values), names, alpha)
    return Evaluation(
        experiment=experiment.name,
        control=names[0],
        counts=counts,
        sample_ratio_p=sample_ratio_p(list(counts.values()), [each.share for each in experiment.arms]),
        alpha=alpha,
        comparisons=tuple(found),
    )


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """As JSON has them: null where there is no interval."""
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def _compare(
    metric: str, segment: str, values: Any, arms: Any, inside: Any, names: list[str], alpha: float
) -> list[ArmComparison]:
    control = values[(arms == 0) & inside]
    found = []
    for place, name in enumerate(names[1:], 1):
        treatment = values[(arms == place) & inside]
        if min(len(control), len(treatment)) < 2:
            if segment == ALL:
                raise InvalidRequest(
                    f"{metric!r}: {names[0]!r} has {len(control)} units and {name!r} {len(treatment)}; wait for more"
                )
            continue
        found.append(
            ArmComparison(
                metric=metric,
                arm=name,
                segment=segment,
                units=len(treatment),
                control_units=len(control),
                effect=effect_of(control, treatment, alpha),
            )
        )
    return found


def _segments(rows: Mapping[str, Any], segments: Sequence[str], count: int) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [(ALL, np.ones(count, dtype=bool))]
    for name in segments:
        told = np.array([str(each) for each in _column(rows, name).tolist()])
        found.extend((f"{name}={value}", told == value) for value in sorted(set(told.tolist())))
    return found


def _targeted(rows: Mapping[str, Any], experiment: Experiment, count: int) -> Any:
    """Which units the experiment is for, by the columns of the attributes that it asks for."""
    inside = np.ones(count, dtype=bool)
    for name, values in experiment.targeting.items():
        if name not in rows:
            raise InvalidRequest(
                f"{experiment.name!r} is for some values of {name!r}, and the rows have no such column; add it, or say `arm`"
            )
        inside &= np.array([each in values for each in rows[name].tolist()], dtype=bool)
    return inside


def _arms(column: Any, names: list[str]) -> Any:
    """The arm of each row by its name; -1 for none."""
    place = {name: number for number, name in enumerate(names)}
    told = column.tolist()
    strange = sorted({str(each) for each in told if each is not None and each == each and each not in place})
    if strange:
        raise InvalidRequest(f"nobody has defined the arms {', '.join(strange[:5])}; there are {', '.join(names)}")
    return np.array([place.get(each, -1) for each in told], dtype=np.int64)


def _columns(rows: Any) -> dict[str, Any]:
    """Whole columns as numpy arrays."""
    pieces = list(pieces_of(rows))
    if not pieces:
        raise InvalidRequest("there are no rows to evaluate")
    return {name: np.concatenate([_array(piece.get(name, [])) for piece in pieces]) for name in pieces[0]}


def _array(column: Any) -> Any:
    if hasattr(column, "to_pylist"):
        column = column.to_numpy(zero_copy_only=False) if column.null_count == 0 else column.to_pylist()
    return np.asarray(column)


def _column(rows: Mapping[str, Any], name: str) -> Any:
    if name not in rows:
        raise InvalidRequest(f"the rows have no column {name!r}; they have {', '.join(sorted(rows))}")
    return rows[name]


def _numbers(column: Any, metric: str) -> Any:
    """Null and NaN are a unit without the metric."""
    try:
        return column.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidRequest(f"the metric {metric!r} has values that are no numbers") from None
