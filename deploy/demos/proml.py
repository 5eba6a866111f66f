"""The life of a model: trained on a snapshot, registered, promoted, watched, held back, rolled back, and its line told."""

from __future__ import annotations

import html
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ambry.ml import features, health, models, snapshots
from ambry.ml.extras import needed
from deploy.demos.stage import Stage, environment

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
COLUMNS = 10
"""Of the thirty that there are: the means."""


def run(stage: Stage) -> None:
    """The whole demonstration."""
    frame, target, names = _data()
    loaded = _features(stage, names)
    urns = [str(urn) for urn in loaded.metadata.urns]
    _snapshots(stage, frame, urns, loaded)
    _train(stage, frame, target, urns)
    _aliases(stage)
    _watch(stage, urns)
    _tracked(stage, frame, target)


def _data() -> tuple[Any, Any, list[str]]:
    found = needed("sklearn.datasets").load_breast_cancer(as_frame=True)
    frame = found.data.iloc[:, :COLUMNS].copy()
    names = [str(name).removeprefix("mean ").replace(" ", "_") for name in frame.columns]
    frame.columns = names
    frame["patient"] = np.arange(len(frame))
    return frame, found.target.to_numpy(), names


def _features(stage: Stage, names: list[str]) -> features.LoadedFeatures:
    stage.step("Define the features of a tumour, and publish them")
    text = "\n".join(f'{name}: {{valType: DOUBLE, doc: "mean {name}"}}' for name in names)
    metadata = features.FeatureMetadata.of([features.parse_definitions(text, "tumours")])
    published = features.publish(stage.dc1, "tumour-features", metadata)
    stage.say(f"{len(names)} features, version {published.version}")
    return features.load(stage.dc1, "tumour-features")


def _snapshots(stage: Stage, frame: Any, urns: list[str], loaded: features.LoadedFeatures) -> None:
    stage.step("Write what is known of each patient on three days, of which the last is not like the others")
    chance = np.random.default_rng(3)
    days = {"training": frame, "the same": frame.sample(frac=0.8, random_state=1), "shifted": frame.copy()}
    days["shifted"]["radius"] = days["shifted"]["radius"] * 1.25 + chance.normal(0, 0.1, len(frame))
    for place, (name, rows) in enumerate(days.items()):
        written = snapshots.write(
            stage.dc1, "tumours", rows, urns, metadata=loaded, entity="patient", as_of=NOON + timedelta(days=place)
        )
        stage.say(f"{name}: tumours@{written.version}, {written.rows} patients")


def _version(place: int) -> str:
    return f"tumours@{int((NOON + timedelta(days=place)).timestamp() * 1000)}"


def _train(stage: Stage, frame: Any, target: Any, urns: list[str]) -> None:
    stage.step("Train on the first day, twice, and register both")
    linear = needed("sklearn.linear_model")
    with snapshots.open(stage.dc1, _version(0)) as snapshot:
        table = snapshot.table(urns)
        rows = np.column_stack([table.column(name).to_numpy() for name in table.column_names[1:]])
    stage.check("what is trained on is what was measured", np.allclose(rows, frame[table.column_names[1:]].to_numpy()))
    parent = ""
    for strength, note in ((1e-4, "almost constant"), (1.0, "the usual penalty")):
        scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        estimator = linear.LogisticRegression(C=strength, max_iter=1_000).fit(scaled, target)
        weights = {
            "coef": estimator.coef_, "intercept": estimator.intercept_, "mean": rows.mean(axis=0), "std": rows.std(axis=0)
        }  # fmt: skip
        made = models.publish(
            stage.dc1,
            "tumour-model",
            weights,
            features=urns,
            definitions="tumour-features@1.0.0",
            snapshot=_version(0),
            code="ambry demo proml",
            metrics={"accuracy": float(estimator.score(scaled, target))},
            parent=parent,
            note=note,
        )
        parent = str(made)
        stage.say(f"{made}: {note}, accuracy {made.manifest.metrics['accuracy']:.3f}")
    step = next(models.lineage(stage.dc1, parent))
    stage.check(
        "its lineage names the snapshot", step.model is not None and step.model.manifest.snapshot == _version(0)
    )
    line = [each.version for each in models.lineage(stage.dc1, parent)]
    stage.check("and its parent", line == ["tumour-model@1.1.0", "tumour-model@1.0.0"], " <- ".join(line))


def _aliases(stage: Stage) -> None:
    stage.step("Promote, move, roll back")
    models.promote(stage.dc1, "tumour-model@1.0.0", why="the first")
    models.promote(stage.dc1, "tumour-model@1.1.0", why="more accurate")
    stage.check("the champion is 1.1.0", models.open(stage.dc1, "tumour-model@champion").version == "1.1.0")
    models.roll_back(stage.dc1, "tumour-model", why="to show that it can be")
    stage.check("rolled back, it is 1.0.0", models.open(stage.dc1, "tumour-model@champion").version == "1.0.0")
    stage.until("the rollback in dc2", lambda: models.open(stage.dc2, "tumour-model@champion").version == "1.0.0")
    stage.check(
        "the other datacenter loads it by the alias", "coef" in models.open(stage.dc2, "tumour-model@champion").load()
    )


