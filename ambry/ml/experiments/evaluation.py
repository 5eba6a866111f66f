"""An experiment is evaluated: is the split what it should be, and what does each arm do to each metric, for whom.

Nothing of an effect is worth reading where the sample ratio is off: who is missing is not missing by chance. So `trustworthy`
comes first, and a decision asks it.

Who compares a hundred things finds five that are not there. So each p is adjusted (Holm) for how many there were: those of the
first metric for everybody, which is what an experiment is made for, among the arms; all else among all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.experiments.assignment import key_of, keys_of
from ambry.ml.experiments.checks import typed
from ambry.ml.experiments.columns import groups_of, is_missing, numbers, parts_of, whole_columns
from ambry.ml.experiments.document import Experiment
from ambry.ml.experiments.statistics import Effect, adjusted, effect_of, linearised, sample_ratio_p

SAMPLE_RATIO_P_MIN = 0.001
"""Below this, the split did not happen as it was meant."""
ALPHA = 0.05
ALL = "all"
"""The segment of everybody."""
COMPARISONS_MAX = 10_000
"""Of one evaluation, and so of its page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmComparison:
    """One arm beside the control, on one metric, in one segment."""

    metric: str
    arm: str
    segment: str
    units: int
    control_units: int
    effect: Effect
    adjusted_p: float = 1.0
    """The always-valid p, for how many comparisons it is one of."""


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
    said_otherwise: int = 0
    """Rows whose column `said_arm` has another arm than the one that counts."""

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
            "said_otherwise": self.said_otherwise,
            "alpha": self.alpha,
            "comparisons_count": len(self.comparisons),
            "comparisons": [{**asdict(each), "effect": _finite(asdict(each.effect))} for each in self.comparisons],
        }
        return json.dumps(told, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def evaluate(
    experiment: Experiment,
    outcomes: Any,
    *,
    unit: str = "unit",
    arm: str | None = None,
    said_arm: str | None = None,
    metrics: Sequence[str] = (),
    segments: Sequence[str] = (),
    alpha: float = ALPHA,
) -> Evaluation:
    """Evaluate rows of one unit each: any frame, or an iterator of frames (frames.py), with the metrics as columns.

    The arm of a unit is what the experiment assigns to it, or what the column `arm` says, such as that of its first exposure;
    units that are in no arm are left out. A column `said_arm` decides nothing: `said_otherwise` is in how many rows it has
    another arm. `metrics` are those of the experiment without any; `clicks/views` is the ratio of two
    columns, of the sums in an arm; its views are no units, since they were not assigned. `segments` are columns of which each
    value is compared by itself too, the most frequent ones where there are many (columns.py).

    Raises InvalidRequest for a unit that stands twice, a column that is not there, and arms that nobody has defined.
    """
    if not 0 < alpha < 1:
        raise InvalidRequest(f"alpha lies between 0 and 1, such as 0.05, and is not {alpha!r}")
    names = [each.name for each in experiment.arms]
    metrics = _names(metrics) or list(experiment.metrics)
    segments = _names(segments)
    rows = _rows(
        experiment,
        outcomes,
        unit,
        [each for each in (arm, said_arm) if each is not None],
        metrics,
        segments,
        arm is None,
    )
    for name in segments:
        if all(map(is_missing, rows[name].tolist())):
            raise InvalidRequest(
                f"no unit has a value of the segment {name!r}; look at how it is written, or leave it out"
            )
    arms = _assigned(experiment, rows, unit) if arm is None else _arms(rows[arm], names)
    counts = {name: int((arms == place).sum()) for place, name in enumerate(names)}
    groups = [(ALL, np.arange(len(arms))), *(group for name in segments for group in groups_of(name, rows[name]))]
    if (asked := len(metrics) * len(groups) * (len(names) - 1)) > COMPARISONS_MAX:
        raise InvalidRequest(
            f"these are {asked:,} comparisons, and {COMPARISONS_MAX:,} are the most; take fewer segments or metrics"
        )
    found = []
    for metric in metrics:
        parts = [numbers(rows[part], part) for part in parts_of(metric, rows)]
        known = ~np.isnan(np.sum(parts, axis=0))
        for segment, inside in groups:
            found += _compare(metric, segment, parts, arms, inside[known[inside]], names, alpha)
    return Evaluation(
        experiment=experiment.name,
        control=names[0],
        counts=counts,
        sample_ratio_p=sample_ratio_p(list(counts.values()), [each.share for each in experiment.arms]),
        alpha=alpha,
        comparisons=_adjusted(found, (experiment.metrics or metrics or [""])[0]),
        said_otherwise=0 if said_arm is None else _said_otherwise(rows[said_arm], arms, names),
    )


def _adjusted(found: Sequence[ArmComparison], first: str) -> tuple[ArmComparison, ...]:
    """Each with its p for how many there are: of the first metric for everybody among those, of the others among all."""
    of_first = [each.metric == first and each.segment == ALL for each in found]
    among_all = adjusted([each.effect.always_p for each in found])
    among_first = iter(
        adjusted([each.effect.always_p for each, is_first in zip(found, of_first, strict=True) if is_first])
    )
    return tuple(
        replace(each, adjusted_p=next(among_first) if is_first else p)
        for each, is_first, p in zip(found, of_first, among_all, strict=True)
    )


def _names(names: Sequence[str]) -> list[str]:
    """Each once."""
    if isinstance(names, str):
        raise InvalidRequest(f"metrics and segments are lists of names, not the text {names!r}")
    return list(dict.fromkeys(names))


def _rows(
    experiment: Experiment,
    outcomes: Any,
    unit: str,
    arms: list[str],
    metrics: list[str],
    segments: list[str],
    is_assigned: bool,
) -> dict[str, Any]:
    """The columns that it takes. Raises InvalidRequest."""
    targeted = tuple(experiment.targeting) if is_assigned else ()
    why = {
        name: f"{experiment.name!r} is for some values of {name!r}, and the rows have no such column; add it, or say `arm`"
        for name in targeted
    }
    names = [unit, *arms, *segments, *targeted]
    rows = whole_columns(outcomes, names, metrics, why, {unit: "; say which one has the units (unit, --unit)"})
    units = rows[unit]
    # Two units of one hash are as good as never, and then told apart one by one.
    if len(np.unique(keys_of(units).hashes(0))) != len(units) != len({key_of(each) for each in units.tolist()}):
        twice = _first_again(units.tolist())
        raise InvalidRequest(
            f"the unit {twice!r:.60} stands twice in the column {unit!r}, where 1 and '1' are one; put the rows of a unit "
            "together first"
        )
    return rows


def _first_again(units: Sequence[Any]) -> Any:
    """The first unit that was there before."""
    seen = set()
    for each in units:
        key = key_of(each)
        if key in seen:
            return each
        seen.add(key)
    return None


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """As JSON has them: null where there is no interval."""
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def _compare(
    metric: str, segment: str, parts: list[Any], arms: Any, inside: Any, names: list[str], alpha: float
) -> list[ArmComparison]:
    """Each arm beside the control, of the rows at these places. Raises InvalidRequest where everybody are too few."""
    arms = arms[inside]
    values = [[part[inside[arms == place]] for part in parts] for place in range(len(names))]
    found = []
    for name, (counted, *over) in zip(names[1:], values[1:], strict=True):
        control, *control_over = values[0]
        if min(len(control), len(counted)) < 2:
            if segment == ALL:
                raise InvalidRequest(
                    f"{metric!r}: {names[0]!r} has {len(control)} units and {name!r} {len(counted)}; wait for more"
                )
            continue
        if over:
            if segment != ALL and not (over[0].any() and control_over[0].any()):
                continue
            counted, control = linearised(counted, over[0], metric), linearised(control, control_over[0], metric)
        found.append(
            ArmComparison(
                metric=metric,
                arm=name,
                segment=segment,
                units=len(counted),
                control_units=len(control),
                effect=effect_of(control, counted, alpha),
            )
        )
    return found


def _assigned(experiment: Experiment, rows: Mapping[str, Any], unit: str) -> Any:
    """The arm of each row as the experiment has it, by the columns of the attributes that it asks for; -1 for none."""
    arms = experiment.arms_of(rows[unit])
    for name, values in experiment.targeting.items():
        wanted = set(map(typed, values))
        arms = np.where([typed(each) in wanted for each in rows[name].tolist()], arms, -1)
    return arms


def _arms(column: Any, names: list[str]) -> Any:
    """The arm of each row by its name; -1 for none."""
    place = {name: number for number, name in enumerate(names)}
    told = column.tolist()
    strange = sorted({str(each) for each in told if not is_missing(each) and each not in place})
    if strange:
        raise InvalidRequest(f"nobody has defined the arms {', '.join(strange[:5])}; there are {', '.join(names)}")
    return np.array([-1 if is_missing(each) else place[each] for each in told], dtype=np.int64)


def _said_otherwise(column: Any, arms: Any, names: list[str]) -> int:
    """Rows that say an arm, and not that of theirs."""
    counted = [names[place] if place >= 0 else "" for place in arms.tolist()]
    return sum(
        not is_missing(said) and said != "" and not _calls(said, counts)
        for said, counts in zip(column.tolist(), counted, strict=True)
    )


def _calls(said: Any, arm: str) -> bool:
    """Whether a value of a column, of whose arms `0` or `true` a reader of CSV makes numbers or truths, is that arm."""
    if isinstance(said, bool):
        return str(said).lower() == arm.lower()
    if isinstance(said, int | float):
        with suppress(ValueError):
            return float(arm) == said
    return str(said) == arm
