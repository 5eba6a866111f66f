"""`ambry photon train --engine spark`: rows that lie on a cluster, trained on in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ambry.cli.arguments import ChosenCluster
from ambry.cli.output import remark

if TYPE_CHECKING:
    from ambry.ml.photon.descent import Sweep
    from ambry.ml.photon.effects import ModelEffect
    from ambry.ml.photon.models import PhotonModel, Task


def train_on_spark(
    cluster: ChosenCluster,
    data: Sequence[str],
    held_out: Sequence[str],
    said: Mapping[str, Any],
    task: Task,
    effects: Sequence[ModelEffect],
    evaluators: Sequence[str],
    *,
    start: PhotonModel | None,
    sweeps: int,
    name: str,
    master: str,
    workers: int,
    settings: Mapping[str, str],
    hadoop_conf: Path | None,
) -> tuple[PhotonModel, dict[str, Any]]:
    """The model, and what is told of it, with its metrics. Raises InvalidRequest, LaunchFailed."""
    from ambry.spark import glmix
    from ambry.spark.sessions import spark_session
    from ambry.spark.training_rows import rows_of_avro

    told: list[Sweep] = []

    def tell(sweep: Sweep) -> None:
        told.append(sweep)
        if not cluster.quiet:
            remark(f"sweep {len(told)}: the mean loss is {sweep.loss:.6g}, scores changed by {sweep.change:.1e}")

    session = spark_session(
        f"ambry photon train {name}".strip(), master=master, workers=workers, settings=settings, hadoop_conf=hadoop_conf
    )
    with session as spark, closing(rows_of_avro(spark, list(data), **said)) as rows:
        found = glmix.train(rows, task, effects, start=start, sweeps=sweeps, name=name, tell=tell)
        if not found.converged:
            remark(f"after {sweeps} sweeps scores still change; say more of them (--sweeps), or more l2")
        if held_out:
            with closing(rows_of_avro(spark, list(held_out), **said)) as seen:
                metrics = glmix.evaluate(found.model, seen, evaluators)
        else:
            metrics = glmix.evaluate(found.model, rows, evaluators)
        return found.model, {"rows": rows.count, "sweeps": len(found.sweeps), "metrics": metrics}