def _watch(stage: Stage, urns: list[str]) -> None:
    stage.step("Compare serving with training, and let that decide a promotion")
    model = "tumour-model@1.1.0"
    alike = health.check_model(stage.dc1, model, _version(1))
    stage.check("a day that is alike has no fault", alike.healthy, f"{len(urns)} features compared")
    shifted = health.check_model(stage.dc1, model, _version(2))
    stage.check(
        "a column that has shifted is flagged", any("radius" in fault for fault in shifted.faults), shifted.faults[:1]
    )
    others = [fault for fault in shifted.faults if not fault.startswith("radius")]
    stage.check("and no column that has not", not others, others)
    try:
        health.promote_checked(stage.dc1, model, _version(2), why="more accurate")
        stage.check("the promotion is held back", False)
    except health.PromotionHeld as held:
        stage.check("the promotion is held back", True, str(held)[:100])
        _reported(stage, held)
    moved = health.promote_checked(stage.dc1, model, _version(1), why="more accurate")
    stage.check("on the other day it goes through, with its report", moved.moved.version == "1.1.0", moved.page.name)


def _reported(stage: Stage, held: health.PromotionHeld) -> None:
    stage.until("the report in dc2", lambda: stage.dc2.exists(held.page))
    page = stage.dc2.get_bytes(held.page).decode()
    told = all(fault in html.unescape(page) for fault in held.report.faults)
    stage.check("its report lies in the store, and says so in dc2", told, held.page.name)


def _tracked(stage: Stage, frame: Any, target: Any) -> None:
    stage.step("Track a run in MLflow, with its artifacts on ambry://")
    try:
        mlflow = needed("mlflow")
        needed("alembic")
        needed("sqlalchemy")
        needed("skops")
    except ModuleNotFoundError as missing:
        stage.skip("MLflow", str(missing), missing.name or "mlflow")
        return
    [frontend] = stage.cluster.frontends("dc1")
    quiet = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    with environment(AMBRY_ENDPOINTS=frontend.url, AMBRY_KEY=stage.cluster.key or "", **quiet):
        mlflow.set_tracking_uri(f"sqlite:///{stage.directory / 'mlflow.sqlite'}")
        experiment = mlflow.create_experiment("tumours", artifact_location="ambry://default/default/mlflow")
        with mlflow.start_run(experiment_id=experiment) as started:
            mlflow.log_param("rows", len(frame))
            mlflow.log_metric("positive", float(target.mean()))
            mlflow.log_text("what was seen", "notes.txt")
        run = mlflow.get_run(started.info.run_id)
        stage.check("parameters and metrics are MLflow's", run.data.params["rows"] == str(len(frame)))
        text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes.txt")
        stage.check("its artifacts lie in the store", text == "what was seen", run.info.artifact_uri)
        _registered(stage, mlflow, experiment, frame, target)


def _registered(stage: Stage, mlflow: Any, experiment: str, frame: Any, target: Any) -> None:
    stage.step("Register two versions by MLflow, and move the alias by either client")
    linear = needed("sklearn.linear_model")
    rows, name = frame[["radius", "texture"]].to_numpy(), "tumour-registered"
    mlflow.set_registry_uri("ambry://default/default")
    try:
        theirs, trained = mlflow.MlflowClient(), []
        for strength in (1e-4, 1.0):
            trained.append(linear.LogisticRegression(C=strength, max_iter=1_000).fit(rows, target))
            with mlflow.start_run(experiment_id=experiment):
                mlflow.set_tag("ambry.snapshot", _version(0))
                mlflow.sklearn.log_model(
                    trained[-1],
                    name="model",
                    registered_model_name=name,
                    serialization_format="skops",
                    pip_requirements=["scikit-learn", "skops"],
                )
        told = [entry.version for entry in stage.dc1.versions(name)]
        stage.check("they are versions of ours", told == ["1", "2"], ", ".join(told))
        theirs.set_registered_model_alias(name, "champion", "1")
        set_by_mlflow = models.open(stage.dc1, f"{name}@champion").version
        stage.check("ours sees the alias that MLflow set", set_by_mlflow == "1", f"{name}@champion is {set_by_mlflow}")
        models.promote(stage.dc1, f"{name}@2", why="more accurate")
        moved = theirs.get_model_version_by_alias(name, "champion").version
        stage.check("MLflow sees the alias that we moved", moved == "2", f"models:/{name}@champion is {moved}")
        guesses = [estimator.predict(rows) for estimator in trained]
        stage.check(
            "the two versions predict otherwise", not np.array_equal(*guesses), int(sum(guesses[0] != guesses[1]))
        )
        found = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(rows)
        stage.check("it loads by the alias what predicts the same", np.array_equal(found, guesses[1]))
        models.roll_back(stage.dc1, name, why="to show that it can be")
        moved = theirs.get_model_version_by_alias(name, "champion").version
        stage.check("and sees the rollback", moved == "1", f"models:/{name}@champion is {moved}")
        found = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(rows)
        stage.check("and loads the first one again", np.array_equal(found, guesses[0]))
        snapshot = models.open(stage.dc1, f"{name}@champion").manifest.snapshot
        stage.check("the lineage names the snapshot", snapshot == _version(0), snapshot)
    finally:
        mlflow.set_registry_uri("")
