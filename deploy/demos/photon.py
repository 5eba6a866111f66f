"""Photon ML on the store: GLMs and GLMix on real data beside statsmodels, and models of entities out of one version."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ambry.ml import models, photon
from ambry.ml.extras import needed
from ambry.ml.features import publishing
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.photon.examples import Feature
from ambry.ml.photon.named_columns import named_columns
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.writing import write_snapshot
from deploy.demos import mixed_models
from deploy.demos.data import rand_health
from deploy.demos.stage import DemonstrationFailed, Stage

GLM_MAX = 1e-9
"""By how much a coefficient may differ from statsmodels'."""
MEMBERS = 10_000
PIGS = "Time: {valType: DOUBLE}\nWeight: {valType: DOUBLE}\nentity: {valType: STRING}\n"
ASKED = 200


def run(stage: Stage) -> None:
    """The whole demonstration. Raises DemonstrationFailed for what is not installed."""
    try:
        for library in ("glum", "tabmat", "fastavro", "statsmodels"):
            needed(library)
    except ModuleNotFoundError as missing:
        raise DemonstrationFailed(str(missing)) from missing
    _glm(stage)
    rows, model = _glmix(stage)
    _avro(stage, rows, model)
    _members(stage)
    _spark(stage)


def _glm(stage: Stage) -> None:
    stage.step("A Poisson regression of 20,190 rows of the RAND health insurance experiment, beside statsmodels")
    data = rand_health()
    columns = data.drop(columns=["mdvis"])
    names: list[Feature] = [(name, "") for name in columns]
    told = [dict(zip(names, row, strict=True)) for row in columns.to_numpy(float).tolist()]
    rows = photon.examples_of(told, data.mdvis.to_numpy(float))
    model = photon.train(rows, photon.Task.POISSON, [photon.FixedEffect()])
    api = needed("statsmodels.api")
    response = data.mdvis.to_numpy(float)
    reference = api.GLM(response, api.add_constant(columns), family=api.families.Poisson()).fit(tol=1e-14, maxiter=100)
    fixed = model.fixed["global"]
    own = dict(zip(fixed.index.features, fixed.means.tolist(), strict=True))
    away = max(
        abs(own[photon.INTERCEPT if name == "const" else (name, "")] - value)
        for name, value in reference.params.items()
    )
    stage.check(f"coefficients differ by {GLM_MAX:g} at most", away <= GLM_MAX, f"{away:.1e}")


def _glmix(stage: Stage) -> tuple[photon.Examples, photon.PhotonModel]:
    stage.step("GLMix: an intercept of each pig, occupation and patient, beside statsmodels' mixed models")
    made: dict[str, tuple[photon.Examples, photon.PhotonModel]] = {}
    for reference_of in mixed_models.ALL:
        reference = reference_of()
        model = photon.train(reference.examples, reference.task, reference.effects, name=reference.name)
        away = reference.difference(model)
        what = f"{reference.name} ({reference.task.value.lower()}, {len(reference.random)} entities)"
        stage.check(f"{what} differs by {reference.tolerance:g} at most", away <= reference.tolerance, f"{away:.1e}")
        made[reference.name] = reference.examples, model
    return made["dietox"]


def _avro(stage: Stage, rows: photon.Examples, model: photon.PhotonModel) -> None:
    stage.step(
        "The model in Photon's files, through the store, and back by the id of an entity in the other datacenter"
    )
    data = stage.directory / "dietox.avro"
    photon.write_examples(data, rows)
    bags = {name: [name] for name in rows.shards}
    read = photon.read_examples(data, bags=bags, ids=["entity"])
    scores = model.scores(rows)
    stage.check("rows of (name, term, value) read from Avro score the same", np.array_equal(model.scores(read), scores))
    photon.write_model(stage.directory / "model", model)
    stage.check("so does the model read from its directory", np.array_equal(_sorted(stage, read), scores))
    metrics = photon.evaluate(model, rows)
    version = models.publish(stage.dc1, "dietox", model, metrics=metrics)
    stage.say(f"{version}: {', '.join(f'{name} {value:.3f}' for name, value in metrics.items())}")
    stage.until("the model in dc2", lambda: models.open(stage.dc2, "dietox").digest == version.digest)
    stage.until("its parts in dc2", lambda: photon.open_scorer(stage.dc2, "dietox") is not None)
    scorer = photon.open_scorer(stage.dc2, "dietox")
    features = rows.shard("features")
    told = [
        scorer.score(
            {"entity": entity},
            {features.index.features[column]: value for column, value in _pairs(features.matrix, row)},
        )
        for row, entity in enumerate(rows.ids["entity"])
    ]
    away = float(np.abs(np.array(told) - scores).max())
    stage.check(f"{len(rows)} rows score in dc2 as they did in memory", away < 1e-11, f"{away:.1e}")


def _sorted(stage: Stage, rows: photon.Examples) -> Any:
    return photon.read_model(stage.directory / "model").scores(rows)


