"""`ambry photon` takes rows of a typed snapshot where it takes Avro, whole commands against a frontend."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry import AmbryClient
from ambry.cli.photon_rows import snapshot_among
from ambry.ml.photon.examples import INTERCEPT, examples_of
from ambry.ml.photon.layout import read_model, write_model
from ambry.ml.photon.reading import write_examples
from ambry.ml.snapshots.reading import Snapshot, open_snapshot
from tests.support.whole_commands import lines, run

pytestmark = pytest.mark.usefixtures("here")

_numbers = count()


def snapshot_of(here: Path, definitions: str, table: list[str]) -> str:
    """The dataset of a snapshot of some lines of CSV, the first with the columns, of which the first is the entity."""
    dataset, of_it = f"rows-{next(_numbers)}", f"of-rows-{next(_numbers)}"
    (here / "n.features").write_text(definitions)
    (here / "rows.csv").write_text("\n".join([*table, ""]))
    lines("features", "publish", "n.features", of_it)
    entity = table[0].partition(",")[0]
    lines("snapshot", "write", "rows.csv", dataset, "--definitions", of_it, "--entity", entity)
    return dataset


def test_a_snapshot_is_what_is_no_file(here: Path) -> None:
    (here / "clicks").mkdir()
    (here / "x@1").touch()
    files = [
        "clicks",
        "clicks/",
        "x@1",
        "gone/rows",
        "./gone@1",
        "../gone@1",
        "/gone/x@1",
        "gone.avro",
        "hdfs://me@nn/a",
        "ambry://a/c/rows.avro",
        "s3://b/x@y",
    ]
    assert [each for each in files if snapshot_among([each])] == []
    for place in ("members", "members@champion", "ambry://a/c/members@17"):
        assert snapshot_among([place]) == place


def test_what_is_neither_a_file_nor_a_dataset_is_told_as_both(here: Path) -> None:
    """A file that was mistyped was told as a dataset alone."""
    for command in (
        ["train", "good.csv", "--task", "logistic"],
        ["score", "good.csv", "rows.avro"],
        ["show", "good.csv"],
        ["show", "good.csv", "--effect", "global"],
    ):
        done = run("photon", *command)
        told = "ambry: there is no file or directory 'good.csv', and there is no dataset 'good.csv' in the container "
        assert done.exit_code == 3 and told in done.stderr, done.output


def test_a_model_is_trained_on_a_snapshot_and_scores_it(here: Path) -> None:
    """As on the same rows in Avro; the entities are who is scored."""
    rows = [f"{key},{'true' if key % 3 else 'false'},{key % 50},j{key % 4}" for key in range(200)]
    dataset = snapshot_of(
        here,
        "namespace: n\nclicked: {valType: BOOLEAN}\nage: {valType: INT}\njob: {valType: STRING}\n",
        ["member,clicked,age,job", *rows],
    )
    train = ("photon", "train", "--task", "logistic", "--response", "clicked", "--random", "per-job=job", "-o")
    [made] = lines(*train, "model", f"{dataset}@LATEST", "--validate", dataset, "--evaluator", "AUC:job")
    assert made["rows"] == 200 and "AUC:job" in made and made["per-job"] == "4 models by job over features"
    said = [{("age", ""): float(key % 50)} for key in range(200)]
    same = examples_of(
        said, [float(key % 3 > 0) for key in range(200)], ids={"job": [f"j{key % 4}" for key in range(200)]}
    )
    write_examples(here / "same.avro", same)
    lines(*train, "beside", "same.avro", "--response", "response")
    scores, beside = lines("photon", "score", "model", dataset), lines("photon", "score", "beside", "same.avro")
    assert [each["uid"] for each in scores] == [str(key) for key in range(200)]
    assert [each["score"] for each in scores] == [each["score"] for each in beside]
    [bagged] = lines(*train, "bagged", dataset, "--bag", "features=urn:li:(n,age,1,0)")
    assert bagged["per-job"] == made["per-job"]
    assert "is a snapshot, and rows are read of one at a time" in run(*train, "m", dataset, "same.avro").stderr
    assert "has no id 'song'" in run(*train, "m", dataset, "--random", "per-song=song").stderr


def test_what_was_no_feature_in_the_training_is_none_in_rows_to_score(here: Path) -> None:
    """The response, and what an evaluator asked for, were told as what the model has no coefficient for; and a feature called
    label, beside another response, was left out.
    """
    rows = [f"{key},{'true' if key % 3 else 'false'},{key % 50},j{key % 4}" for key in range(200)]
    dataset = snapshot_of(
        here,
        "namespace: n\nclicked: {valType: BOOLEAN}\nlabel: {valType: INT}\njob: {valType: STRING}\n",
        ["member,clicked,label,job", *rows],
    )
    train = ("photon", "train", dataset, "--task", "logistic", "--response", "clicked", "--evaluator", "AUC:job")
    lines(*train, "-o", "model", "--publish", f"model-{dataset}")
    model = read_model(here / "model")
    assert model.observed == ("clicked", "job") and model.feature_names == {"label"}
    of_label = model.coefficients("global")
    for place in ("model", f"model-{dataset}"):
        done = run("photon", "score", place, dataset)
        assert (done.exit_code, done.stderr) == (0, "")
        scores = [float(line.split("\t")[1]) for line in done.stdout.splitlines()]
        assert scores == pytest.approx([of_label["label", ""] * (key % 50) + of_label[INTERCEPT] for key in range(200)])
    # A model that does not say what it was trained on, as one of Photon's.
    write_model(here / "silent", replace(model, observed=()))
    told = run("photon", "score", "silent", dataset).stderr
    assert "no coefficient for, which adds nothing: clicked, job/j0" in told
    assert "clicked" not in run("photon", "score", "silent", dataset, "--response", "clicked").stderr


def test_a_snapshot_is_opened_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was opened to settle its number, and again to be read: two looks at what may not be the same."""
    rows = [f"{key},{'true' if key % 3 else 'false'},{key % 50}" for key in range(30)]
    dataset = snapshot_of(
        here, "namespace: n\nclicked: {valType: BOOLEAN}\nage: {valType: INT}\n", ["member,clicked,age", *rows]
    )
    opened: list[str] = []

    def counted(client: AmbryClient, place: str) -> Snapshot:
        opened.append(place)
        return open_snapshot(client, place)

    monkeypatch.setattr("ambry.ml.snapshots.reading.open_snapshot", counted)
    lines("photon", "train", dataset, "--task", "logistic", "--response", "clicked", "--publish", f"model-{dataset}")
    assert opened == [dataset]


