"""A driver of Spark that does one step after the other as it is told on stdin, and says a line of JSON after each.

    python -m tests.support.spark_driver '{"conf": {...}, "options": {...}, "marks": DIRECTORY}'

    write DATASET, read DATASET     rows, by tasks that are slow on purpose and add a byte to a file of MARKS for each batch
    publish DATASET                 the same rows, fast, as version 1
    commit DATASET WHEN CALL        the same, by a process that stands within its commit, with its number in a file of MARKS
    train MODEL TABLE               GLMix of a table of deploy.demos.mixed_models on Avro of the store, published

Meanwhile MARKS/state.json says how many tasks each executor holds now, and how many are done.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROWS = 40_000
PARTITIONS = 4
BATCH_ROWS = 500
BATCH_S = 0.05
FILES = 4
"""That the rows of a table lie in."""
STATE_S = 0.05


def paced(marks: Path) -> Callable[[Iterator[Any]], Iterator[Any]]:
    def pace(batches: Iterator[Any]) -> Iterator[Any]:
        import time

        for batch in batches:
            with marks.open("ab") as file:
                file.write(b".")
            time.sleep(BATCH_S)
            yield batch

    return pace


def rows_place(table: str) -> str:
    return f"ambry://default/default/rows/{table}"


class SteppedSession:
    """A session, and what it is told to do."""

    def __init__(self, session: Any, options: dict[str, str], marks: Path) -> None:
        self.session, self.options, self.marks = session, options, marks
        self._context = session.sparkContext._jsc.sc()

    def write(self, dataset: str) -> dict[str, Any]:
        rows = self.session.range(0, ROWS, 1, PARTITIONS).mapInArrow(self._pace("write", dataset), "id long")
        return self._save(rows, dataset)

    def publish(self, dataset: str) -> dict[str, Any]:
        return self._save(self.session.range(0, ROWS, 1, PARTITIONS), dataset, version="1")

    def commit(self, dataset: str, when: str, call: str) -> dict[str, Any]:
        dying = {"dies": f"{when} {call}", "stands": str(self.marks / f"commit-{dataset}"), "version": "1"}
        return self._save(self.session.range(0, ROWS, 1, PARTITIONS), dataset, "dying", **dying)

    def _save(self, rows: Any, dataset: str, source: str = "ambry", **said: str) -> dict[str, Any]:
        frame = rows.selectExpr("id", "cast(id % 7 as int) as seven", "concat('m', id) as name")
        frame.write.format(source).mode("append").options(**self.options, **said).save(dataset)
        return {"wrote": dataset}

    def read(self, dataset: str) -> dict[str, Any]:
        frame = self.session.read.format("ambry").options(**self.options, split_size="20000").load(dataset)
        rows = frame.mapInArrow(self._pace("read", dataset), frame.schema)
        found = rows.selectExpr("count(*)", "count(distinct id)", "sum(id)", "sum(seven)", "max(name)").collect()
        return {"read": list(found[0]), "tasks": frame.rdd.getNumPartitions()}

    def train(self, model: str, table: str) -> dict[str, Any]:
        from ambry.ml import models
        from ambry.spark import glmix
        from ambry.spark.source import client_of
        from ambry.spark.training_rows import rows_of_avro
        from deploy.demos import mixed_models
        from tests.support.photon_models import told

        reference = getattr(mixed_models, table)()
        shards = {name: [name] for name in reference.examples.shards}
        with client_of(self.options) as client:
            if not list(client.list(f"rows/{table}/")):
                for number, file in enumerate(avro_of(reference.examples, self.marks)):
                    client.put(file, name=f"rows/{table}/{number}.avro")
            rows = rows_of_avro(self.session, rows_place(table), bags=shards, ids=["entity"])
            found = glmix.train(rows, reference.task, reference.effects)
            metrics = glmix.evaluate(found.model, rows)
            rows.close()
            models.publish(client, model, found.model, metrics=metrics)
        return {
            "trained": hashlib.sha256(repr(told(found.model)).encode()).hexdigest(),
            "difference": reference.difference(found.model),
            "tolerance": reference.tolerance,
            "converged": found.converged,
        }

    def run(self, step: str, words: Sequence[str]) -> dict[str, Any]:
        """With how many of its tasks failed, and how many each executor has done."""
        jobs, done = self._failed(), self.state()["done"]
        try:
            said: dict[str, Any] = getattr(self, step)(*words)
        except Exception as error:
            said = {"failed": str(error)}
        return {**said, "failed_tasks": self._failed() - jobs, "tasks_done": self.state()["done"] - done}

    def state(self) -> dict[str, Any]:
        held, done = {}, 0
        executors = self._context.statusStore().executorList(False)
        for number in range(executors.size()):
            each = executors.apply(number)
            done += each.completedTasks()
            if each.isActive():
                held[each.id()] = [each.activeTasks(), each.completedTasks()]
        return {"executors": held, "done": done, "at": time.time()}

    def watch(self) -> None:
        beside = self.marks / "state.part"
        while True:
            beside.write_text(json.dumps(self.state()))
            beside.replace(self.marks / "state.json")
            time.sleep(STATE_S)

    def _failed(self) -> int:
        self._context.listenerBus().waitUntilEmpty()
        jobs = self._context.statusStore().jobsList(None)
        return sum(jobs.apply(number).numFailedTasks() for number in range(jobs.size()))

    def _pace(self, step: str, dataset: str) -> Any:
        return paced(self.marks / f"{step}-{dataset}")


def avro_of(examples: Any, directory: Path) -> Iterator[Path]:
    import numpy as np

    from ambry.ml import photon

    for number, part in enumerate(np.array_split(np.arange(len(examples)), FILES)):
        path = directory / f"rows-{number}.avro"
        photon.write_examples(path, examples.take(part))
        yield path


def main(told: dict[str, Any]) -> None:
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    from ambry.spark import register
    from tests.support import dying_commits

    # Executors elsewhere have ambry, and not its tests.
    for module in (sys.modules[paced.__module__], dying_commits):
        cloudpickle.register_pickle_by_value(module)
    builder = SparkSession.builder
    for name, value in told["conf"].items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    register(session)
    session.dataSource.register(dying_commits.DyingDataSource)
    driver = SteppedSession(session, told["options"], Path(told["marks"]))
    threading.Thread(target=driver.watch, daemon=True).start()
    say({"ready": session.sparkContext.applicationId})
    for line in sys.stdin:
        step, *words = line.split()
        say(driver.run(step, words))


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
