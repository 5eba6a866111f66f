"""`ambry photon train --engine spark`: rows that lie on a cluster, trained on in turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ambry.cli.arguments import ChosenCluster
from ambry.cli.output import remark, remark_unless
from ambry.cli.photon_rows import OpenRows
from ambry.client.credentials import STANDARD_INPUT
from ambry.errors import InvalidRequest

if TYPE_CHECKING:
    from ambry.ml.photon.descent import Sweep
    from ambry.ml.photon.effects import ModelEffect
    from ambry.ml.photon.models import PhotonModel, Task
    from ambry.spark.training_rows import RowsOnSpark


def train_on_spark(
    cluster: ChosenCluster,
    data: OpenRows,
    held_out: OpenRows | None,
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

    told: list[Sweep] = []

    say = partial(remark_unless, cluster.quiet)

    def tell(sweep: Sweep) -> None:
        told.append(sweep)
        say(f"sweep {len(told)}: the mean loss is {sweep.loss:.6g}, scores changed by {sweep.change:.1e}")

    rows_on, seen_on = _reading(cluster, data), _reading(cluster, held_out) if held_out else None
    session = spark_session(
        f"ambry photon train {name}".strip(),
        master=master,
        workers=workers,
        settings=settings,
        hadoop_conf=hadoop_conf,
        tell=say,
    )
    with session as spark, closing(rows_on(spark)) as rows, ExitStack() as opened:
        seen = opened.enter_context(closing(seen_on(spark))) if seen_on else rows
        if seen is not rows:
            # Before the training, which would be lost.
            seen.told(task)
        found = glmix.train(rows, task, effects, start=start, sweeps=sweeps, name=name, tell=tell)
        if not found.converged:
            remark(f"after {sweeps} sweeps scores still change; say more of them (--sweeps), or more l2")
        metrics = glmix.evaluate(found.model, seen, evaluators)
        return found.model, {"rows": rows.count, "sweeps": len(found.sweeps), "metrics": metrics}


def _reading(cluster: ChosenCluster, rows: OpenRows) -> Callable[[Any], RowsOnSpark]:
    """How a session reads rows of files, or of a snapshot in tasks. Raises InvalidRequest."""
    from ambry.spark.training_rows import rows_of_avro, rows_of_frame

    columns = rows.columns
    if columns is None:
        if not all(isinstance(each, str) for each in rows.data):
            _source_options(cluster)
        return lambda spark: rows_of_avro(spark, list(rows.data), **rows.said.of_avro)
    options, exact = _source_options(cluster) | {"columns": json.dumps(list(columns.names))}, str(rows.data[0])
    return lambda spark: rows_of_frame(spark.read.format("ambry").options(**options).load(exact), columns)


def _source_options(cluster: ChosenCluster) -> dict[str, str]:
    """Of the data source: the cluster that the command talks to. Raises InvalidRequest for what it has no option for."""
    if cluster.ca is not None:
        raise InvalidRequest("--ca does not reach the tasks of Spark; write it into a profile, or set AMBRY_CA")
    if cluster.key_file == STANDARD_INPUT:
        raise InvalidRequest("--key-file - does not reach the tasks of Spark; name a file that they have")
    told = {
        "profile": cluster.profile,
        "endpoints": ",".join(cluster.endpoints),
        "account": cluster.account,
        "container": cluster.container,
        "key_file": cluster.key_file,
    }
    return {name: text for name, text in told.items() if text}