def test_a_weight_of_a_body_is_told_and_can_be_a_feature(here: Path) -> None:
    """It was what rows weigh, and nobody said so."""
    rows = [f"{key},{'true' if key % 3 else 'false'},{50 + key % 40},{key % 7}" for key in range(90)]
    dataset = snapshot_of(
        here,
        "namespace: n\nill: {valType: BOOLEAN}\nweight: {valType: INT}\noffset: {valType: INT}\n",
        ["person,ill,weight,offset", *rows],
    )
    train = ("photon", "train", dataset, "--task", "logistic", "--response", "ill", "-o")
    told = run(*train, "weighed")
    assert (
        "the feature urn:li:(n,weight,1,0) is what rows weigh, and no feature to the model; --weight says"
        in told.stderr
    )
    assert "the feature urn:li:(n,offset,1,0) is added to scores" in told.stderr
    weighed = read_model(here / "weighed")
    assert weighed.feature_names == set()
    said = run(*train, "said", "--weight", "weight", "--offset", "")
    assert (said.exit_code, said.stderr) == (0, "")
    assert read_model(here / "said").observed == ("ill", "weight"), "what was said is no feature of rows to score"
    done = run(*train, "model", "--weight", "", "--offset", "")
    assert (done.exit_code, done.stderr) == (0, "")
    model = read_model(here / "model")
    assert model.feature_names == {"weight", "offset"}
    # They are features of the rows that it scores, too.
    of = model.coefficients("global")
    scores = [each["score"] for each in lines("photon", "score", "model", dataset)]
    assert scores == pytest.approx(
        [of["weight", ""] * (50 + key % 40) + of["offset", ""] * (key % 7) + of[INTERCEPT] for key in range(90)]
    )
