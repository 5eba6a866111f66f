"""A model of `ambry photon train` says what it was made from: whole commands against a frontend."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry import AmbryClient
from ambry.cli.photon_origin import RowsOrigin, rows_origin
from ambry.cli.photon_rows import OpenRows, SaidRows
from ambry.ml import models
from ambry.ml.photon.models import Task
from ambry.ml.photon.reading import write_examples
from ambry.ml.provenance import code_of_ambry
from tests.support.photon_models import drawn_rows
from tests.support.whole_commands import lines, run, told

pytestmark = pytest.mark.usefixtures("here")

_numbers = count()


def test_a_model_of_a_snapshot_has_it_with_its_number_its_definitions_its_parent_and_how_it_was_trained(
    here: Path,
) -> None:
    number = next(_numbers)
    dataset, definitions, name = f"people-{number}", f"defined-{number}", f"made-{number}"
    (here / "n.features").write_text("namespace: n\nclicked: {valType: BOOLEAN}\nage: {valType: INT}\n")
    rows = [f"{key},{'true' if key % 3 else 'false'},{key % 50}" for key in range(60)]
    (here / "rows.csv").write_text("\n".join(["member,clicked,age", *rows, ""]))
    lines("features", "publish", "n.features", definitions)
    [written] = lines("snapshot", "write", "rows.csv", dataset, "--definitions", definitions, "--entity", "member")
    exact = f"{dataset}@{written['version']}"
    train = ("photon", "train", dataset, "--task", "logistic", "--response", "clicked", "--l2", "global=2")
    lines(*train, "--publish", name, "-o", "model")
    [step] = lines("model", "lineage", name)
    assert (step["snapshot"], step["definitions"]) == (exact, f"{definitions}@1.0.0")
    params = told("model", "show", name)["params"]
    assert (params["task"], params["engine"], params["response"]) == ("LOGISTIC_REGRESSION", "glum", "clicked")
    assert params["effects"]["global"]["l2"] == 2.0 and params["data"] == [{"place": exact}]
    assert "start" not in params and "validate" not in params
    lines(*train, "--publish", name, "--start", name, "--validate", f"{dataset}@LATEST")
    shown = told("model", "show", name)
    assert shown["parent"] == f"{name}@1.0.0"
    assert shown["params"]["validate"] == [{"place": exact}] and "start" not in shown["params"]
    lines(*train, "--publish", name, "--start", "model")
    shown = told("model", "show", name)
    assert not shown["parent"] and shown["params"]["start"] == "model"


def test_a_model_says_what_made_it_and_which_features_of_a_snapshot_it_takes(here: Path) -> None:
    """It said neither: CODE was empty in `ambry model lineage`, and so was what its inputs are."""
    number = next(_numbers)
    dataset, name = f"folk-{number}", f"coded-{number}"
    (here / "n.features").write_text(
        "namespace: n\nclicked: {valType: BOOLEAN}\nage: {valType: INT}\njob: {valType: INT}\noffset: {valType: FLOAT}\n"
    )
    rows = [f"{key},{'true' if key % 3 else 'false'},{key % 50},{key % 4},0.5" for key in range(60)]
    (here / "rows.csv").write_text("\n".join(["member,clicked,age,job,offset", *rows, ""]))
    lines("features", "publish", "n.features", f"of-{name}")
    lines("snapshot", "write", "rows.csv", dataset, "--definitions", f"of-{name}", "--entity", "member")
    train = ("photon", "train", dataset, "--task", "logistic", "--response", "clicked", "--random", "per-job=job")
    lines(*train, "--evaluator", "AUC", "--publish", name)
    [step] = lines("model", "lineage", name)
    assert step["code"] == code_of_ambry() and step["code"].startswith("ambry:")
    shown = told("model", "show", name)
    # As serving is asked: what the shards have, then the offset, and the id that is a feature.
    assert shown["features"] == [f"urn:li:(n,{each},1,0)" for each in ("age", "offset", "job")]
    assert shown["params"]["inputs"]["rows"] == 60 and shown["params"]["evaluators"] == ["AUC"]
    assert {"python", "glum", "numpy", "scipy", "tabmat"} <= set(shown["framework"])


def test_a_model_of_files_has_their_places_and_of_blobs_their_ids(here: Path) -> None:
    name = f"of-files-{next(_numbers)}"
    write_examples(here / "rows.avro", drawn_rows(Task.LINEAR, 40, 4))
    with AmbryClient.from_env() as client:
        blob = client.put(here / "rows.avro", name=f"{name}.avro")
        place = f"ambry://{client.default_account}/{client.default_container}/{name}.avro"
    lines("photon", "train", "rows.avro", place, "--task", "linear", "--random", "m=member", "--publish", name)
    with AmbryClient.from_env() as client:
        params: Any = models.open(client, name).manifest.params
    assert params["data"] == [{"place": "rows.avro"}, {"place": place, "id": str(blob.id)}]
    assert params["effects"]["m"]["entity"] == "member" and params["effects"]["m"]["l2"] == 1.0


def test_rows_are_those_of_the_cluster_that_is_said_and_what_is_written_down_is_what_was_read(
    here: Path, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were those of the environment's cluster, and the id that of a blob that nobody read."""
    name = f"chosen-{next(_numbers)}"
    meant, other = urls
    monkeypatch.setenv("AMBRY_ENDPOINTS", other)
    with AmbryClient(meant) as client, AmbryClient(other) as elsewhere:
        blob = client.put(_rows(here, 40), name=f"{name}.avro")
        elsewhere.put(_rows(here, 70), name=f"{name}.avro")
        place = f"ambry://{client.default_account}/{client.default_container}/{name}.avro"
    there = ("--endpoint", meant)
    [made] = lines("photon", "train", place, "--task", "linear", "--publish", name, *there)
    assert made["rows"] == 40
    assert told("model", "show", name, *there)["params"]["data"] == [{"place": place, "id": str(blob.id)}]
    assert len(lines("photon", "score", name, place, *there)) == 40


def _rows(here: Path, count: int) -> Path:
    write_examples(here / f"{count}.avro", drawn_rows(Task.LINEAR, count, 4))
    return here / f"{count}.avro"


def test_no_secret_of_a_url_is_written_down() -> None:
    chained = "simplecache::https://me:word@host:8/x.avro?sig=1"
    data = (chained, "s3://bucket/y.avro", "z.avro")
    found = rows_origin(OpenRows(data, SaidRows((), {})))
    places = ["simplecache::https://host:8/x.avro", "s3://bucket/y.avro", "z.avro"]
    assert found == RowsOrigin(tuple({"place": place} for place in places))


def test_a_name_that_no_model_can_have_is_refused_before_it_is_trained(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_examples(here / "rows.avro", drawn_rows(Task.LINEAR, 40, 4))
    monkeypatch.setattr("ambry.ml.photon.glmix.train", lambda *_, **__: pytest.fail("it was trained"))
    done = run("photon", "train", "rows.avro", "--task", "linear", "--publish", "bad name!")
    assert done.exit_code == 2 and "bad name!" in done.stderr, done.output
