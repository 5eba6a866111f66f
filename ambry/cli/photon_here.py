"""`ambry photon train` on this machine: all effects at once, by rows in memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from ambry.cli.output import status_line
from ambry.cli.photon_rows import OpenRows

if TYPE_CHECKING:
    from ambry.ml.photon.effects import ModelEffect
    from ambry.ml.photon.models import PhotonModel, Task


def train_here(
    quiet: bool,
    data: OpenRows,
    held_out: OpenRows | None,
    task: Task,
    effects: Sequence[ModelEffect],
    evaluators: Sequence[str],
    *,
    start: PhotonModel | None,
    name: str,
) -> tuple[PhotonModel, int, dict[str, float]]:
    """The model, how many rows there were, and its metrics. A terminal sees how far it is. Raises InvalidRequest."""
    from ambry.ml.photon import evaluate
    from ambry.ml.photon.glmix import train

    with status_line(quiet) as say:
        say = say or (lambda text: None)
        say("reading rows")
        rows = data.read()
        others = held_out.read() if held_out else rows
        # Before the training, which would be lost.
        task.check(others)
        passes = count(1)

        def tell(loss: float) -> None:
            say(f"training on {len(rows):,} rows: pass {next(passes):,} over them, the mean loss is {loss:.6g}")

        say(f"training on {len(rows):,} rows")
        model = train(rows, task, effects, start=start, name=name, tell=tell)
        say(f"looking how good it is on {len(others):,} rows")
        return model, len(rows), evaluate(model, others, evaluators)
