"""A driver of Spark that writes and reads versions, one step after the other as it is told on stdin; a line of JSON for each.

    python -m tests.support.spark_driver '{"conf": {...}, "options": {...}, "marks": DIRECTORY}'

Its tasks are slow on purpose, and add a byte to a file of MARKS for each batch, by which others see how far they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROWS = 40_000
PARTITIONS = 4
BATCH_ROWS = 500
BATCH_S = 0.05


def paced(marks: Path) -> Callable[[Iterator[Any]], Iterator[Any]]:
    def pace(batches: Iterator[Any]) -> Iterator[Any]:
        import time

        for batch in batches:
            with marks.open("ab") as file:
                file.write(b".")
            time.sleep(BATCH_S)
            yield batch

    return pace


def main(told: dict[str, Any]) -> None:
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    from ambry.spark import register

    # Executors elsewhere have ambry, and not its tests.
    cloudpickle.register_pickle_by_value(sys.modules[paced.__module__])
    builder = SparkSession.builder
    for name, value in told["conf"].items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    register(session)
    options = told["options"]
    say({"ready": session.sparkContext.applicationId})
    for line in sys.stdin:
        step, dataset = line.split()
        pace = paced(Path(told["marks"]) / f"{step}-{dataset}")
        try:
            if step == "write":
                rows = session.range(0, ROWS, 1, PARTITIONS).mapInArrow(pace, "id long")
                frame = rows.selectExpr("id", "cast(id % 7 as int) as seven", "concat('m', id) as name")
                frame.write.format("ambry").mode("append").options(**options).save(dataset)
                say({"wrote": dataset})
            else:
                frame = session.read.format("ambry").options(**options, split_size="20000").load(dataset)
                rows = frame.mapInArrow(pace, frame.schema)
                found = rows.selectExpr(
                    "count(*)", "count(distinct id)", "sum(id)", "sum(seven)", "max(name)"
                ).collect()
                say({"read": list(found[0]), "tasks": frame.rdd.getNumPartitions()})
        except Exception as error:
            say({"failed": str(error)[:4_000]})


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
