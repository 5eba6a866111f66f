"""GLMix on Spark itself: equal to the references and to one machine, whatever is killed, out of Avro and of typed snapshots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
pytest.importorskip("glum", reason="glum is not installed; `make engines` does it")

from ambry import AmbryClient, BlobNotFound, InvalidRequest
from ambry.ml import models, photon
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.photon.effects import ModelEffect
from ambry.ml.photon.snapshots import examples_of_snapshot, snapshot_columns
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.writing import write_snapshot
from ambry.spark import glmix
from ambry.spark.training_rows import RowsOnSpark, rows_of_avro, rows_of_frame
from deploy.demos import mixed_models
from tests.support.photon_models import drawn_rows, told
from tests.support.spark_here import QUICK_JAVA, spark_here
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

EFFECTS: list[ModelEffect] = [
    photon.FixedEffect(l1=2.0, l2=0.1, normalization=photon.Normalization.STANDARD_DEVIATION),
    photon.RandomEffect(name="per-member", entity="member", shard="slope", l2=40.0, upper=12),
    photon.RandomEffect(name="per-parity", entity="parity", shard="nothing", l2=10.0),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with spark_here(tmp_path_factory.mktemp("local")) as made:
        yield made


@pytest.fixture
def closing() -> Iterator[Callable[[RowsOnSpark], RowsOnSpark]]:
    made: list[RowsOnSpark] = []

    def keep(rows: RowsOnSpark) -> RowsOnSpark:
        made.append(rows)
        return rows

    yield keep
    for each in made:
        each.close()


def written(directory: Path, rows: photon.Examples, files: int = 2) -> dict[str, Any]:
    """What to read them by."""
    for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
        photon.write_examples(directory / f"{number}.avro", rows.take(part))
    return {"bags": {name: [name] for name in rows.shards}, "ids": list(rows.ids)}


@pytest.mark.parametrize("reference_of", mixed_models.ALL)
def test_mixed_models_are_as_statsmodels_and_one_machine_have_them(
    session: Any, tmp_path: Path, closing: Any, reference_of: Callable[[], mixed_models.MixedModel]
) -> None:
    reference = reference_of()
    said = written(tmp_path, reference.examples)
    rows = closing(rows_of_avro(session, tmp_path, **said))
    found = glmix.train(rows, reference.task, reference.effects)
    assert found.converged
    assert reference.difference(found.model) <= reference.tolerance
    at_once = photon.train(reference.examples, reference.task, reference.effects)
    assert found.model.scores(reference.examples) == pytest.approx(at_once.scores(reference.examples), abs=1e-6)
    here = photon.evaluate(at_once, reference.examples)
    assert glmix.evaluate(found.model, rows) == pytest.approx(here, abs=1e-6)


def test_samples_penalties_weights_and_locks_are_those_of_one_machine(
    session: Any, tmp_path: Path, closing: Any
) -> None:
    """From one file, whose rows are spread."""
    drawn = drawn_rows(photon.Task.LOGISTIC, 300, 20)
    said = written(tmp_path, drawn, files=1)
    rows = closing(rows_of_avro(session, tmp_path, **said))
    read = photon.read_examples(tmp_path, **said)
    task = photon.Task.LOGISTIC
    # Turns of the one are turns of the other, also before they converge.
    found, here = glmix.train(rows, task, EFFECTS, sweeps=3), photon.descend(read, task, EFFECTS, sweeps=3)
    assert len(found.sweeps) == len(here.sweeps) == 3
    assert found.model.scores(read) == pytest.approx(here.model.scores(read), abs=1e-5)
    again = glmix.train(rows, task, EFFECTS, start=here.model, locked=["global"], sweeps=1)
    assert again.model.fixed["global"] is here.model.fixed["global"]
    assert glmix.evaluate(found.model, rows, ["AUC:member"]).keys() == {"AUC:member"}


def test_who_is_killed_in_the_middle_changes_no_bit(session: Any, tmp_path: Path, closing: Any) -> None:
    """Workers of Spark that have tasks are killed, and what it keeps of the rows is lost, again and again."""
    drawn = drawn_rows(photon.Task.POISSON, 300, 20)
    effects = [photon.FixedEffect(l2=0.1), EFFECTS[1]]
    said = written(tmp_path, drawn)
    rows = closing(rows_of_avro(session, tmp_path, **said))
    expected = glmix.train(rows, photon.Task.POISSON, effects, sweeps=4)
    ends: list[threading.Thread] = []
    before = failed_tasks(session)

    def kill(_: Any) -> None:
        if len(ends) < 3:
            ends.append(threading.Thread(target=end_worker, args=(session, before + len(ends))))
            ends[-1].start()
            for lost in session.sparkContext._jsc.getPersistentRDDs().values():
                lost.unpersist(True)

    rows = closing(rows_of_avro(session, tmp_path, **said))
    found = glmix.train(rows, photon.Task.POISSON, effects, sweeps=4, tell=kill)
    for each in ends:
        each.join(60)
    assert len(ends) == 3 and failed_tasks(session) >= before + 3
    assert told(found.model) == told(expected.model)


def end_worker(session: Any, failed: int) -> None:
    """Until a task has failed by it: one that has none at the moment is lost without a word."""

    def failed_one() -> bool:
        if failed_tasks(session) > failed:
            return True
        for worker in workers():
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        return False

    eventually(failed_one, "a task fails whose worker is killed", interval_s=0.02)


def workers() -> list[int]:
    """The processes that run Python for tasks of this session: children of its daemon."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    java = {pid for pid, parent in parents.items() if parent == os.getpid()}
    daemons = {pid for pid, parent in parents.items() if parent in java and "pyspark.daemon" in commanded(pid)}
    return [pid for pid, parent in parents.items() if parent in daemons]


