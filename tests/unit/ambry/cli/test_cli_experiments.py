"""`ambry experiment`, whole commands against a frontend with a metadata store."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ambry import AmbryClient
from ambry.cli.main import cli
from ambry.ml import models
from ambry.ml.experiments import Arm, Experiment, ExposureLog

pytestmark = pytest.mark.usefixtures("here")
_numbers = count()


def run(*args: str, input: str | None = None) -> Result:
    return CliRunner().invoke(cli, args, prog_name="ambry", input=input)


def said(*args: str, input: str | None = None) -> str:
    done = run(*args, input=input)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*args: str) -> Any:
    return json.loads(said(*args, "--json"))


@pytest.fixture
def name() -> str:
    return f"ranker-{next(_numbers)}"


@pytest.fixture
def experiment(name: str, here: Path, url: str) -> Experiment:
    """Of two models, written to experiment.json; with 3,000 outcomes, in which the treatment has one click more."""
    with AmbryClient([url]) as client:
        for data in (b"1", b"2"):
            models.publish(client, f"{name}-model", {"x.txt": data})
    arms = (Arm("control", 0.5, f"{name}-model@1.0.0"), Arm("treatment", 0.5, f"{name}-model@1.1.0"))
    made = Experiment(name=name, arms=arms, metrics=("clicks",))
    (here / "experiment.json").write_bytes(made.encode())
    chance = np.random.default_rng(5)
    clicks = chance.normal(10 + (made.arms_of(np.arange(3_000)) == 1), 3)
    lines = [f"{unit},{value},{'de' if unit % 3 else 'at'}" for unit, value in enumerate(clicks)]
    (here / "outcomes.csv").write_text("\n".join(["unit,clicks,country", *lines]))
    return made


@pytest.fixture
def serving(experiment: Experiment, url: str) -> str:
    """The dataset of its models, of which the first serves."""
    with AmbryClient([url]) as client:
        models.promote(client, f"{experiment.name}-model@1.0.0", why="the first")
    return f"{experiment.name}-model"


def test_an_experiment_is_started_ramped_and_stopped(name: str) -> None:
    document = json.dumps(
        {
            "name": name,
            "exposed": 0.1,
            "arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}],
            "layer": {"name": name, "from": 0, "to": 0.5},
        }
    )
    assert said("experiment", "start", "-", input=document) == f"{name}@1\n"
    assert said("experiment", "ramp", name, "0.5") == f"{name}@2\n"
    wider = json.loads(document) | {"exposed": 0.5, "layer": {"name": name, "from": 0, "to": 0.7}}
    Path("wider.json").write_text(json.dumps(wider))
    assert said("experiment", "ramp", name, "--document", "wider.json") == f"{name}@3\n"
    shown = told("experiment", "show", f"{name}@2")
    assert (shown["exposed"], shown["running"], shown["layer"]["to"]) == (0.5, True, 0.5)
    listed = [line.split() for line in said("experiment", "ls").splitlines() if name in line]
    assert listed == [[f"{name}@3", "50%", "a", "50%,", "b", "50%", name, "0", "to", "0.7"]]
    assert said("experiment", "stop", name) == f"{name}@4\n"
    assert told("experiment", "stop", name)["running"] is False
    assert any(line.split()[:2] == [f"{name}@4", "ended"] for line in said("experiment", "ls").splitlines())


def test_what_cannot_be_is_told(name: str, experiment: Experiment) -> None:
    assert run("experiment", "show", name).exit_code == 3
    said("experiment", "start", "experiment.json")
    for arguments, words in (
        (["start", "experiment.json"], "was started before"),
        (["ramp", name, "0.5"], "may grow, and not fall"),
        (["ramp", name, "1.5"], "from 0 to 1"),
        (["ramp", name, "nan"], "from 0 to 1"),
        (["ramp", name], "--document"),
        (["evaluate", name, "outcomes.csv", "--metric", "money"], "no column 'money'"),
        (["decide", name, "outcomes.csv", "--arm", "third"], "no arm 'third'"),
    ):
        done = run("experiment", *arguments)
        assert done.exit_code != 0 and done.stdout == "" and words in done.stderr, done.output
    Path("nonsense.json").write_text("{}")
    assert "no experiment" in run("experiment", "start", "nonsense.json").stderr


def test_what_is_misspelt_in_a_document_is_told(name: str) -> None:
    arms = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "model": f"{name}-modle@1.0.0"}]
    document = {"name": name, "arms": arms, "layer": {"name": f"{name}-feed", "from": 0, "to": 0.5}}
    done = run("experiment", "start", "-", input=json.dumps(document))
    assert (done.exit_code, done.stdout) == (3, "") and f"the arm 'b', model '{name}-modle@1.0.0'" in done.stderr
    assert run("experiment", "show", name).exit_code == 3
    del arms[1]["model"]
    said("experiment", "start", "-", input=json.dumps(document))
    second = document | {"name": f"{name}-b", "layer": {"name": f"{name}-fede", "from": 0.5, "to": 1}}
    done = run("experiment", "start", "-", input=json.dumps(second))
    assert (done.exit_code, done.stdout) == (0, f"{name}-b@1\n") and f"did you mean '{name}-feed'?" in done.stderr


def test_units_are_assigned_as_they_are_everywhere(name: str, url: str) -> None:
    model = f"{name}-model@1.0.0"
    with AmbryClient([url]) as client:
        models.publish(client, f"{name}-model", {"x.txt": b"1"})
    arms = (Arm("control", 0.5), Arm("treatment", 0.5, model))
    made = Experiment(name=name, arms=arms, targeting={"country": ("de",), "beta": (True,)})
    said("experiment", "start", "-", input=made.encode().decode())
    attributes = ("--attribute", "country=de", "--attribute", "beta=true")
    expected = [(unit, made.arm_of(unit, {"country": "de", "beta": True})) for unit in map(str, range(50))]
    lines = said("experiment", "assign", name, "-", *attributes, "--json", input="\n".join(map(str, range(50))))
    found = [json.loads(line) for line in lines.splitlines()]
    assert [(row["unit"], row["arm"]) for row in found] == [(unit, arm.name if arm else "") for unit, arm in expected]
    assert {row["model"] for row in found} == {None, model}
    assert said("experiment", "assign", name, "7", "--attribute", "country=fr").splitlines()[1].split() == ["-", "7"]


def test_outcomes_are_evaluated_and_drawn(name: str, experiment: Experiment, here: Path) -> None:
    said("experiment", "start", "experiment.json")
    table = said("experiment", "evaluate", name, "outcomes.csv", "--segment", "country").splitlines()
    assert [line.split()[-1] for line in table] == ["SEGMENT", "all", "country=at", "country=de"]
    found = told("experiment", "evaluate", name, "outcomes.csv")
    assert found["trustworthy"] and found["comparisons"][0]["effect"]["always_p"] < 0.01
    assert said("experiment", "report", name, "outcomes.csv", "-o", "report.html") == "report.html\n"
    stored = said("experiment", "report", name, "outcomes.csv").strip()
    assert stored.startswith(f"{name}.evaluations/")
    assert said("cat", stored) == (here / "report.html").read_text()


def test_arms_that_outcomes_name_are_told_not_to_be_read(name: str, experiment: Experiment, here: Path) -> None:
    said("experiment", "start", "experiment.json")
    head, *lines = (here / "outcomes.csv").read_text().splitlines()
    (here / "arms.csv").write_text("\n".join([f"{head},arm", *(f"{line},control" for line in lines)]))
    done, plain = (run("experiment", "evaluate", name, file) for file in ("arms.csv", "outcomes.csv"))
    assert (done.exit_code, done.stdout) == (0, plain.stdout)
    assert "arms.csv: its column 'arm' is not read; the arm of a unit is what the experiment assigns" in done.stderr
    assert "is not read" not in plain.stderr
    arms = experiment.arms_of([int(line.split(",")[0]) for line in lines])
    others = sum(place != 0 for place in arms.tolist())
    told = f"arms.csv: {others:,} rows have another arm in that column than the one that counts"
    assert told in done.stderr and 0 < others < len(lines)
    assert "is not read" not in run("experiment", "evaluate", name, "arms.csv", "--segment", "arm").stderr


def test_a_split_that_is_off_is_told(name: str, experiment: Experiment, here: Path) -> None:
    said("experiment", "start", "experiment.json")
    lines = (here / "outcomes.csv").read_text().splitlines()
    seen = [line for line in lines[1:] if experiment.arms_of([int(line.split(",")[0])])[0] == 1 or "de" in line]
    (here / "lost.csv").write_text("\n".join([lines[0], *seen]))
    done = run("experiment", "evaluate", name, "lost.csv")
    assert done.exit_code == 0 and "find out who is missing" in done.stderr


def test_an_experiment_that_nobody_saw_is_told(name: str, experiment: Experiment) -> None:
    said("experiment", "start", "experiment.json")
    done = run("experiment", "evaluate", name, "outcomes.csv", "--seen")
    assert done.exit_code == 2
    assert f"nothing was written down of who saw {name}" in done.stderr
    assert "--experiment" in done.stderr


def test_units_may_be_those_that_saw_an_arm(name: str, experiment: Experiment, url: str, here: Path) -> None:
    said("experiment", "start", "experiment.json")
    with AmbryClient([url]) as client, ExposureLog(client, name) as log:
        for unit in range(0, 4_000, 2):
            arm = experiment.arm_of(unit)
            assert arm is not None
            log.record(unit, arm.name, {"country": "fr"})
    found = told("experiment", "evaluate", name, "outcomes.csv", "--seen", "--segment", "country")
    assert sum(found["counts"].values()) == 2_000
    assert [each["segment"] for each in found["comparisons"]] == ["all", "country=fr"]
    compared = found["comparisons"][0]
    assert compared["units"] + compared["control_units"] == 1_500
    found = told("experiment", "evaluate", name, "outcomes.csv", "--seen", "--absent", "0")["comparisons"][0]
    assert found["units"] + found["control_units"] == 2_000
    head, *lines = (here / "outcomes.csv").read_text().splitlines()
    (here / "arms.csv").write_text("\n".join([f"{head},arm", *(f"{line},control" for line in lines)]))
    done = run("experiment", "evaluate", name, "arms.csv", "--seen")
    assert "arms.csv: its column 'arm' is not read; the arm of a unit is what exposures say" in done.stderr
    assert "rows have another arm in that column than the one that counts" in done.stderr


def test_what_was_shown_promotes_and_rolls_back(serving: str, name: str) -> None:
    said("experiment", "start", "experiment.json")
    done = told(
        "experiment", "decide", name, "outcomes.csv", "--arm", "treatment", "--who", "ann", "--why", "as planned"
    )
    assert (done["version"], done["who"], done["forced"]) == ("1.1.0", "ann", [])
    assert done["why"].startswith(f"as planned; {name}@1 treatment: clicks +")
    assert "<svg" in said("cat", done["report"])
    refused = run("experiment", "decide", name, "outcomes.csv", "--arm", "treatment", "--roll-back")
    assert (refused.exit_code, refused.stdout) == (8, "") and "no worse" in refused.stderr
    back = ("--arm", "treatment", "--roll-back", "--force", "complaints")
    assert told("experiment", "decide", name, "outcomes.csv", *back)["version"] == "1.0.0"
    assert "forced: complaints" in said("model", "history", serving).splitlines()[1]