def _members(stage: Stage) -> None:
    stage.step(f"A logistic GLMix of {MEMBERS:,} members: one version, and each of them is one range of it")
    made = np.random.default_rng(14)
    count = MEMBERS * 6
    member = np.arange(count) % MEMBERS
    clicks = made.normal(size=count)
    score = -0.3 + 0.8 * clicks + made.normal(size=MEMBERS)[member]
    response = (made.random(count) < 1 / (1 + np.exp(-score))).astype(float)
    told: list[Any] = [{("clicks", "7 days"): value} for value in clicks.tolist()]
    rows = photon.examples_of(told, response, ids={"memberId": member.tolist()})
    training, held_out = rows.take(np.arange(count) < count * 5 // 6), rows.take(np.arange(count) >= count * 5 // 6)
    effects = [photon.FixedEffect(), photon.RandomEffect(name="per-member", entity="memberId", l2=1.0)]
    alone, mixed = (photon.train(training, photon.Task.LOGISTIC, chosen) for chosen in (effects[:1], effects))
    before, after = (photon.evaluate(each, held_out, ["AUC"])["AUC"] for each in (alone, mixed))
    stage.check(
        "members of their own tell more about rows that were held out",
        after > before,
        f"AUC {before:.3f} -> {after:.3f}",
    )
    version = models.publish(stage.dc1, "members", mixed, metrics={"auc": after})
    size = sum(part.size for part in version.manifest.parts)
    stage.say(f"{version}: {len(version.manifest.parts)} files of Photon's layout, {size / 1e6:.1f} MB")
    scorer = photon.open_scorer(stage.dc1, version.place)
    sent = stage.counted("bytes_sent")
    asked = stage.counted("requests")
    expected = mixed.scores(held_out)
    away = max(
        abs(
            scorer.score({"memberId": held_out.ids["memberId"][row]}, told[count * 5 // 6 + row]) - float(expected[row])
        )
        for row in range(ASKED)
    )
    requests, moved = stage.counted("requests") - asked, stage.counted("bytes_sent") - sent
    stage.check(f"{ASKED} members score as in memory", away < 1e-11, f"{away:.1e}")
    # What counts is asked itself.
    stage.check(
        "by one request each", requests <= ASKED + 2, f"{requests:.0f} requests, {moved / ASKED:.0f} bytes each"
    )
    scorer.fetch()
    asked = stage.counted("requests")
    for row in range(ASKED):
        scorer.score({"memberId": held_out.ids["memberId"][row]}, {})
    stage.check("and by none from the cache", stage.counted("requests") - asked <= 2)


def _spark(stage: Stage) -> None:
    stage.step("GLMix by turns on Spark, out of a typed snapshot of the pigs, beside statsmodels")
    try:
        needed("pyspark")
    except ModuleNotFoundError as missing:
        stage.skip("GLMix on Spark", str(missing), missing.name or "pyspark")
        return
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        stage.skip("GLMix on Spark", "there is no Java; `make engines` installs it", "java")
        return
    from ambry.spark import glmix
    from ambry.spark.sessions import spark_session
    from ambry.spark.training_rows import rows_of_frame

    reference = mixed_models.dietox()
    _written(stage, reference.examples)
    said: Any = {"response": "Weight", "ids": ["entity"]}
    with open_snapshot(stage.dc1, "pigs") as snapshot:
        columns = named_columns(snapshot, bags={"features": ["Time"], mixed_models.NOTHING: []}, **said)
    key = stage.directory / "key"
    key.touch(0o600)
    key.write_text(str(stage.cluster.key))
    told = {"endpoints": ",".join(stage.dc1.endpoints), "key_file": str(key), "columns": ",".join(columns.names)}
    session = spark_session(
        "ambry demo photon", master="local[2]", workers=2, settings={}, hadoop_conf=None, tell=stage.say
    )
    with session as spark:
        frame = spark.read.format("ambry").options(**told, split_size="12000").load("pigs")
        with closing(rows_of_frame(frame, columns)) as rows:
            found = glmix.train(rows, reference.task, reference.effects, name=reference.name)
            parts = frame.rdd.getNumPartitions()
    away = reference.difference(found.model)
    what = (
        f"{rows.count} rows in {parts} parts, {len(found.sweeps)} turns: it differs by {reference.tolerance:g} at most"
    )
    stage.check(what, found.converged and away <= reference.tolerance, f"{away:.1e}")
    version = models.publish(stage.dc1, "pigs-by-spark", found.model)
    stage.until("the model in dc2", lambda: models.open(stage.dc2, "pigs-by-spark").digest == version.digest)


def _written(stage: Stage, rows: photon.Examples) -> None:
    """As a typed snapshot, `pigs`, of which a row is an entity and a pig a feature."""
    publishing.publish(stage.dc1, "pig-features", FeatureMetadata.of([parse_definitions(PIGS, "pigs")]))
    loaded = publishing.load(stage.dc1, "pig-features")
    [time] = rows.shard("features").matrix.toarray().T.tolist()
    told = {"row": list(range(len(rows))), "Time": time, "Weight": rows.response.tolist()}
    write_snapshot(
        stage.dc1,
        "pigs",
        {**told, "entity": rows.ids["entity"].tolist()},
        loaded.metadata.urns,
        metadata=loaded,
        entity="row",
        as_of=datetime(2026, 11, 27, tzinfo=UTC),
        rows_per_batch=128,
    )


def _pairs(matrix: Any, row: int) -> Any:
    start, end = matrix.indptr[row], matrix.indptr[row + 1]
    return zip(matrix.indices[start:end].tolist(), matrix.data[start:end].tolist(), strict=True)
