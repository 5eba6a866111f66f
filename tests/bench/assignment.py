"""What it costs to say which arm a unit sees: one by one, and whole arrays at once.

    python -m tests.bench.assignment [--units 200000] [--rounds 5]

Microseconds of this process's own time for each unit, the median of the rounds; no cluster is needed. Exit code 1 where one is
above its bar.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ambry.ml.experiments import Arm, Experiment, Holdout, LayerRange

BARS = (3.0, 3.0, 0.3, 0.3)
"""Microseconds of a unit at most: one by one, and at once."""
ARMS = (Arm("control", 0.5), Arm("treatment", 0.5))
PLAIN = Experiment(name="ranker-2", arms=ARMS, exposed=0.5)
WHOLE = Experiment(
    name="ranker-2",
    arms=ARMS,
    exposed=0.5,
    targeting={"country": ("de",)},
    layer=LayerRange("feed", 0.0, 0.5),
    holdout=Holdout("2026", 0.05),
)


def cost_us(call: Callable[[], object], units: int, rounds: int) -> float:
    """Of each unit."""
    found = []
    for _ in range(rounds):
        before = time.process_time_ns()
        call()
        found.append((time.process_time_ns() - before) / units / 1_000)
    return median(found)


def one_by_one(experiment: Experiment, units: Sequence[Any]) -> None:
    attributes = {"country": "de"}
    for unit in units:
        experiment.arm_of(unit, attributes)


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="What it costs to say which arm a unit sees.")
    parser.add_argument("--units", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    numbers = np.arange(asked.units)
    kinds: dict[str, Sequence[Any]] = {
        "numbers": numbers.tolist(),
        "texts": [f"member-{unit}" for unit in numbers],
        "numbers as texts": [str(unit) for unit in numbers],
    }
    held = True
    table = Table("us a unit", "one by one", "layer, holdout, targeting", "at once", "layer, holdout")
    for name, units in kinds.items():
        array = numbers if name == "numbers" else units
        calls: list[Callable[[], object]] = [
            *(partial(one_by_one, experiment, units) for experiment in (PLAIN, WHOLE)),
            *(partial(experiment.arms_of, array) for experiment in (PLAIN, WHOLE)),
        ]
        costs = [cost_us(call, asked.units, asked.rounds) for call in calls]
        told = [f"{cost:.3g}" + ("" if cost <= bar else " MISSED") for cost, bar in zip(costs, BARS, strict=True)]
        held = held and all(cost <= bar for cost, bar in zip(costs, BARS, strict=True))
        table.add_row(name, *told)
    table.add_row("at most", *map(str, BARS))
    Console().print(table)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
