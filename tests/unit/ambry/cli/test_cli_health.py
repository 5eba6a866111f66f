"""`ambry health`, whole commands against a frontend with a metadata store."""

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

pytestmark = pytest.mark.usefixtures("here")
_numbers = count()


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args, prog_name="ambry")


def said(*args: str) -> str:
    done = run(*args)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*args: str) -> Any:
    return json.loads(said(*args, "--json"))


@pytest.fixture
def name() -> str:
    return f"health-{next(_numbers)}"


@pytest.fixture(autouse=True)
def tables(here: Path) -> None:
    """monday.csv, tuesday.csv, which is the same by chance, and moved.csv."""
    for day, shift in (("monday", 0.0), ("tuesday", 0.0), ("moved", 2.0)):
        chance = np.random.default_rng(len(day))
        lines = [f"{chance.normal(10 + shift, 2)},{chance.choice(['de', 'at'])}" for _ in range(400)]
        (here / f"{day}.csv").write_text("\n".join(["age,country", *lines]))


def test_a_table_is_summarised() -> None:
    lines = [line.split() for line in said("health", "summary", "monday.csv").splitlines()]
    assert [line[:3] for line in lines[1:]] == [["age", "400", "0.00%"], ["country", "400", "0.00%"]]
    found = told("health", "summary", "monday.csv", "--column", "age")
    assert found["count"] == 400 and 9 < found["mean"] < 11
    done = run("health", "summary", "monday.csv", "--column", "pay")
    assert done.exit_code == 2 and "no column 'pay'" in done.stderr


def test_tables_are_compared_and_the_exit_code_tells(here: Path, name: str) -> None:
    assert "moved" not in said("health", "compare", "monday.csv", "tuesday.csv")
    done = run("health", "compare", "monday.csv", "moved.csv", "-o", "report.html", "--keep", name)
    assert done.exit_code == 8 and "ambry: age: its distribution moved" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.endswith("moved")] == ["age"]
    page = done.stderr.splitlines()[0].rpartition(" ")[2]
    assert page.startswith(f"{name}.health/") and said("cat", page) == (here / "report.html").read_text()
    found = json.loads(run("health", "compare", "monday.csv", "moved.csv", "--json").stdout)
    assert found["healthy"] is False and len(found["comparisons"]) == 2


def test_thresholds_stand_in_a_file(here: Path) -> None:
    (here / "wide.toml").write_text("[columns.age]\nignored = true\n")
    said("health", "compare", "monday.csv", "moved.csv", "--thresholds", "wide.toml")
    (here / "wrong.toml").write_text("psi = 1\n")
    done = run("health", "compare", "monday.csv", "moved.csv", "--thresholds", "wrong.toml")
    assert done.exit_code == 2 and "wrong.toml: there is no threshold 'psi'" in done.stderr


def test_a_gate_holds_a_promotion_back(url: str, name: str) -> None:
    with AmbryClient([url]) as client:
        models.publish(client, name, {"x.txt": b"1"})
    gate = ("health", "gate", name)
    assert "what it was trained on" in run(*gate, "moved.csv").stderr
    held = run(*gate, "moved.csv", "--reference", "monday.csv")
    assert (held.exit_code, held.stdout) == (8, "") and "is held back, moved.csv is not monday.csv" in held.stderr
    done = told(*gate, "tuesday.csv", "--reference", "monday.csv", "--expect", "none", "--who", "ann")
    assert (done["version"], done["healthy"], done["faults"]) == ("1.0.0", True, [])
    forced = told(*gate, "moved.csv", "--reference", "monday.csv", "--force", "the winter is known")
    assert forced["why"].startswith("forced: the winter is known; ") and forced["healthy"] is False