def commanded(pid: int) -> str:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_text()
    return ""


def failed_tasks(session: Any) -> int:
    """Of all jobs so far."""
    context = session.sparkContext._jsc.sc()
    context.listenerBus().waitUntilEmpty()
    jobs = context.statusStore().jobsList(None)
    return sum(jobs.apply(number).numFailedTasks() for number in range(jobs.size()))


def test_what_is_wrong_with_rows_is_a_sentence_and_no_task_is_tried_again(
    session: Any, tmp_path: Path, closing: Any
) -> None:
    drawn = drawn_rows(photon.Task.LOGISTIC, 30, 3)
    response = np.where(np.arange(30) == 25, 7.0, drawn.response)
    bad = replace(drawn, response=response, uids=tuple(str(place) for place in range(30)))
    said = written(tmp_path, bad)
    with pytest.raises(InvalidRequest, match=r"\(uid '25'\) is 7.0; in a LOGISTIC_REGRESSION it is 0 or 1"):
        glmix.train(closing(rows_of_avro(session, tmp_path, **said)), photon.Task.LOGISTIC, EFFECTS)
    with pytest.raises(InvalidRequest, match=r"1\.avro, record 0: it has no id 'job'"):
        rows_of_avro(session, tmp_path / "1.avro", bags=said["bags"], ids=["job"])
    with pytest.raises(InvalidRequest, match="there is no shard 'x'"):
        rows = closing(rows_of_avro(session, tmp_path, **said))
        glmix.train(rows, photon.Task.LINEAR, [photon.FixedEffect(shard="x")])


