"""`ambry photon`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.ml.photon import glmix
from ambry.ml.photon.examples import INTERCEPT
from ambry.ml.photon.layout import read_model
from ambry.ml.photon.models import Task
from ambry.ml.photon.reading import read_examples, write_examples
from tests.support.photon_models import drawn_rows
from tests.support.whole_commands import lines, run

pytestmark = pytest.mark.usefixtures("here")

_numbers = count()
TRAIN = ("photon", "train", "rows.avro", "--task", "logistic")
MIXED = (*TRAIN, "--random", "per-member=member", "--l2", "per-member=2", "--lower", "3")


def refused(*args: str) -> str:
    done = run(*args)
    assert done.exit_code == 2, done.output
    return done.stderr


@pytest.fixture(autouse=True)
def rows(here: Path) -> Path:
    write_examples(here / "rows.avro", drawn_rows(Task.LOGISTIC, 300, 20))
    return here / "rows.avro"


def test_a_model_is_trained_published_shown_and_scored_with(here: Path) -> None:
    name = f"clicks-{next(_numbers)}"
    [made] = lines(*MIXED, "--publish", name, "-o", "model", "--evaluator", "AUC", "--evaluator", "AUC:parity")
    assert made["version"] == f"{name}@1.0.0" and made["rows"] == 300
    assert 0.6 < made["AUC"] < 1 and 0.6 < made["AUC:parity"] < 1
    model = read_model(here / "model")
    read = read_examples(here / "rows.avro", ids=["member"])
    for place in (name, "model"):
        [shown] = lines("photon", "show", place)
        assert shown["task"] == "LOGISTIC_REGRESSION"
        assert (
            shown["per-member"] == "20 models by member over features"
            and shown["global"] == "3 coefficients over features"
        )
        means = {
            (each["name"], each["term"]): each["value"] for each in lines("photon", "show", place, "--effect", "global")
        }
        assert means == model.coefficients("global")
        own = lines("photon", "show", place, "--effect", "per-member", "--entity", "m3")
        assert {(each["name"], each["term"]): each["value"] for each in own} == model.coefficients("per-member", "m3")
        assert sorted(own, key=lambda each: -abs(each["value"])) == own
        scores = lines("photon", "score", place, "rows.avro")
        assert [each["score"] for each in scores] == model.scores(read).tolist()
        assert [each["uid"] for each in scores] == list(read.uids)
        means_of = [each["score"] for each in lines("photon", "score", place, "rows.avro", "--mean")]
        assert np.allclose(means_of, model.predict(read))
    write_examples(here / "others.avro", drawn_rows(Task.LOGISTIC, 40, 30))
    told = run("photon", "score", "model", "others.avro").stderr
    assert "rows are of a member without a model in per-member, which adds nothing to them" in told
    assert not run("photon", "score", "model", "others.avro", "--quiet").stderr
    assert run("photon", "score", "model", "rows.avro").stdout.splitlines()[0].split("\t")[0] == "0"
    again = lines(*MIXED, "--start", name, "--validate", "rows.avro")
    assert again[0]["AUC"] == pytest.approx(made["AUC"], abs=1e-6)


def test_shards_penalties_and_normalisation_are_as_they_are_said(here: Path) -> None:
    lines(
        "photon", "train", "rows.avro", "--task", "linear", "--fixed", "all=slope", "--bag", "slope=slope",
        "--bag", "none=nothing", "--random", "m=member,none", "--upper", "4", "--normalization", "max-magnitude",
        "--l1", "all=1e9", "-o", "model",
    )  # fmt: skip
    model = read_model(here / "model")
    assert set(model.coefficients("all")) == {INTERCEPT}
    assert model.configurations["m"]["upper"] == 4 and model.configurations["m"]["l2"] == 1.0
    assert model.configurations["all"]["normalization"] == "SCALE_WITH_MAX_MAGNITUDE"


def test_a_directory_with_files_is_refused_before_rows_are_read(here: Path) -> None:
    done = run("photon", "train", "nobody.avro", "--task", "linear", "-o", str(here))
    assert done.exit_code == 1
    assert done.stderr == f"ambry: {here} is not empty; name a new directory\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((*TRAIN, "--l2", "x=1"), "a penalty is on 'x', and there is no such effect"),
        ((*TRAIN, "--l2", "global=x"), "'x' is not a number"),
        ((*TRAIN, "--random", "r=nobody"), "it has no id 'nobody'"),
        ((*TRAIN, "--evaluator", "X"), "there is no evaluator 'X'"),
        ((*TRAIN, "--fixed", ""), "there is no effect to fit"),
        (("photon", "train", "rows.avro", "--task", "poisson", "--bag", "features=x"), "no field 'x'"),
        ((*TRAIN, "--response", "offset"), "in a LOGISTIC_REGRESSION it is 0 or 1"),
        (("photon", "show", ".", "--entity", "1"), "--entity is of a random effect"),
        (("photon", "show", "."), "is no model of Photon's"),
        (
            ("photon", "score", "clicks", "rows.avro"),
            "with effects in it; a published model of that name is clicks@LATEST",
        ),
        (
            ("photon", "train", "torn.avro", "--task", "linear"),
            "torn.avro is no Avro file of records: EOFError; fetch or write",
        ),
        (
            ("photon", "train", "rows.csv", "--task", "linear"),
            "it does not begin as one does; rows are Avro files or a snapshot, which `ambry snapshot write` makes of "
            "CSV and Parquet: number the rows in a column, which is its --entity, and define whom they are of as a STRING",
        ),
    ],
)
def test_what_cannot_be_done_is_a_sentence(here: Path, args: tuple[str, ...], said: str) -> None:
    (here / "torn.avro").write_bytes(b"Obj\x01")
    (here / "clicks").mkdir()
    (here / "rows.csv").write_text("member,response\n1,2\n")
    assert said in " ".join(refused(*args).split())


def test_an_entity_or_effect_that_is_not_there_is_told(here: Path) -> None:
    lines(*MIXED, "-o", "model")
    shown = ("photon", "show", "model", "--effect", "per-member")
    assert "no model for the member 'x' among 20" in refused(*shown, "--entity", "x")
    assert "has coefficients of each member" in refused(*shown)
    assert "has no effect 'x'; it has global, per-member" in refused("photon", "show", "model", "--effect", "x")
    assert run(*MIXED, "-o", "model").exit_code != 0


def test_data_that_are_not_there_are_not_found() -> None:
    done = run("photon", "train", "none.avro", "--task", "linear")
    assert done.exit_code == 1
    assert "none.avro" in done.stderr


def test_a_loss_beyond_all_bounds_is_null_and_stops_no_publishing(here: Path) -> None:
    """A row far out, whose loss is inf: the run had trained, and was refused for its metric. JSON has no Infinity."""
    write_examples(here / "counts.avro", drawn_rows(Task.POISSON, 100, 5))
    far = drawn_rows(Task.POISSON, 3, 2)
    write_examples(here / "far.avro", replace(far, offset=np.full(3, 800.0)))
    name = f"far-{next(_numbers)}"
    trained = run(
        "photon", "train", "counts.avro", "--task", "poisson", "--validate", "far.avro", "--publish", name,
        "--output", "json",
    )  # fmt: skip
    assert trained.exit_code == 0 and "Warning" not in trained.stderr, trained.stderr
    made = json.loads(trained.stdout, parse_constant=pytest.fail)
    assert made["POISSON_LOSS"] is None and made["version"] == f"{name}@1.0.0"
    scored = run("photon", "score", name, "far.avro", "--mean", "--output", "json")
    assert [json.loads(line, parse_constant=pytest.fail)["score"] for line in scored.stdout.splitlines()] == [None] * 3


def test_held_out_responses_that_the_task_has_not_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were a number, which --publish wrote beside the model. The training is not begun for them."""
    monkeypatch.setattr(glmix, "train", lambda *_, **__: pytest.fail("it was trained"))
    wrong = drawn_rows(Task.LOGISTIC, 20, 3)
    wrong.response[4] = 5.0
    write_examples(here / "wrong.avro", wrong)
    told = refused(*TRAIN, "--validate", "wrong.avro", "-o", "model")
    assert "the response of row 4 (uid '4') is 5.0; in a LOGISTIC_REGRESSION it is 0 or 1" in told
    assert not (here / "model").exists()


@pytest.mark.parametrize("quiet", [False, True])
def test_who_trains_sees_how_far_it_is_unless_it_is_to_be_quiet(
    here: Path, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    asked: list[bool] = []

    def status_line(is_quiet: bool) -> AbstractContextManager[None]:
        asked.append(is_quiet)
        return nullcontext()

    monkeypatch.setattr("ambry.cli.photon_here.status_line", status_line)
    lines(*MIXED, "-o", "model", *(["--quiet"] if quiet else []))
    assert asked == [quiet]


def test_a_name_that_no_directory_has_is_refused_before_the_rows_are_read(here: Path) -> None:
    """It was refused where the model was written, and the training was lost."""
    for random in ("a/b=member", "r=member,two\nlines"):
        told = refused("photon", "train", "gone.avro", "--task", "logistic", "--random", random, "-o", "mx")
        assert "cannot be the name of" in told
