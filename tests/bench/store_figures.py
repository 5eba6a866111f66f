"""The figures of a run of the storage bench, and what is computed from what was measured. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from tests.bench.figures import ratio
from tests.bench.machine import Machine

FORMAT_VERSION = 1

Samples = dict[str, list[float]]
"""What a row measured, by name: one value per round, in the order of the rounds."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: a series of a row's samples, the series it is held against, and the bar.

    The bar is for the ratio of the two, or with `of` "value" for the series itself. No bar: for the eye.
    """

    row: str
    title: str
    ours: str
    baseline: str = ""
    unit: str = ""
    bar: float | None = None
    of: Literal["ratio", "value"] = "ratio"
    at_least: bool = True


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure as measured: medians over the rounds. `ratio` is the median of the rounds' own ratios.

    `others_cores` is how many cores anybody else kept busy in that row: high means that the figure is to be doubted.
    """

    spec: Spec
    value: float
    baseline: float | None
    ratio: float | None
    round_ratios: list[float]
    others_cores: float

    @property
    def reached(self) -> float | None:
        """What is held against the bar."""
        return self.value if self.spec.of == "value" else self.ratio

    @property
    def held(self) -> bool | None:
        """None without a bar. What is not a number holds none."""
        bar, reached = self.spec.bar, self.reached
        if bar is None:
            return None
        if reached is None or math.isnan(reached):
            return False
        return reached >= bar if self.spec.at_least else reached <= bar


class RowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One row as it ran."""

    elapsed_s: float
    others_cores: float
    samples: Samples


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run, as it stands in the file. `held` is in there for those who read only the file."""

    version: int
    started_at: str
    quick: bool
    elapsed_s: float
    machine: Machine
    figures: list[Figure]
    held: dict[str, bool]
    rows: dict[str, RowRun]
    failures: list[str]


def figure(spec: Spec, samples: Mapping[str, Sequence[float]], others_cores: float = 0.0) -> Figure:
    """Put a row's samples together. Raises KeyError for a series that was not measured."""
    ours = samples[spec.ours]
    baseline = samples[spec.baseline] if spec.baseline else []
    # A baseline that was taken once serves every round.
    beside = list(baseline) * len(ours) if len(baseline) == 1 else list(baseline)
    ratios = [ratio(value, base) for value, base in zip(ours, beside, strict=True)] if baseline else []
    return Figure(
        spec=spec,
        value=median(ours),
        baseline=median(baseline) if baseline else None,
        ratio=median(ratios) if baseline else None,
        round_ratios=[round(value, 4) for value in ratios],
        others_cores=others_cores,
    )


def median(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return statistics.median(values) if values else math.nan


def figures(specs: Sequence[Spec], rows: Mapping[str, RowRun]) -> list[Figure]:
    """The figures of the rows that ran, in the order of the specs."""
    return [figure(spec, rows[spec.row].samples, rows[spec.row].others_cores) for spec in specs if spec.row in rows]


def held(found: Sequence[Figure]) -> dict[str, bool]:
    """By title, where there is a bar."""
    return {item.spec.title: item.held for item in found if item.held is not None}


def joined(parts: Sequence[Samples]) -> Samples:
    """Several rounds, or several steps, as one: values of the same name follow each other."""
    found: Samples = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, []).extend(values)
    return found