def command(dc1: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "AMBRY_ENDPOINTS": dc1, **environ}
    return subprocess.run(
        [sys.executable, "-m", "ambry.cli.main", "photon", "train", *arguments],
        env=told, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_command_publishes_what_spark_trained_and_says_what_it_failed_with(dc1: str, tmp_path: Path) -> None:
    """Out of a typed snapshot; of Avro what cannot be read."""
    drawn = drawn_rows(photon.Task.LINEAR, 200, 10)
    typed(dc1, "glmix-typed", drawn)
    said = ["--task", "linear", "--random", "per-member=member,slope", "--bag", "features=a,b", "--bag", "slope=a"]
    said += ["--l2", "per-member=20"]
    spark = ["--engine", "spark", "--master", "local[2]", "--conf", "spark.driver.memory=500m"]
    spark += ["--conf", f"spark.driver.extraJavaOptions={QUICK_JAVA}"]
    done = command(dc1, "glmix-typed@LATEST", *said, *spark, "--publish", "glmix-of-spark", "--output", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["rows"] == 200 and answer["version"] == "glmix-of-spark@1.0.0"
    weight, offset, begins, *lines = done.stderr.splitlines()
    assert weight.startswith("ambry: the feature urn:li:(n,weight,1,0) is what rows weigh")
    assert offset.startswith("ambry: the feature urn:li:(n,offset,1,0) is added to scores")
    assert begins == "ambry: Spark begins, on local[2,4], which may take half a minute"
    assert len(lines) == answer["sweeps"] and all(line.startswith("ambry: sweep ") for line in lines), done.stderr
    here = photon.train(
        drawn,
        photon.Task.LINEAR,
        [photon.FixedEffect(), photon.RandomEffect(name="per-member", entity="member", shard="slope", l2=20.0)],
    )
    with AmbryClient([dc1]) as client:
        stored = models.open(client, "glmix-of-spark")
        there = stored.load()
    made, snapshot = stored.manifest, stored.manifest.snapshot
    assert snapshot.startswith("glmix-typed@") and made.definitions == "glmix-typed-features@1.0.0"
    assert made.code.startswith("ambry:") and "pyspark" in made.framework and made.features
    assert made.params["data"] == [{"place": snapshot}] and made.params["engine"] == "spark"
    assert made.params["task"] == "LINEAR_REGRESSION" and made.params["effects"]["per-member"]["l2"] == 20.0
    assert there.scores(drawn) == pytest.approx(here.scores(drawn), abs=1e-6)
    (tmp_path / "0.avro").write_bytes(b"torn")
    for place, environ, extra, words in (
        (str(tmp_path), {}, [], "0.avro is no Avro file"),
        # Before Java, of which there is none.
        ("glmix-typed@17", {"JAVA_HOME": str(tmp_path)}, [], "has no version 17"),
        (str(tmp_path), {"JAVA_HOME": str(tmp_path)}, [], "Spark (local[2,4]) failed: Java did not start"),
        (str(tmp_path), {}, ["--conf", "memory=1"], "'memory' is no setting of Spark"),
    ):
        failed = command(dc1, place, *said, *spark, *extra, "--publish", "never", **environ)
        assert failed.returncode != 0
        assert words in failed.stderr and "Traceback" not in failed.stderr, failed.stderr
    with AmbryClient([dc1]) as client, pytest.raises(BlobNotFound):
        models.open(client, "never")


def typed(dc1: str, name: str, drawn: photon.Examples) -> None:
    """Rows with the features a and b as a snapshot, each an entity of its own."""
    a, b = drawn.shard("features").matrix.toarray().T.tolist()
    numbers = {"response": drawn.response, "weight": drawn.weight, "offset": drawn.offset}
    columns: dict[str, Any] = {"row": list(range(len(drawn))), "member": list(drawn.ids["member"]), "a": a, "b": b}
    columns |= {what: values.tolist() for what, values in numbers.items()}
    text = "".join(f"{what}: {{valType: DOUBLE}}\n" for what in (*numbers, "a", "b")) + "member: {valType: STRING}\n"
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    with AmbryClient([dc1]) as client:
        publishing.publish(client, f"{name}-features", FeatureMetadata.of([parse_definitions(text, "n")]))
        loaded = publishing.load(client, f"{name}-features")
        urns = loaded.metadata.urns
        write_snapshot(client, name, columns, urns, metadata=loaded, entity="row", as_of=noon, rows_per_batch=64)


TEXT = """\
clicked: {valType: BOOLEAN}
age: {valType: INT}
job: {valType: STRING}
week: {valType: FLOAT, dims: [days-1-0]}
actions: {valType: INT, dims: [kinds-1-0, seen-1-0]}
days: {type: discrete : {size: 3}}
seen: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
CLICKED, AGE, JOB, WEEK, ACTIONS = (f"urn:li:(n,{name},1,0)" for name in ("clicked", "age", "job", "week", "actions"))


def test_a_frame_of_a_typed_snapshot_is_rows_of_a_model(session: Any, dc1: str, closing: Any) -> None:
    made = np.random.default_rng(8)
    frame = pd.DataFrame(
        {
            "member": range(500),
            "clicked": made.random(500) < 0.4,
            "age": [None if place % 9 == 0 else place % 60 for place in range(500)],
            "job": [f"j{place % 7}" for place in range(500)],
            "week": [made.random(3).astype(np.float32) for _ in range(500)],
            "actions": [[(1 + place % 2, place % 4, 1 + place % 3)] if place % 5 else None for place in range(500)],
        }
    )
    urns = [CLICKED, AGE, JOB, WEEK, ACTIONS]
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    said: Any = ([AGE, WEEK, ACTIONS], CLICKED)
    ids = {"job": JOB, "member": None}
    with AmbryClient([dc1]) as client:
        write_snapshot(
            client, "glmix-rows", frame, urns, metadata=METADATA, entity="member", as_of=noon, rows_per_batch=64
        )
        snapshot = open_snapshot(client, "glmix-rows", metadata=METADATA)
        expected = examples_of_snapshot(snapshot, *said, ids=ids)
        columns = snapshot_columns(snapshot, *said, ids=ids)
    reader = session.read.format("ambry").options(endpoints=dc1, split_size="16384", columns=",".join(columns.names))
    read = reader.load("glmix-rows")
    rows = closing(rows_of_frame(read, columns))
    assert read.rdd.getNumPartitions() > 1
    assert rows.indexes["features"].features == expected.shard("features").index.features
    effects: list[ModelEffect] = [
        photon.FixedEffect(l2=1.0),
        photon.RandomEffect(name="per-job", entity="job", l2=5.0, upper=40),
    ]
    found = glmix.train(rows, photon.Task.LOGISTIC, effects, sweeps=2)
    here = photon.descend(expected, photon.Task.LOGISTIC, effects, sweeps=2)
    assert found.model.scores(expected) == pytest.approx(here.model.scores(expected), abs=1e-6)
