"""A driver of Spark as somebody submits it: one table of the store becomes typed snapshots, a day each.

    python spark_pigs.py CONF.json TABLE DEFINITIONS DATASET DAY=CONDITION@TIME ...

CONF is Spark's configuration, the cluster of ambry that of the environment. What executors read and write goes from them to the
store, and back; the driver sorts what is written, and publishes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from ambry.spark import register
from deploy.demos.pigs import COPPER, ENTITY, VITAMIN


def one_hot(column: str, count: int) -> str:
    """SQL for a tensor of 0 and one 1: at the place that the vocabulary has a dose at, of which 0 is for unknown ones."""
    return f"array({', '.join(f'if({column} = {id}, 1f, 0f)' for id in range(count + 1))})"


def main(conf: str, table: str, definitions: str, dataset: str, *days: str) -> None:
    builder = SparkSession.builder
    for name, value in json.loads(Path(conf).read_text("utf-8")).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    print(f"{session.sparkContext.applicationId} on {session.sparkContext.master}", flush=True)
    register(session)
    try:
        raw = session.read.format("ambry").load(table)
        start = raw.where("Time = 1").selectExpr("Pig as pig", "Weight as start")
        rows = raw.where("Time > 1").selectExpr(
            f"Pig * 100 + Time as {ENTITY}",
            "Pig as pig",
            "Time as week",
            "Weight as weight",
            f"{one_hot('Cu', len(COPPER))} as copper",
            f"{one_hot('Evit', len(VITAMIN))} as vitamin",
        )
        frame = rows.join(start, "pig").cache()  # Of one table, and so the same for each day.
        for day in days:
            condition, _, time = day.rpartition("@")
            writer = frame.where(condition).write.format("ambry").mode("append")
            options = {"definitions": definitions, "entity": ENTITY, "as_of": time}
            writer.options(**options).save(dataset)
    finally:
        session.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
